"""The HTTP server: a hostile client loses only its own connection."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import resource
import socket
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import local
from mclass_tf.local import admin
from mclass_tf.local.access import key
from mclass_tf.local.http.connections import ConnectionPhase, Connections
from mclass_tf.local.http.descriptors import DescriptorReserve
from mclass_tf.local.http.server import TOO_LARGE, Reply, Server
from mclass_tf.local.log_format import Formatter
from tests.callers import ask


def _name(value: str | bytes) -> str:
    """Return the id of a test case."""
    return ascii(value[-40:])


def echo(environ: dict[str, Any]) -> Reply:
    """Answer with the body, or as the path selects."""
    if environ["PATH_INFO"] == "/bug":
        raise LookupError("a bug")
    if TOO_LARGE in environ:
        return Reply(status=413)
    header = environ["PATH_INFO"].removeprefix("/header/")
    return Reply(status=200, body=environ["wsgi.input"].read(), headers=(("X-Path", header),))


class Listener(socket.socket):
    """A listener that cannot accept while `error` is set. `errors` are raised by the next attempts."""

    error: int | None = None
    errors: Sequence[int] = ()
    accepts = 0

    def accept(self) -> tuple[socket.socket, Any]:
        self.accepts += 1
        if self.errors:
            error, *self.errors = self.errors
            raise OSError(error, os.strerror(error))
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return super().accept()


@pytest.fixture
def problems() -> list[str]:
    return []


@pytest.fixture
def listener() -> Listener:
    made = Listener()
    made.bind(("127.0.0.1", 0))
    made.listen()
    return made


@pytest.fixture
def server(listener: Listener, problems: list[str]) -> Iterator[Server]:
    running = Server(listener=listener, app=echo, largest=lambda _environ: 1_000_000, report=problems.append)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield running
    listener.error = None
    running.shutdown()
    running.server_close()
    thread.join()


def send(listener: socket.socket, data: bytes) -> bytes:
    """Send the bytes; return everything that is received."""
    with socket.create_connection(listener.getsockname(), timeout=30) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        answer = io.BytesIO()
        while piece := connection.recv(65536):
            answer.write(piece)
        return answer.getvalue()


GOOD = b"POST /good HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 2\r\n\r\nok"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://[ HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"1" * 5000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1_0\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"x" * 10_000 + b"\r\na\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    ],
    ids=_name,
)
def test_a_request_that_does_not_follow_http_is_a_400_and_no_traceback(
    server: Server, listener: Listener, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    assert server
    with caplog.at_level(logging.DEBUG):
        answer = send(listener, request_)

    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1") == 1, "what follows is no request of its own"
    assert not [record for record in caplog.records if record.exc_info]
    assert send(listener, GOOD).endswith(b"ok")


def test_a_head_without_an_end_is_broken_off(server: Server, listener: Listener) -> None:
    assert server
    head = b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: %s\r\n" % (n, b"x" * 60_000) for n in range(4))

    assert send(listener, head).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 1000001\r\n\r\n" + b"x" * 1_000_001,
        b"Transfer-Encoding: chunked\r\n\r\n" + b"80000\r\n%s\r\n" % (b"x" * 0x80000) * 3 + b"0\r\n\r\n",
    ],
    ids=["stated", "chunked"],
)
def test_a_body_that_is_too_large_is_refused_and_not_read_to_its_end(
    server: Server, listener: Listener, body: bytes
) -> None:
    assert server
    answer = send(listener, b"POST / HTTP/1.1\r\n" + body)

    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"Connection: close" in answer


def test_an_answer_is_safe_from_header_injection(server: Server, listener: Listener) -> None:
    assert server
    answer = send(listener, b"GET /header/%0d%0aX-Forged:%20yes HTTP/1.1\r\n\r\n")

    assert b"X-Path: ??X-Forged: yes\r\n" in answer
    assert b"\nX-Forged" not in answer


def test_a_bug_is_an_answer_and_its_traceback_is_in_the_log(
    server: Server, listener: Listener, caplog: pytest.LogCaptureFixture
) -> None:
    assert server
    answer = send(listener, b"GET /bug HTTP/1.1\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 500 ")
    assert any(record.exc_info for record in caplog.records)


def test_a_listener_without_descriptors_waits_reports_it_once_and_recovers(
    server: Server, listener: Listener, problems: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Without a pause, `accept` would be tried some ten thousand times a second."""
    listener.error, started = errno.EMFILE, time.monotonic()
    with socket.create_connection(listener.getsockname(), timeout=30) as waiting:
        waiting.sendall(GOOD)
        while listener.accepts < 6:  # the reserve, and the pauses
            time.sleep(0.01)
        spent = time.monotonic() - started
        listener.error = None
        answer = waiting.recv(65536)

    assert spent > 1.0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert len(problems) == 1
    assert problems[0].startswith("the server cannot take connections: Too many open files (ulimit -n is ")
    assert sum("cannot take connections" in record.getMessage() for record in caplog.records) == 1
    assert server


class Busy:
    """Answers once released; `asked` counts the waiting requests."""

    def __init__(self) -> None:
        self.asked = threading.Semaphore(0)
        self.over = threading.Event()

    def answer(self, _environ: dict[str, Any]) -> Reply:
        self.asked.release()
        assert self.over.wait(30)
        return Reply(status=200)


def test_a_server_with_a_connection_limit_rejects_others_and_never_waits(listener: Listener) -> None:
    """It runs in the event loop of the tasks."""
    busy = Busy()
    server = Server(listener=listener, app=busy.answer, most=2)
    server.timeout = 0
    with ExitStack() as sockets:
        sockets.callback(server.server_close)
        first, second, third = (
            sockets.enter_context(socket.create_connection(listener.getsockname(), timeout=30))
            for _ in range(3)
        )
        for connection in (first, second):
            server.handle_request()
            connection.sendall(GOOD)
            assert busy.asked.acquire(timeout=30)
        started = time.monotonic()
        server.handle_request()
        assert time.monotonic() - started < 0.5
        assert third.recv(1) == b""
        busy.over.set()
        for connection in (first, second):
            assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_without_descriptors_it_rejects_new_connections_and_empties_the_backlog(
    listener: Listener,
) -> None:
    """A connection in the backlog would make the event loop call the listener over and over."""
    server = Server(listener=listener, app=echo, most=2)
    server.timeout = 0
    with ExitStack() as sockets:
        sockets.callback(server.server_close)
        for _ in range(3):
            listener.errors = [errno.EMFILE]
            connection = socket.create_connection(listener.getsockname(), timeout=30)
            sockets.enter_context(connection)
            server.handle_request()
            assert connection.recv(1) == b""
        connection = sockets.enter_context(socket.create_connection(listener.getsockname(), timeout=30))
        server.handle_request()
        connection.sendall(GOOD)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")


def test_a_closed_reserve_acquires_no_descriptors() -> None:
    """A server's threads end after it is closed, and would refill the reserve."""
    reserve = DescriptorReserve(3)
    assert reserve.is_complete
    assert reserve.release()
    assert not reserve.is_complete
    reserve.close()
    reserve.fill()
    assert not reserve.release()


def test_idle_connections_make_room_for_others() -> None:
    now = 0.0
    connections = Connections(clock=lambda: now)
    with ExitStack() as sockets:
        idle, reading, answering, new = (
            [sockets.enter_context(end) for end in socket.socketpair()] for _ in range(4)
        )
        connections.enter(idle[0], ConnectionPhase.WAITING)
        connections.enter(reading[0], ConnectionPhase.READING)
        connections.enter(answering[0], ConnectionPhase.ANSWERING)
        now = 1.0
        connections.enter(new[0], ConnectionPhase.WAITING)

        connections.make_room(seconds=0)

        assert idle[1].recv(1) == b"", "it was closed"
        assert len(connections) == 3
        now = 60.0
        connections.make_room(seconds=0)
        assert (new[1].recv(1), reading[1].recv(1)) == (b"", b""), "a body that has stalled goes, too"
        connections.make_room(seconds=0)
        assert len(connections) == 1, "who waits for an answer stays"


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[tuple[local.LocalAws, Path]]:
    """A local AWS with some twenty descriptors left."""
    home = tmp_path / "home"
    running = local.up(home=home, port=0)
    used = len(list(Path(f"/proc/{running.pid}/fd").iterdir()))
    hard = resource.prlimit(running.pid, resource.RLIMIT_NOFILE)[1]
    resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (used + 20, hard))
    yield running, home
    local.down(home=home)


def seconds_of(pid: int) -> float:
    """The CPU time of the process, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of another process can be set on Linux alone")
def test_at_its_descriptor_limit_the_local_aws_answers_reports_it_and_uses_no_cpu(
    limited: tuple[local.LocalAws, Path],
) -> None:
    running, home = limited
    with ExitStack() as hoarded:
        for _ in range(100):
            hoarded.enter_context(socket.create_connection(("127.0.0.1", running.port), timeout=30))
        before, started = seconds_of(running.pid), time.monotonic()
        health = ask(running, "health")
        while time.monotonic() - started < 1.5:  # long enough to notice a busy loop
            time.sleep(0.1)
        share = (seconds_of(running.pid) - before) / (time.monotonic() - started)
        status = local.status(home=home)

    assert share < 0.25
    problems = [text for text in health["problems"] if "ulimit -n" in text]
    assert problems
    log = (home / "server.log").read_text()
    assert [log.count(problem) for problem in problems] == [1] * len(problems)
    assert status is not None
    assert set(problems) <= set(local.problems(running))


@pytest.fixture
def server_url(limited: tuple[local.LocalAws, Path]) -> str:
    return limited[0].url


@pytest.fixture
def server_log(limited: tuple[local.LocalAws, Path]) -> Path:
    return limited[1] / "server.log"


def test_no_client_can_forge_a_line_of_the_log(server_url: str, server_log: Path) -> None:
    forged = "2026-01-01 00:00:00,000 INFO ready at http://evil"
    for path in (f"/v2/%0a{forged.replace(' ', '%20')}", f"/%0d%0a{forged.replace(' ', '%20')}%1b[2J"):
        with pytest.raises(urllib.error.HTTPError):
            urllib.request.urlopen(f"{server_url}{path}", timeout=30)

    lines = server_log.read_text().splitlines()
    assert any(r"\n2026-01-01" in line for line in lines)
    assert not [line for line in lines if line.startswith(forged[:19])]
    assert "\x1b" not in server_log.read_text()


@pytest.mark.parametrize(
    "text",
    ["a\nb", "a\r\nb", "\x1b[2J", "\x85", "\u2028", "\u202e", "\ud800", "\x00", "x" * 10_000],
    ids=_name,
)
def test_a_record_is_one_line_of_a_bounded_length(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "said %s", (text,), None)

    line = Formatter().format(record)

    assert len(line.splitlines()) == 1
    assert len(line) < 5_000
    assert line.isprintable()


def test_a_traceback_begins_no_record() -> None:
    try:
        raise ValueError("first\n2026-01-01 00:00:00,000 INFO forged")  # noqa: TRY301
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), sys.exc_info())

    head, *rest = Formatter().format(record).splitlines()

    assert head.endswith("ERROR failed")
    assert rest
    assert all(line.startswith("    | ") for line in rest)


DEEP = b"[" * 100_000 + b"]" * 100_000


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"a": ' * 50_000 + b"1" + b"}" * 50_000,
        b'{"speed": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"speed": NaN}',
        b'{"speed": 1e999}',
        b'{"speed": "\\ud800"}',
        b"[]",
        b"null",
        b"\xff",
        b'{"speed": ' + b"1" * 5000 + b"}",
    ],
    ids=_name,
)
def test_an_admin_call_with_hostile_json_is_a_400(body: bytes) -> None:
    answer = ask_admin("PUT", "clock", body)

    assert answer.status == 400
    assert "error" in json.loads(answer.body)


@pytest.mark.parametrize(
    ("path", "document"),
    [
        ("ecr/token-lifetime", {"seconds": 1e300}),
        ("troubles", {"service": "ecs", "seconds": 1, "status": 1e300}),
        ("troubles", {"service": "ecs", "seconds": 1, "code": "a\r\nX-Forged: 1"}),
        ("ecr/scan-findings", {"account_id": "../..", "region": "x", "repository": "web", "findings": []}),
        (
            "ecr/scan-findings",
            {"account_id": "1" * 12, "region": "x", "repository": "web", "findings": [["severity"]]},
        ),
        (
            "ecr/scan-findings",
            {"account_id": "1" * 12, "region": "nowhere", "repository": "a", "findings": []},
        ),
        (
            "acm/certificates",
            {"account_id": "x", "region": "y", "arn": ":acm:y:x:certificate/", "domain_name": "a"},
        ),
    ],
)
def test_an_admin_call_with_invalid_values_is_a_400(path: str, document: dict[str, Any]) -> None:
    answer = ask_admin("PUT", path, json.dumps(document).encode())

    assert answer.status == 400


def test_an_admin_call_with_a_huge_body_is_refused() -> None:
    assert ask_admin("PUT", "clock", b"", **{TOO_LARGE: True}).status == 413


def ask_admin(method: str, path: str, body: bytes, **more: Any) -> Reply:
    from tests.local import in_process  # noqa: PLC0415

    owned = key.make()
    record = local.LocalAws(
        url="http://127.0.0.1:1", port=1, pid=1, instance_id="x", started_at="x", key=owned
    )
    made = admin.Admin(record=record, aws=in_process.aws(), problems=list, save=lambda: pytest.fail("saved"))
    environ = {
        "PATH_INFO": f"/_mclass/{path}",
        "REQUEST_METHOD": method,
        "HTTP_AUTHORIZATION": owned.authorization,
        "wsgi.input": io.BytesIO(body),
    }
    reply = made.answer({**environ, **more})
    assert reply is not None
    return reply
