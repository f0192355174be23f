"""Injects errors into the API for a limited time, such as throttling or server errors of a service."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from mclass_tf.local.aws.calls import Call
from mclass_tf.local.aws.refusal import refuse
from mclass_tf.local.http.server import Reply

_MAX_SECONDS = 3600.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MESSAGES = {
    "ThrottlingException": "Rate exceeded",
    "ServerException": "Service Unavailable. Please try again later.",
}


@dataclass(frozen=True, kw_only=True)
class InjectedError:
    """For `seconds`, every call of `service` (its endpoint name, such as "ecs") returns `code` and `status`."""

    service: str
    code: str
    status: int
    seconds: float

    def __post_init__(self) -> None:
        for name in (self.service, self.code):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:64]!r} is not a name of a service or an error")
        if not HTTPStatus.BAD_REQUEST <= self.status <= 599:  # noqa: PLR2004
            raise ValueError(f"status must be from 400 to 599, not {self.status}")
        if not 0 <= self.seconds <= _MAX_SECONDS:
            raise ValueError(f"seconds must be from 0 to {_MAX_SECONDS:g}, not {self.seconds:g}")


class InjectedErrors:
    """The active injected errors. They last real seconds, not simulated ones, because clients' timeouts are real."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, tuple[InjectedError, float]] = {}

    def put(self, error: InjectedError) -> None:
        """Inject an error. It replaces that of the same service; 0 seconds end it."""
        with self._lock:
            now = self._clock()
            self._until = {name: entry for name, entry in self._until.items() if entry[1] > now}
            self._until[error.service] = (error, self._clock() + error.seconds)

    def reply(self, call: Call) -> Reply | None:
        """Return the injected error for the call, or None."""
        with self._lock:
            entry = self._until.get(call.service)
        if entry is None or self._clock() >= entry[1]:
            return None
        code = entry[0].code
        return refuse(call, code=code, message=_MESSAGES.get(code, code), status=entry[0].status)
