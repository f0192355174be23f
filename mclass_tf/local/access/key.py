"""The access key of an instance of the local AWS: created at its start, known only to its owner."""

from __future__ import annotations

import hmac
import secrets
import string
from dataclasses import dataclass, field

_ID_CHARACTERS = string.ascii_uppercase + "234567"
_ID_LENGTH = 16  # after AKIA, the prefix of long-term keys
_SECRET_BYTES = 30  # 40 characters, as AWS's have


@dataclass(frozen=True, kw_only=True)
class AccessKey:
    """Signs AWS calls. The secret also authorizes requests to the admin endpoint. `repr` omits the secret."""

    access_key_id: str
    secret_access_key: str = field(repr=False)

    @property
    def authorization(self) -> str:
        """The Authorization header for the admin endpoint."""
        return f"Bearer {self.secret_access_key}"

    def authorizes(self, authorization: str) -> bool:
        """Return whether the Authorization header is the owner's, compared in constant time."""
        return hmac.compare_digest(authorization.encode(), self.authorization.encode())


def make() -> AccessKey:
    """Return a new random key."""
    own = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    return AccessKey(access_key_id=f"AKIA{own}", secret_access_key=secrets.token_urlsafe(_SECRET_BYTES))
