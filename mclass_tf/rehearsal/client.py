"""Sends one request and reports its outcome. It never retries."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import aiohttp

from mclass_tf.rehearsal.plan import LoadEndpoint, LoadPlan
from mclass_tf.rehearsal.tally import RequestOutcome
from mclass_tf.trust import pinned

# Below the load balancer's idle timeout (60 s by default), so that the client closes its idle connections first.
_CLIENT_KEEP_ALIVE = 50.0
_OK = 200
_MAX_VERSION_LENGTH = 60
# The revision that answered, present on errors too.
_REVISION = "X-Revision"

STEADY, LONG, PROBE = "steady", "long", "probe"


@dataclass(frozen=True, kw_only=True)
class LoadRequest:
    """A scheduled request. `over` is "new", "kept" or "probe": the connections to use. `due` is its scheduled time."""

    part: str
    path: str
    number: int
    due: float
    over: str
    asked_seconds: float = 0.0

    @property
    def url_path(self) -> str:
        """The path with the request's number, which matches it to the load balancer's report of a failure."""
        return f"{self.path}{'&' if '?' in self.path else '?'}n={self.number}"


class LoadClient:
    """The client's connections: new ones, kept-alive ones used in turn, and those of the probe."""

    def __init__(self, plan: LoadPlan, *, clock: Callable[[], float]) -> None:
        self._plan = plan
        self._clock = clock
        context = tls_context(plan.where)
        self._new = _session(plan, context, force_close=True)
        self._kept = [_session(plan, context) for _ in range(max(1, plan.connections))]
        self._probe = _session(plan, context)
        self._turns: Iterator[aiohttp.ClientSession] = cycle(self._kept)

    async def close(self) -> None:
        for session in (self._new, self._probe, *self._kept):
            await session.close()

    def not_sent(self, request: LoadRequest) -> RequestOutcome:
        """Return the outcome of a request that is skipped because too many are in flight."""
        now = self._clock()
        return RequestOutcome(
            part=request.part,
            path=request.path,
            number=request.number,
            due=request.due,
            begun=now,
            ended=now,
            kind="not_sent",
            connection="new",
            is_measured=False,
        )

    def _session(self, over: str) -> aiohttp.ClientSession:
        if over == "kept":
            return next(self._turns)
        return self._new if over == "new" else self._probe

    async def send(self, request: LoadRequest) -> RequestOutcome:
        """Send the request and return its outcome."""
        begun = self._clock()
        used = SimpleNamespace(reused=False)
        kind, version = await self._attempt(request, used)
        # The time until a refusal is no latency of the service; the time until a timeout is.
        is_measured = kind in {"", "timeout", "wrong_answer"} or kind.startswith("http_")
        return RequestOutcome(
            part=request.part,
            path=request.path,
            number=request.number,
            due=request.due,
            begun=begun,
            ended=self._clock(),
            kind=kind,
            connection="reused" if used.reused else "new",
            version=version,
            asked_seconds=request.asked_seconds,
            is_measured=is_measured,
        )

    async def _attempt(self, request: LoadRequest, used: SimpleNamespace) -> tuple[str, str]:
        where = self._plan.where
        headers = {"Host": where.host_header} if where.host_header else {}
        try:
            async with self._session(request.over).get(
                where.base + request.url_path,
                headers=headers,
                allow_redirects=False,
                server_hostname=where.server_name or None,
                trace_request_ctx=used,
            ) as answer:
                body = await answer.read()
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return kind_of(error), ""
        revision = answer.headers.get(_REVISION, "")[:_MAX_VERSION_LENGTH]
        if answer.status != _OK:
            return f"http_{answer.status}", revision
        kind, version = _evaluate_body(request, body)
        return kind, version or revision


def _evaluate_body(request: LoadRequest, body: bytes) -> tuple[str, str]:
    """Return the kind of failure ("" for none) and the version of an answer with status 200. Its body must be the service's."""
    try:
        document: Any = json.loads(body)
    except ValueError:
        return "wrong_answer", ""
    if not isinstance(document, dict):
        return "wrong_answer", ""
    if request.part == LONG:
        return ("" if "worked_ms" in document else "wrong_answer"), ""
    version = document.get("revision")
    return ("", version[:_MAX_VERSION_LENGTH]) if isinstance(version, str) else ("wrong_answer", "")


def kind_of(error: BaseException) -> str:
    """Return the kind of a failure without an answer."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return "connect_refused" if isinstance(error.os_error, ConnectionRefusedError) else "connect_failed"
    return next((kind for kinds, kind in _KINDS if isinstance(error, kinds)), "protocol")


# The order matters: some exceptions of the first kinds also have types of the last ones.
_KINDS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    ((asyncio.TimeoutError, TimeoutError), "timeout"),
    ((aiohttp.ServerDisconnectedError,), "closed"),
    ((aiohttp.ClientPayloadError,), "cut_off"),
    ((ConnectionResetError, BrokenPipeError), "reset"),
    ((ConnectionRefusedError,), "connect_refused"),
)


def tls_context(where: LoadEndpoint) -> ssl.SSLContext | None:
    """Return a context that trusts exactly the given certificates, self-signed or not; None without TLS."""
    return pinned(where.certificates) if where.scheme == "https" else None


def _session(
    plan: LoadPlan, context: ssl.SSLContext | None, *, force_close: bool = False
) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        ssl=context if context is not None else False,
        limit=0,
        keepalive_timeout=None if force_close else _CLIENT_KEEP_ALIVE,
        force_close=force_close,
    )
    session = aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=plan.timeout),
        trace_configs=[_watch_connections()],
        trust_env=False,
        headers={"User-Agent": "mclass-tf-rehearsal"},
    )
    # aiohttp retries a GET whose kept-alive connection was closed. The rehearsal must see that failure.
    session._retry_connection = False  # noqa: SLF001
    return session


def _watch_connections() -> aiohttp.TraceConfig:
    watch = aiohttp.TraceConfig()

    async def reused(_session: Any, context: Any, _parameters: Any) -> None:
        with suppress(AttributeError):
            context.trace_request_ctx.reused = True

    watch.on_connection_reuseconn.append(reused)
    return watch
