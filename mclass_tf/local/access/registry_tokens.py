"""Authorization tokens of ECR: each names its account and region, is signed, and expires."""

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
    """No token of this instance."""


class ExpiredTokenError(Exception):
    """A token of this instance whose time is over."""


@dataclass(frozen=True, kw_only=True)
class Principal:
    """An account in a region: whom a token was given to, or whose registry a request names."""

    account_id: str
    region: str


@dataclass(frozen=True, kw_only=True)
class Token:
    """`password` goes with the user name AWS."""

    password: str
    expires_at: dt.datetime

    @property
    def authorization(self) -> str:
        """Return the token as GetAuthorizationToken gives it: base64 of `user:password`."""
        return base64.b64encode(f"{USER}:{self.password}".encode()).decode()


class Tokens:
    """Issues and checks; the key lives as long as the instance, so that no token outlives it."""

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
        """Return whose the token is; raise UnknownTokenError or ExpiredTokenError."""
        payload, _, signature = password.partition(".")
        if not hmac.compare_digest(signature.encode(), self._signature(payload).encode()):
            raise UnknownTokenError
        claim = json.loads(base64.urlsafe_b64decode(payload))
        if claim["expires"] <= self._clock():
            raise ExpiredTokenError
        return Principal(account_id=claim["account"], region=claim["region"])

    def _signature(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()
