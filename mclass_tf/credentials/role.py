"""Sessions of a role, one after the other: each ends within hours, but a command may take longer.

botocore keeps the credentials, and asks for the next session before the last one ends. This module says how to ask.

https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
"""

from __future__ import annotations

import datetime as dt
import math
import threading
from collections.abc import Callable, Mapping
from typing import Any

_MOST_ADVISORY, _MOST_MANDATORY = 900, 600  # seconds before the end; those of botocore
_DENIED = frozenset({"AccessDenied", "AccessDeniedException"})


class RoleSession:
    """The current session of a role. `assume` calls sts:AssumeRole with the base credentials, `now` is AWS's time.

    `name` says who acts, also as the source identity if the role's trust policy lets it be set. `code_of` returns AWS's code of
    an error. Call `renew` first.
    """

    def __init__(
        self,
        assume: Callable[..., Mapping[str, Any]],
        *,
        role_arn: str,
        name: str,
        seconds: int | None,
        now: Callable[[], dt.datetime],
        code_of: Callable[[Exception], str],
    ) -> None:
        self._assume = assume
        self._request: dict[str, Any] = {"RoleArn": role_arn, "RoleSessionName": name}
        if seconds is not None:
            self._request["DurationSeconds"] = seconds
        self._source: dict[str, str] = {"SourceIdentity": name}
        self._now = now
        self._code_of = code_of
        self._lock = threading.Lock()
        self._refused = False
        self._access_key_id = ""
        self._ends_at = now()
        self._lifetime = dt.timedelta()

    @property
    def margins(self) -> tuple[int, int]:
        """Return how many seconds before the end of a session another should and must begin.

        botocore's 15 and 10 minutes would renew a session of a quarter of an hour, the shortest that AWS has, before each call.
        """
        seconds = max(self._lifetime.total_seconds(), 1.0)
        return min(_MOST_ADVISORY, math.ceil(seconds / 4)), min(_MOST_MANDATORY, math.ceil(seconds / 6))

    @property
    def ends_at(self) -> dt.datetime:
        return self._ends_at

    @property
    def is_past_half(self) -> bool:
        return self._ends_at - self._now() < self._lifetime / 2

    def now(self) -> dt.datetime:
        """Return AWS's time, or the end of time if AWS has refused the session: then botocore begins another."""
        return dt.datetime.max.replace(tzinfo=dt.UTC) if self._refused else self._now()

    def refuse(self, access_key_id: str) -> None:
        """Note that AWS took the session of this key as ended. Another thread may have begun the next one meanwhile."""
        with self._lock:
            self._refused = self._refused or access_key_id == self._access_key_id

    def renew(self) -> dict[str, str]:
        """Begin another session; return it as botocore takes it."""
        credentials = self._begin()["Credentials"]
        with self._lock:
            self._refused = False
            self._access_key_id = str(credentials["AccessKeyId"])
            self._ends_at = credentials["Expiration"]
            self._lifetime = self._ends_at - self._now()
        return {
            "access_key": credentials["AccessKeyId"],
            "secret_key": credentials["SecretAccessKey"],
            "token": credentials["SessionToken"],
            "expiry_time": credentials["Expiration"].isoformat(),
        }

    def _begin(self) -> Mapping[str, Any]:
        """Try it with the source identity first. Most trust policies do not let it be set, and a session keeps an inherited one."""
        if self._source:
            try:
                return self._assume(**self._request, **self._source)
            except Exception as error:
                if self._code_of(error) not in _DENIED:
                    raise
                answer = self._assume(**self._request)
                self._source = {}
                return answer
        return self._assume(**self._request)
