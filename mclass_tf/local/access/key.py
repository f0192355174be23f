"""The access key of one instance of the local AWS: made at its start, and known to its owner alone."""

from __future__ import annotations

import hmac
import secrets
import string
from dataclasses import dataclass, field

_ID_CHARACTERS = string.ascii_uppercase + "234567"
_ID_LENGTH = 16  # behind the prefix of keys that do not expire
_SECRET_BYTES = 30  # 40 characters, as AWS's have


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """Signs calls of AWS; the secret alone opens the admin endpoint. `repr` shows no secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def authorization(self) -> str:
        """Return the header with which the admin endpoint is asked."""
        return f"Bearer {self.secret_access_key}"

    def authorizes(self, authorization: str) -> bool:
        """Return whether the header is that of the owner, compared in constant time."""
        return hmac.compare_digest(authorization.encode(), self.authorization.encode())


def make() -> AccessKey:
    """Return a key that nobody can guess."""
    own = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return AccessKey(access_key_id=f"AKIA{own}", secret_access_key=secrets.token_urlsafe(_SECRET_BYTES))
