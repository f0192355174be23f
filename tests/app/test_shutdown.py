"""No request is lost after SIGTERM."""

from __future__ import annotations

import http.client
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.app.service import NO_TLS, PATIENCE, Service, Start

LONG_DUCK = {"MCLASS_LAME_DUCK_SECONDS": "40", "MCLASS_LONGEST_REQUEST_SECONDS": "10"}


def in_flight(service: Service, path: str) -> http.client.HTTPConnection:
    """Send a request; return when the service has it, which a response on another connection proves."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    connection.request("GET", path)
    service.get("/version")
    return connection


def test_the_service_goes_on_serving_with_readiness_off(start: Start) -> None:
    service = start(**LONG_DUCK)
    service.signal()
    service.logged("lame duck")

    assert service.get("/version").status_code == 200
    assert service.get("/health").status_code == 200
    ready = service.get("/ready")
    assert (ready.status_code, ready.json()) == (503, {"status": "lame duck"})


def test_the_end_comes_only_after_the_lame_duck_time(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="1")
    before = time.monotonic()
    service.signal()

    assert service.exit_code() == 0
    assert time.monotonic() - before >= 1


def test_a_request_in_flight_is_answered_and_the_service_exits_with_0(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="0.1")
    connection = in_flight(service, "/work?ms=1500")
    service.signal()
    service.logged("draining", in_flight=1)

    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b'{"worked_ms":1500}')
    assert answer.getheader("connection") == "close"
    connection.close()
    assert service.exit_code() == 0
    assert service.records[-1]["message"] == "ended"


def test_the_listener_is_open_while_the_service_drains(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="0")
    connection = in_flight(service, "/work?ms=5000")
    service.signal()
    service.logged("draining")

    answer = service.get("/version")
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert service.get("/ready").json() == {"status": "draining"}
    connection.close()


def test_connections_are_kept_at_first_and_told_to_close_later(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="4")
    with httpx.Client(base_url=service.url, verify=NO_TLS) as client:
        assert "connection" not in client.get("/version").headers
        service.signal()
        service.logged("lame duck")
        assert "connection" not in client.get("/version").headers
        deadline = time.monotonic() + PATIENCE
        while client.get("/version").headers.get("connection") != "close":
            assert time.monotonic() < deadline
        assert client.get("/ready").json() == {"status": "lame duck"}


def test_a_steady_stream_of_requests_loses_none_while_the_service_ends(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="1")
    held = in_flight(service, "/work?ms=6000")
    enough = threading.Event()

    def visit(_: int) -> list[int]:
        with httpx.Client(base_url=service.url, timeout=PATIENCE, verify=NO_TLS) as client:
            statuses = []
            while not enough.is_set():
                statuses.append(client.get("/work?ms=5").status_code)
            return statuses

    with ThreadPoolExecutor(4) as pool:
        visits = [pool.submit(visit, number) for number in range(4)]
        service.logged("request", path="/work")
        service.signal()
        service.logged("draining")
        for _ in range(50):  # served although the drain has started
            service.logged("request", path="/work")
        enough.set()
        statuses = [status for each in visits for status in each.result()]

    assert set(statuses) == {200}
    assert held.getresponse().status == 200
    held.close()
    assert service.exit_code() == 0


def test_a_request_beyond_the_limit_is_cut_off_with_an_answer(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="0", MCLASS_LONGEST_REQUEST_SECONDS="2")
    connection = in_flight(service, "/work?ms=2000")
    time_of_signal = time.monotonic()
    # Two requests on one connection: the second starts during the drain and cannot end in it.
    service.signal()
    service.logged("draining", in_flight=1)
    late = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    while time.monotonic() < time_of_signal + 1:  # it must start well into the drain
        late.close()
        late.request("GET", "/version")
        late.getresponse().read()
    late.close()
    late.request("GET", "/work?ms=2000")

    assert connection.getresponse().status == 200
    answer = late.getresponse()
    assert (answer.status, answer.read()) == (503, b'{"error":"the service ends"}')
    for each in (connection, late):
        each.close()
    assert service.exit_code() == 0
    assert "cut off: the request took longer than MCLASS_LONGEST_REQUEST_SECONDS" in [
        record["message"] for record in service.records
    ]


def test_a_second_sigterm_changes_nothing(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="1")
    connection = in_flight(service, "/work?ms=1500")
    service.signal()
    service.logged("lame duck")
    service.signal()

    assert connection.getresponse().status == 200
    connection.close()
    assert service.exit_code() == 0


def test_an_interrupt_skips_the_lame_duck_but_not_what_is_in_flight(start: Start) -> None:
    service = start(**LONG_DUCK)
    connection = in_flight(service, "/work?ms=500")
    service.signal(signal.SIGINT)

    assert connection.getresponse().status == 200
    connection.close()
    assert service.exit_code() == 0


def test_a_second_interrupt_ends_at_once(start: Start) -> None:
    service = start(**LONG_DUCK)
    connection = in_flight(service, "/work?ms=10000")
    before = time.monotonic()
    service.signal(signal.SIGINT)
    service.logged("draining")
    service.signal(signal.SIGINT)

    assert connection.getresponse().status == 503
    connection.close()
    assert service.exit_code() == 0
    assert time.monotonic() - before < 8


def test_a_client_that_only_holds_a_connection_does_not_hold_up_the_end(start: Start) -> None:
    service = start(MCLASS_LAME_DUCK_SECONDS="0")
    with socket.create_connection(("127.0.0.1", service.port)) as idle:
        service.get("/version")
        service.signal()

        assert service.exit_code() == 0
        idle.settimeout(PATIENCE)
        assert idle.recv(1) == b""


def test_a_sigterm_before_the_service_is_up_is_not_lost(launch: Start) -> None:
    """Process 1 of a container ignores signals that it neither handles nor blocks."""
    service = next(found for found in (launch() for _ in range(10)) if _held_back(found, signal.SIGTERM))
    service.signal()

    assert service.exit_code() == 0


def _held_back(service: Service, number: int) -> bool:
    """Wait until the service blocks the signal; return False if it already handles it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        lines = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii").splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        held, handled = (bool(int(fields[name], 16) & (1 << (number - 1))) for name in ("SigBlk", "SigCgt"))
        if held or handled:
            return held
    raise AssertionError("the signal is neither held back nor handled")
