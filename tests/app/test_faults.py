"""Each fault switch enables its fault, logs a warning, and is off by default."""

from __future__ import annotations

import re
import signal
import socket
import time
from pathlib import Path

from tests.app.service import PATIENCE, Start


def test_a_service_with_a_fault_says_so_at_start(launch: Start) -> None:
    service = launch(MCLASS_FAULT_ERROR_RATE="0.5", MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS="9")
    record = service.logged("FAULTS ARE ON: this service fails on purpose")

    assert record["level"] == "WARNING"
    assert record["faults"] == ["MCLASS_FAULT_ERROR_RATE", "MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS"]


def test_a_service_without_one_does_not(start: Start) -> None:
    assert [record["message"] for record in start().records] == ["listening"]


def test_slow_start_listens_late(launch: Start) -> None:
    before = time.monotonic()
    service = launch(MCLASS_FAULT_SLOW_START_SECONDS="1.5").listening()

    assert time.monotonic() - before >= 1.5
    assert service.get("/ready").status_code == 200


def test_a_slow_start_ends_on_sigterm(launch: Start) -> None:
    service = launch(MCLASS_FAULT_SLOW_START_SECONDS="3600")
    service.logged("FAULTS ARE ON: this service fails on purpose")
    service.signal()

    assert service.exit_code() == 0
    assert "listening" not in [record["message"] for record in service.records]


def test_an_unhealthy_service_fails_both_probes_and_serves(start: Start) -> None:
    service = start(MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS="0")

    assert [service.get(path).status_code for path in ("/health", "/ready", "/version")] == [503, 503, 200]
    assert service.get("/health").json() == {"status": "unhealthy"}


def test_a_service_may_fall_ill_later(start: Start) -> None:
    service = start(MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS="1")

    assert service.get("/health").status_code == 200
    deadline = time.monotonic() + PATIENCE
    while service.get("/health").status_code == 200:
        assert time.monotonic() < deadline


def test_a_crash_at_start_never_listens(launch: Start) -> None:
    service = launch(MCLASS_FAULT_CRASH_AFTER_SECONDS="0")

    assert service.exit_code() == 1
    assert service.records[-1]["message"] == "crashing on purpose"
    assert "listening" not in [record["message"] for record in service.records]


def test_a_crash_later_comes_after_serving(start: Start) -> None:
    service = start(MCLASS_FAULT_CRASH_AFTER_SECONDS="1")

    assert service.get("/health").status_code == 200
    assert service.exit_code() == 1


def test_exit_on_sigterm_breaks_what_is_in_flight(start: Start) -> None:
    service = start(MCLASS_FAULT_EXIT_ON_SIGTERM="true", MCLASS_LAME_DUCK_SECONDS="20")
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as connection:
        connection.sendall(b"GET /work?ms=9000 HTTP/1.1\r\nHost: a\r\n\r\n")
        service.get("/version")
        service.signal(signal.SIGTERM)

        assert service.exit_code() == 143
        assert connection.recv(1) == b""


def resident(pid: int) -> int:
    """Return the resident memory in MiB."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found
    return int(found[1]) >> 10


def test_a_leak_takes_memory_until_somebody_ends_it(start: Start) -> None:
    service = start(MCLASS_FAULT_LEAK_MIB_PER_SECOND="200")
    deadline = time.monotonic() + PATIENCE
    while resident(service.process.pid) < 150:
        assert time.monotonic() < deadline
    service.signal()

    assert service.exit_code() == 0


def test_errors_come_at_the_rate_that_was_asked_for_and_spare_the_probes(start: Start) -> None:
    service = start(MCLASS_FAULT_ERROR_RATE="0.25")

    assert [service.get("/health").status_code for _ in range(4)] == [200] * 4
    assert [service.get("/version").status_code for _ in range(8)] == [200, 200, 200, 500] * 2


def test_a_fault_for_the_tasks_of_a_cluster_is_off_elsewhere(start: Start) -> None:
    service = start(MCLASS_FAULT_ERROR_RATE="1", MCLASS_FAULT_ONLY_IN="222222222222:task/mclass-cluster")

    assert service.get("/version").status_code == 200
    assert [record["message"] for record in service.records] == ["listening"]


def test_an_answer_names_its_revision_in_errors_too(start: Start) -> None:
    service = start(MCLASS_FAULT_ERROR_RATE="1", MCLASS_REVISION="abc")

    answer = service.get("/version")
    assert (answer.status_code, answer.headers["x-revision"]) == (500, "abc")


def test_a_short_keep_alive_closes_an_idle_connection(start: Start) -> None:
    service = start(MCLASS_FAULT_KEEP_ALIVE_SECONDS="1")
    with socket.create_connection(("127.0.0.1", service.port), PATIENCE) as connection:
        connection.sendall(b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n")
        before = time.monotonic()
        while connection.recv(4096):
            pass
        assert 0.9 <= time.monotonic() - before < PATIENCE
