"""A thread that runs jobs in order and exits when no job is left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

_T = TypeVar("_T")


class SerialWorker:
    """Runs jobs in order. Nothing waits for them at exit, so that a failed command exits at once: they clean up by `atexit`."""

    def __init__(self, *, name: str) -> None:
        self._name: Final = name
        self._lock: Final = threading.Lock()
        self._jobs: Final[deque[Callable[[], None]]] = deque()
        self._running = False

    def submit(self, job: Callable[[], _T]) -> Future[_T]:
        future: Future[_T] = Future()
        with self._lock:
            self._jobs.append(lambda: _run(job, future))
            if not self._running:
                self._running = True
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
        return future

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._running = False
                    return
                job = self._jobs.popleft()
            job()


def _run(job: Callable[[], _T], future: Future[_T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(job())
    except BaseException as error:  # noqa: BLE001  (the caller of `result()` gets the exception)
        future.set_exception(error)
