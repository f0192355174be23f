"""The load balancers as their tests see them: the real ones, targets of the tests' own, clients that send what they like."""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import os
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from mclass_tf.local.balancer import __main__ as balancer
from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.client.connection import ClientConnection
from mclass_tf.local.balancer.report import (
    AccessLog,
    Applied,
    Failure,
    Health,
    Listening,
    Metrics,
    Report,
    from_json,
    to_json,
)
from mclass_tf.local.balancer.server import DataPlane
from mclass_tf.local.balancer.snapshot import (
    HealthCheck,
    Listener,
    LoadBalancer,
    Rule,
    Snapshot,
    Target,
    TargetGroup,
)
from tests.within import within

PATIENCE = 20.0  # seconds, for anything: the machine may be busy
BALANCER = "arn:aws:elasticloadbalancing:eu-west-1:111111111111:loadbalancer/app/web/50dc6c495c0c9188"
HEALTH_PATH = "/health"
_numbers = itertools.count(1)
_Kind = TypeVar("_Kind", bound=Report)
_Given = ParamSpec("_Given")


def asynchronous(test: Callable[_Given, Coroutine[Any, Any, None]]) -> Callable[_Given, None]:
    """Run a test's coroutine on the loop of the load balancers; it fails rather than hang."""

    @functools.wraps(test)
    def run(*args: _Given.args, **kwargs: _Given.kwargs) -> None:
        with asyncio.Runner(loop_factory=balancer.new_loop) as runner:
            runner.run(within(test(*args, **kwargs), 3 * PATIENCE))

    return run


@dataclass(frozen=True, kw_only=True)
class Message:
    """A request or an answer: the words of its first line, its headers in lower case, its body."""

    first: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key == name), None)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]

    @property
    def status(self) -> int:
        return int(self.first[1])

    @property
    def path(self) -> str:
        return self.first[1]


async def read_message(reader: asyncio.StreamReader, *, bodiless: bool = False) -> Message:
    """Read one; raises IncompleteReadError where the connection ends before it."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    first = (*head[0].split(" ", 2), "", "")[:3]
    pairs = (line.split(":", 1) for line in head[1:] if line)
    headers = tuple((name.lower(), value.strip()) for name, value in pairs)
    message = Message(first=cast("tuple[str, str, str]", first), headers=headers)
    if bodiless or first[1] in {"204", "304", "101", "100"}:
        return message
    return replace(message, body=await _read_body(reader, message))


async def _read_body(reader: asyncio.StreamReader, message: Message) -> bytes:
    if message.header("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).split(b";")[0], 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        while (await reader.readline()).strip():
            pass  # trailers
        return body
    length = message.header("content-length")
    if length is not None:
        return await reader.readexactly(int(length))
    return await reader.read() if message.first[0].startswith("HTTP/") else b""


def answer(body: bytes = b"ok", *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


Handler = Callable[[Message, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Site:
    """A target. Health checks are answered with `health`; `handler` answers the rest, with `ok` if there is none."""

    def __init__(self, handler: Handler | None = None) -> None:
        self.number = next(_numbers)
        self.ip = f"10.0.{self.number // 200}.{self.number % 200 + 1}"
        self.handler = handler
        self.reads_bodies = True  # else the handler does
        self.health = 200
        self.health_delay: asyncio.Event | None = None
        self.checks: list[Message] = []
        self.requests: list[Message] = []
        self.connections: set[asyncio.StreamWriter] = set()
        self.asked_on: set[asyncio.StreamWriter] = (
            set()
        )  # with requests: a health check has a connection of its own
        self.port = 0
        self._server: asyncio.Server | None = None

    @property
    def name(self) -> str:
        return f"{self.ip}:3000"

    def target(self, *, is_draining: bool = False) -> Target:
        return Target(ip=self.ip, port=3000, address=("127.0.0.1", self.port), is_draining=is_draining)

    @property
    def opened(self) -> int:
        """The number of connections on which requests came."""
        return len(self.asked_on)

    async def start(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End as a killed process does."""
        if self._server is not None:
            self._server.close()
        for _ in range(5):  # what was being accepted is accepted first
            await asyncio.sleep(0)
        for writer in tuple(self.connections):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                await self._serve_one(reader, writer)
        self.connections.discard(writer)
        writer.transport.abort()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_message(reader, bodiless=not self.reads_bodies)
        if asked.path == HEALTH_PATH:
            self.checks.append(asked)
            if self.health_delay is not None:
                await self.health_delay.wait()
            writer.write(answer(status=f"{self.health} Whatever"))
            await writer.drain()
            return
        self.requests.append(asked)
        self.asked_on.add(writer)
        if self.handler is None:
            writer.write(answer(self.name.encode()))
        else:
            await self.handler(asked, reader, writer)
        await writer.drain()


@asynccontextmanager
async def sites(*handlers: Handler | None) -> AsyncIterator[list[Site]]:
    """Enter running targets, one for each handler."""
    made = [Site(handler) for handler in handlers]
    try:
        for site in made:
            await site.start()
        yield made
    finally:
        for site in made:
            await site.stop()


def group(
    name: str,
    *targets: Site | Target,
    check: HealthCheck | None = None,
    attributes: Mapping[str, str] | None = None,
) -> TargetGroup:
    return TargetGroup(
        arn=name,
        name=name,
        protocol="HTTP",
        health_check=check or HealthCheck(path=HEALTH_PATH, interval=10, timeout=5),
        attributes=attributes or {},
        targets=tuple(one.target() if isinstance(one, Site) else one for one in targets),
    )


def forward(*groups: str | tuple[str, int], sticky: int = 0) -> dict[str, Any]:
    weights = [entry if isinstance(entry, tuple) else (entry, 1) for entry in groups]
    found: dict[str, Any] = {
        "TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights]
    }
    if sticky:
        found["TargetGroupStickinessConfig"] = {"Enabled": True, "DurationSeconds": sticky}
    return {"Type": "forward", "ForwardConfig": found}


def fixed(status: int, body: str = "") -> dict[str, Any]:
    return {
        "Type": "fixed-response",
        "FixedResponseConfig": {"StatusCode": str(status), "MessageBody": body, "ContentType": "text/plain"},
    }


def rule(action: Mapping[str, Any], *conditions: Mapping[str, Any], priority: int | None = None) -> Rule:
    return Rule(arn=f"rule-{priority}", priority=priority, conditions=conditions, actions=(action,))


def listener(*rules: Rule, arn: str = "listener", port: int = 80) -> Listener:
    return Listener(arn=arn, port=port, protocol="HTTP", rules=rules)


def world(
    *groups: TargetGroup,
    listeners: Sequence[Listener] | None = None,
    attributes: Mapping[str, str] | None = None,
    speed: float = 100,
) -> Snapshot:
    """Return a snapshot; without listeners there is one that forwards everything to the first group."""
    default = [listener(rule(forward(groups[0].arn)))] if groups else []
    balancer = LoadBalancer(
        arn=BALANCER,
        name="web",
        dns_name="web-1.eu-west-1.elb.amazonaws.com",
        listeners=tuple(default if listeners is None else listeners),
        attributes=attributes or {},
    )
    return Snapshot(version=0, speed=speed, load_balancers=(balancer,), target_groups=groups)


class Client:
    """One connection to a listener."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def ask(
        self,
        path: str = "/",
        *,
        method: str = "GET",
        headers: Sequence[str] = ("Host: example.com",),
        body: bytes = b"",
        version: str = "1.1",
    ) -> Message:
        length = (f"Content-Length: {len(body)}",) if body else ()
        lines = (f"{method} {path} HTTP/{version}", *headers, *length, "", "")
        self.send("\r\n".join(lines).encode() + body)
        return await self.answer(bodiless=method == "HEAD")

    async def answer(self, *, bodiless: bool = False) -> Message:
        return await within(read_message(self.reader, bodiless=bodiless), PATIENCE)

    def pause(self) -> None:
        """Take nothing more from the network."""
        cast("asyncio.Transport", self.writer.transport).pause_reading()

    def resume(self) -> None:
        cast("asyncio.Transport", self.writer.transport).resume_reading()

    async def rest(self) -> bytes:
        """Wait for the connection's end; return what came before it."""
        with suppress(ConnectionError):
            return await within(self.reader.read(), PATIENCE)
        return b""

    def close(self) -> None:
        self.writer.transport.abort()


@dataclass
class Plane:
    """Running load balancers. `reports` are all that they have sent."""

    reports: list[Report] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    version: int = 0
    _clients: list[Client] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def apply(self, snapshot: Snapshot) -> None:
        """Put a snapshot into force."""
        self.version += 1
        await self.write(replace(snapshot, version=self.version).to_json().encode() + b"\n")
        await self.until(lambda: any(found.version == self.version for found in self.of(Applied)))

    async def write(self, data: bytes) -> None:
        """Send lines to them."""
        raise NotImplementedError

    def heard(self, line: str | bytes) -> None:
        self.reports.append(from_json(line))
        self._news.set()

    def complained(self, line: str) -> None:
        self.errors.append(line)
        self._news.set()

    def of(self, kind: type[_Kind]) -> list[_Kind]:
        return [report for report in self.reports if isinstance(report, kind)]

    def port(self, arn: str = "listener") -> int:
        return next(found.port for found in reversed(self.of(Listening)) if found.listener_arn == arn)

    async def client(self, arn: str = "listener", *, tls: ssl.SSLContext | None = None) -> Client:
        opened = await asyncio.open_connection("127.0.0.1", self.port(arn), ssl=tls)
        self._clients.append(Client(*opened))
        return self._clients[-1]

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until it holds: it is asked again at every report, and now and then."""
        async with asyncio.timeout(PATIENCE):
            while not holds():
                self._news.clear()
                with suppress(TimeoutError):
                    await within(self._news.wait(), 0.02)

    def states(self, site: Site, arn: str | None = None) -> list[str]:
        """Return the states through which a target has gone."""
        return [
            found.state
            for found in self.of(Health)
            if found.ip == site.ip and arn in {None, found.target_group_arn}
        ]

    def state(self, site: Site) -> Health:
        return next(found for found in reversed(self.of(Health)) if found.ip == site.ip)

    async def healthy(self, *sites: Site) -> None:
        await self.until(lambda: all(self.states(site)[-1:] == ["healthy"] for site in sites))

    async def failure(self) -> Failure:
        """Return the one failure that was reported, or is about to be."""
        await self.until(lambda: bool(self.of(Failure)))
        assert len(self.of(Failure)) == 1
        return self.of(Failure)[0]

    def count(self, name: str, group_arn: str | None = None) -> float:
        return sum(
            found.counts.get(name, 0) for found in self.of(Metrics) if found.target_group_arn == group_arn
        )

    async def log_lines(self, number: int = 1) -> list[str]:
        def lines() -> list[str]:
            return [line for found in self.of(AccessLog) for line in found.lines]

        await self.until(lambda: len(lines()) >= number)
        return lines()

    def close_clients(self) -> None:
        for client in self._clients:
            client.close()


class Within(Plane):
    """Load balancers on the loop of the test: all of them but the process, and starting one takes most of a test's time."""

    def __init__(self, *, capacity: Capacity | None = None) -> None:
        super().__init__()
        self._plane = DataPlane(lambda report: self.heard(to_json(report)), capacity=capacity)

    @property
    def connections(self) -> list[ClientConnection]:
        """The load balancers' ends of the connections of clients, the oldest first."""
        listeners = self._plane._listeners.values()
        clients = (
            cast("ClientConnection", client) for listener in listeners for client in listener.state.clients
        )
        return sorted(clients, key=lambda client: client._opened)

    async def write(self, data: bytes) -> None:
        for line in data.splitlines():
            await balancer.apply(self._plane, line)

    async def run(self) -> None:
        await self._plane.telemetry.run()

    def close(self) -> None:
        self._plane.close()
        self._plane.telemetry.flush()


class _Complaints(logging.Handler):
    """Takes what would go to standard error."""

    def __init__(self, plane: Plane) -> None:
        super().__init__(logging.WARNING)
        self._plane = plane

    def emit(self, record: logging.LogRecord) -> None:
        self._plane.complained(self.format(record))


@asynccontextmanager
async def plane(
    first: Snapshot | None = None, *, may_complain: bool = False, capacity: Capacity | None = None
) -> AsyncIterator[Within]:
    """Enter running load balancers, with the first snapshot in force and all its targets healthy.

    They must log nothing, unless they `may_complain`.
    """
    made = Within(capacity=capacity)
    complaints = _Complaints(made)
    logging.getLogger().addHandler(complaints)
    telemetry = asyncio.create_task(made.run())
    try:
        if first is not None:
            await made.apply(first)
        yield made
    finally:
        made.close_clients()
        made.close()
        telemetry.cancel()
        await asyncio.gather(telemetry, return_exceptions=True)
        logging.getLogger().removeHandler(complaints)
    assert may_complain or not made.errors, "".join(made.errors)


class Alone(Plane):
    """Load balancers in a process of their own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self.process = process

    async def write(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        await self.process.stdin.drain()

    async def hear(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            self.heard(line)

    async def hear_errors(self) -> None:
        assert self.process.stderr is not None
        while line := await self.process.stderr.readline():
            self.complained(line.decode())


@asynccontextmanager
async def process(
    first: Snapshot | None = None, *, may_complain: bool = False, path: Path | None = None
) -> AsyncIterator[Alone]:
    """Enter the running process, with the first snapshot in force and all its targets healthy.

    It must say nothing on standard error, unless it `may_complain`, and must end when its input does. Modules in the
    folder `path` come before installed ones.
    """
    started = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "mclass_tf.local.balancer",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=64 * 1024 * 1024,
        env={**os.environ, "PYTHONPATH": str(path)} if path else None,
    )
    made = Alone(started)
    hearing = asyncio.gather(made.hear(), made.hear_errors())
    try:
        if first is not None:
            await made.apply(first)
        yield made
    finally:
        made.close_clients()
        assert started.stdin is not None
        started.stdin.close()
        try:
            await within(started.wait(), PATIENCE)
        finally:
            if started.returncode is None:
                started.kill()
            await hearing
    assert started.returncode == 0
    assert may_complain or not made.errors, "".join(made.errors)
