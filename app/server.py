"""Runs the service from the first signal handler to the exit code."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import signal
import socket
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import uvicorn

from app import faults
from app.lifecycle import Lifecycle, Phase
from app.raw_targets import RawTargetProtocol
from app.requests import Requests
from app.settings import Settings, settings_of_task
from app.task_metadata import task_arn
from app.web import Endpoints

ENDED = 0
CANNOT_LISTEN = 4
SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})

_BACKLOG = 2048
# Seconds after the listener is closed, for requests on the connections accepted last.
_SETTLE = 0.2
_log = logging.getLogger("app.server")


class _Uvicorn(uvicorn.Server):
    """uvicorn without its own signal handling, which closes the listener at SIGTERM."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Signals:
    """SIGTERM starts the shutdown. SIGINT (Ctrl-C) also skips the lame duck, and a second one the drain."""

    def __init__(self, *, exit_on_sigterm: bool) -> None:
        self.stop = asyncio.Event()
        self.skip_lame_duck = asyncio.Event()
        self.skip_drain = asyncio.Event()
        self._exit_on_sigterm = exit_on_sigterm
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._terminate)
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _terminate(self) -> None:
        if self._exit_on_sigterm:
            faults.end(faults.KILLED_BY_SIGTERM)
        self.stop.set()

    def _interrupt(self) -> None:
        (self.skip_drain if self.skip_lame_duck.is_set() else self.skip_lame_duck).set()
        self.stop.set()


async def serve(settings: Settings) -> int:
    """Serve until a signal arrives, then shut down without dropping a request; return the exit code."""
    arn = await task_arn(settings.metadata_uri)
    settings = settings_of_task(settings, task_arn=arn)
    signals = _Signals(exit_on_sigterm=settings.faults.exit_on_sigterm)
    faults.announce(settings)
    if settings.faults.crash_after == 0:
        faults.crash()
    if await _happens(signals.stop, within=settings.faults.slow_start):
        return ENDED
    task = None if arn is None else arn.rpartition("/")[2]
    try:
        listener = _listener(settings)
    except OSError as error:
        _log.critical(
            "cannot listen on %s port %d: %s; free it, or choose another by MCLASS_PORT",
            settings.host,
            settings.port,
            os.strerror(error.errno or 0),
        )
        return CANNOT_LISTEN
    await _run(settings, signals, listener=listener, task=task)
    return ENDED


async def _run(settings: Settings, signals: _Signals, *, listener: socket.socket, task: str | None) -> None:
    lifecycle = Lifecycle()
    endpoints = Endpoints(settings=settings, lifecycle=lifecycle, task=task)
    app = Requests(
        endpoints.application(),
        lifecycle=lifecycle,
        errors=faults.Errors(settings.faults.error_rate),
        revision=settings.revision,
    )
    server = _Uvicorn(_config(settings, app))
    background = [asyncio.create_task(work) for work in _faults(settings)]
    background.append(asyncio.create_task(_end(server, settings, signals, lifecycle)))
    _log.info(
        "listening",
        extra={
            "fields": {
                "host": settings.host,
                "port": listener.getsockname()[1],
                "version": settings.version,
                "revision": settings.revision,
                "task": task,
            }
        },
    )
    await server.serve(sockets=[listener])
    for work in background:
        work.cancel()
    if server.server_state.tasks:  # cut-off requests are still being answered
        await asyncio.wait(server.server_state.tasks, timeout=1)
    _log.info("ended")


async def _end(server: uvicorn.Server, settings: Settings, signals: _Signals, lifecycle: Lifecycle) -> None:
    """Wait for a signal, be a lame duck, drain, and stop uvicorn. The listener stays open until no request is in flight."""
    await signals.stop.wait()
    lifecycle.phase = Phase.LAME_DUCK
    _log.info(
        "lame duck", extra={"fields": {"seconds": settings.lame_duck, "in_flight": lifecycle.in_flight}}
    )
    await _happens(signals.skip_lame_duck, within=settings.lame_duck / 2)
    # By now every client can know that this task ends. Those that still come use kept-alive connections and must close them.
    lifecycle.closing = True
    await _happens(signals.skip_lame_duck, within=settings.lame_duck / 2)
    lifecycle.phase = Phase.DRAINING
    _log.info(
        "draining", extra={"fields": {"seconds": settings.longest_request, "in_flight": lifecycle.in_flight}}
    )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + settings.longest_request
    await _first(lifecycle.idle(), signals.skip_drain.wait(), within=settings.longest_request)
    for listener in server.servers:
        listener.close()
    await _happens(signals.skip_drain, within=_SETTLE)
    # uvicorn now closes idle connections, waits for the others, and finally cancels them.
    left = 0 if signals.skip_drain.is_set() else deadline - loop.time()
    server.config.timeout_graceful_shutdown = max(0, math.ceil(left))
    server.should_exit = True


def _config(settings: Settings, app: Requests) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        access_log=False,  # ours includes the request ids
        backlog=_BACKLOG,
        http=RawTargetProtocol,
        lifespan="off",
        log_config=None,
        loop="uvloop",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.effective_keep_alive,
        ws="none",
    )


def _faults(settings: Settings) -> Iterator[Coroutine[Any, Any, None]]:
    if settings.faults.crash_after is not None:
        yield faults.crash_after(settings.faults.crash_after)
    if settings.faults.leak_mib_per_second:
        yield faults.leak(settings.faults.leak_mib_per_second)


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    return socket.create_server((settings.host, settings.port), family=family, backlog=_BACKLOG)


async def _happens(event: asyncio.Event, *, within: float) -> bool:
    """Return whether the event is set within some seconds."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()


async def _first(*awaited: Coroutine[Any, Any, Any], within: float) -> None:
    """Return when the first is done, or after a timeout in seconds."""
    tasks = [asyncio.create_task(each) for each in awaited]
    await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
