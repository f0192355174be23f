"""Runs the background parts of the local AWS, each as an asyncio task, in one thread."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Mapping
from typing import Protocol

_log = logging.getLogger("mclass_tf.local")

_PATIENCE = 3.0  # seconds for all parts to stop; `control.down` sends SIGKILL after 5
_PROBLEMS_KEPT = 100


class Part(Protocol):
    """A background part. `run` runs until it is cancelled, and then cleans up."""

    async def run(self) -> None: ...


class Runtime:
    """Starts the parts in order, and stops them in reverse order.

    `build` creates the parts in the loop's thread. They must start child processes there, because the kernel kills a child
    together with the thread that started it.
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
        """Return the failures of parts, for `/_mclass/health`."""
        return list(self._problems)

    def start(self) -> None:
        """Start the thread; return when the parts are built."""
        self._thread.start()
        self._started.wait()

    def close(self) -> None:
        """Stop all parts. A part that takes too long dies with this process."""
        if self._loop is None or self._ending is None:
            return
        with contextlib.suppress(RuntimeError):  # the loop has already ended
            self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join(_PATIENCE)
        if self._thread.is_alive():
            _log.error(
                "not everything has ended: %s", ", ".join(sorted(self._alive)) or "a thread is at work"
            )

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except Exception as error:  # noqa: BLE001  reported by health
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
        except Exception as error:  # noqa: BLE001  the other parts continue, and health reports it
            self._note(name, error)
        finally:
            self._alive.discard(name)

    def _note(self, name: str, error: Exception) -> None:
        _log.error("%s has failed", name, exc_info=error)
        if len(self._problems) < _PROBLEMS_KEPT:
            self._problems.append(f"{name} has failed: {type(error).__name__}: {error}")
