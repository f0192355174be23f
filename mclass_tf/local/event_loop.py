"""Runs what lives between the calls of AWS: one thread with an event loop, in which every part is a task."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

_log = logging.getLogger("mclass_tf.local")

_PATIENCE = 3.0  # seconds for all parts to end; `control.down` sends SIGKILL after 5
_PROBLEMS_KEPT = 100


class Part(Protocol):
    """Something that lives: `run` goes on until it is cancelled, and cleans up then."""

    async def run(self) -> None: ...


class Runtime:
    """Starts the parts in their order, and ends them in the opposite one.

    `build` makes the parts, in the loop's thread: what they start must be started there, since a child process can only be
    told to die with the thread that started it.
    """

    def __init__(self, build: Callable[[], Mapping[str, Part]]) -> None:
        self._build = build
        self._thread = threading.Thread(target=self._run, name="runtime", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending: asyncio.Event | None = None
        self._started = threading.Event()
        self._problems: list[str] = []
        self._alive: set[str] = set()

    @property
    def problems(self) -> list[str]:
        """Return what has gone wrong in a part, for `/_mclass/health`."""
        return list(self._problems)

    def start(self) -> None:
        """Return when the parts have been made and begin to run."""
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """End every part; whatever has not ended after some seconds dies with this process."""
        if self._loop is None or self._ending is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            _log.error(
                "not everything has ended: %s", ", ".join(sorted(self._alive)) or "a thread is at work"
            )

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001  told, never silent
            self._note("the runtime", error)
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        running = [
            asyncio.create_task(self._live(name, part), name=name) for name, part in self._build().items()
        ]
        self._started.set()
        await self._ending.wait()
        for task in reversed(running):
            task.cancel()
            await asyncio.wait([task])

    async def _live(self, name: str, part: Part) -> None:
        self._alive.add(name)
        try:
            await part.run()
        except Exception as error:  # noqa: BLE001  the other parts go on, and health tells
            self._note(name, error)
        finally:
            self._alive.discard(name)

    def _note(self, name: str, error: Exception) -> None:
        _log.error("%s has failed", name, exc_info=error)
        if len(self._problems) < _PROBLEMS_KEPT:
            self._problems.append(f"{name} has failed: {type(error).__name__}: {error}")
