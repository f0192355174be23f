"""Throughput and tail latency of mclass-server, compared with bare uvicorn in the same run."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from statistics import median

from benchmarks.command import run
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT

LIMIT = 2.5  # times bare uvicorn's own time for a request, both with an access log
_SECONDS = 2  # of load in a round
_CONNECTIONS = 16
_PATIENCE = 30
_OURS, _LOGGING, _BARE = "mclass-server", "bare uvicorn with its access log", "bare uvicorn, silent"
_PATH = "/version"


@dataclass(frozen=True, kw_only=True)
class Load:
    """Measurements of a client: responses per second, and the 99th percentile of the latency in ms."""

    rate: float
    p99: float


def measure(rounds: int) -> Result:
    loads: dict[str, list[Load]] = {name: [] for name in (_OURS, _LOGGING, _BARE)}
    starts: list[float] = []
    for turn in range(rounds):
        for name in sorted(loads, reverse=bool(turn % 2)):
            with _server(name) as (port, start):
                loads[name].append(load(port))
                starts += [start] if name == _OURS else []
    rates = {name: median(load.rate for load in found) for name, found in loads.items()}
    latest = {name: median(load.p99 for load in found) for name, found in loads.items()}
    note = f"{_CONNECTIONS} connections, client {'wrk' if shutil.which('wrk') else 'asyncio'}"
    return Result(
        benchmark="app",
        figures=(
            Figure(
                name=f"{_OURS}: time for a request / {_LOGGING}",
                value=rates[_LOGGING] / rates[_OURS],
                unit="",
                limit=LIMIT,
                note=note,
            ),
            *(Figure(name=f"{name}: requests", value=rate, unit="/s") for name, rate in rates.items()),
            *(Figure(name=f"{name}: p99", value=value, unit="ms") for name, value in latest.items()),
            Figure(name=f"{_OURS}: start to the first answer", value=median(starts), unit="s"),
        ),
        runs={f"{name}: requests a second": [load.rate for load in each] for name, each in loads.items()},
    )


@contextmanager
def _server(name: str) -> Iterator[tuple[int, float]]:
    """Start a server; yield its port and the seconds until its first response."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        argv, env, inherited = _command(name, listener=listener)
        if name == _OURS:  # opens its own listener
            listener.close()
        before = time.perf_counter()
        server = subprocess.Popen(
            argv,
            cwd=PROJECT,
            env={**_environment(), **env},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=inherited,
        )
    try:
        answered(port, server)
        yield port, time.perf_counter() - before
    finally:
        server.kill()
        server.wait()


def _command(name: str, *, listener: socket.socket) -> tuple[Sequence[str], dict[str, str], tuple[int, ...]]:
    if name == _OURS:
        env = {"MCLASS_HOST": "127.0.0.1", "MCLASS_PORT": str(listener.getsockname()[1])}
        return (sys.executable, "-m", "app"), env, ()
    number = listener.fileno()
    options = ("log",) if name == _LOGGING else ()
    return (sys.executable, "-m", "benchmarks.app_bare", str(number), *options), {}, (number,)


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("MCLASS_")}


def answered(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline and server.poll() is None:
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{_PATH}", timeout=1):
            return
        time.sleep(0.005)
    raise RuntimeError(f"no answer on port {port}; the server's exit code is {server.poll()}")


def load(port: int) -> Load:
    """Load the server from a fresh process, so that all servers get the same client."""
    url = f"http://127.0.0.1:{port}{_PATH}"
    if shutil.which("wrk") is None:
        argv = (
            sys.executable,
            "-m",
            "benchmarks.app_client",
            str(port),
            _PATH,
            str(_CONNECTIONS),
            str(_SECONDS),
        )
        return Load(**json.loads(run(argv, folder=PROJECT, env=_environment()).stdout))
    wrk = (
        "wrk",
        "--threads",
        "1",
        "--connections",
        str(_CONNECTIONS),
        "--duration",
        f"{_SECONDS}s",
        "--latency",
        url,
    )
    return parsed(run(wrk, folder=PROJECT, env=_environment()).stdout)


def parsed(report: str) -> Load:
    """Parse wrk's report; raise an error if requests failed."""
    failed = re.search(r"Socket errors:.*|Non-2xx.*", report)
    if failed:
        raise RuntimeError(f"wrk: {failed[0]}")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", report)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)\b", report)
    if rate is None or p99 is None:
        raise RuntimeError(f"wrk says something unexpected:\n{report}")
    return Load(rate=float(rate[1]), p99=float(p99[1]) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[p99[2]])
