"""ECR's authorization tokens. Each names an account and a region, is signed, and expires."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

USER = "AWS"
VALID_SECONDS = 12 * 3600.0  # https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html


class UnknownTokenError(Exception):
    """The token was not issued by this instance."""


class ExpiredTokenError(Exception):
    """The token has expired."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """An account in a region: the holder of a token, or the owner of a registry."""

    account_id: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Token:
    """`password` goes with the user name AWS."""

    password: str
    expires_at: dt.datetime

    @property
    def authorization(self) -> str:
        """The token as in GetAuthorizationToken: base64 of `user:password`."""
        return base64.b64encode(f"{USER}:{self.password}".encode()).decode()


class Tokens:
    """Issues and checks tokens. The signing key lives as long as the instance, so no token outlives it."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._key = secrets.token_bytes(32)
        self._clock = clock
        self.valid_seconds = VALID_SECONDS

    def issue(self, principal: Principal) -> Token:
        expires = self._clock() + self.valid_seconds
        claim = {"account": principal.account_id, "region": principal.region, "expires": expires}
        payload = base64.urlsafe_b64encode(json.dumps(claim).encode()).decode()
        return Token(
            password=f"{payload}.{self._signature(payload)}",
            expires_at=dt.datetime.fromtimestamp(expires, tz=dt.UTC),
        )

    def check(self, password: str) -> Principal:
        """Return the holder of the token. Raise UnknownTokenError or ExpiredTokenError."""
        payload, _, signature = password.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(payload).encode()):
            raise UnknownTokenError
        claim = json.loads(base64.urlsafe_b64decode(payload))
        if claim["expires"] <= self._clock():
            raise ExpiredTokenError
        return Principal(account_id=claim["account"], region=claim["region"])

    def _signature(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
