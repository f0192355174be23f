"""Errors that are injected into the API: a service throttles, or answers with errors of its servers, for a while."""

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

_LONGEST = 3600.0
_NAME = re.compile(r"[A-Za-z0-9._-]{1,128}")
_MESSAGES = {
    "ThrottlingException": "Rate exceeded",
    "ServerException": "Service Unavailable. Please try again later.",
}


@dataclass(frozen=True, kw_only=True)
class InjectedError:
    """Every call of `service`, as endpoints name it ("ecs"), is answered with `code` and `status` for so many seconds."""

    service: str
    code: str
    status: int
    seconds: float

    def __post_init__(self) -> None:
        for name in (self.service, self.code):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:64]!r} is no name of a service or of an error")
        if not HTTPStatus.BAD_REQUEST <= self.status <= 599:  # noqa: PLR2004
            raise ValueError(f"status must be from 400 to 599, not {self.status}")
        if not 0 <= self.seconds <= _LONGEST:
            raise ValueError(f"seconds must be from 0 to {_LONGEST:g}, not {self.seconds:g}")


class InjectedErrors:
    """The errors that are injected now. Seconds are the wall's: it is a client's patience that is tried."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, tuple[InjectedError, float]] = {}

    def put(self, trouble: InjectedError) -> None:
        """Inject an error, which replaces another one of the same service; one of 0 seconds ends it."""
        with self._lock:
            now = self._clock()
            self._until = {name: entry for name, entry in self._until.items() if entry[1] > now}
            self._until[trouble.service] = (trouble, self._clock() + trouble.seconds)

    def reply(self, call: Call) -> Reply | None:
        """Return the error that the call gets, None where its service is well."""
        with self._lock:
            entry = self._until.get(call.service)
        if entry is None or self._clock() >= entry[1]:
            return None
        code = entry[0].code
        return refuse(call, code=code, message=_MESSAGES.get(code, code), status=entry[0].status)
