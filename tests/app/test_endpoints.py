"""The responses of the endpoints, and their log records."""

from __future__ import annotations

import http.server
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import httpx
import pytest

from tests.app.service import NO_TLS, PATIENCE, ROOT, Service, Start

ARN = "arn:aws:ecs:ap-northeast-2:111111111111:task/mclass-cluster/0123456789abcdef0123456789abcdef"


@contextmanager
def metadata_endpoint(answer: bytes, *, status: int = 200) -> Iterator[str]:
    """Serve `answer` as ECS's task metadata endpoint; yield its URI."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/v4/container/task" else 404)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v4/container"
        server.shutdown()
        thread.join()


def test_the_root_tells_service_version_revision_and_task(start: Start) -> None:
    with metadata_endpoint(json.dumps({"TaskARN": ARN}).encode()) as uri:
        service = start(MCLASS_VERSION="1.2.3", MCLASS_REVISION="abc", ECS_CONTAINER_METADATA_URI_V4=uri)
        answer = service.get("/")

    assert answer.status_code == 200
    assert answer.json() == {
        "service": "mclass-server",
        "version": "1.2.3",
        "revision": "abc",
        "task": "0123456789abcdef0123456789abcdef",
    }
    assert answer.headers["cache-control"] == "no-store"


def test_outside_of_ecs_there_is_no_task(serving: Service) -> None:
    assert serving.get("/").json()["task"] is None


@pytest.mark.parametrize(("answer", "status"), [(b"{}", 200), (b"no JSON", 200), (b"[]", 200), (b"", 500)])
def test_a_metadata_endpoint_that_makes_no_sense_does_not_keep_the_service_from_serving(
    launch: Start, answer: bytes, status: int
) -> None:
    with metadata_endpoint(answer, status=status) as uri:
        service = launch(ECS_CONTAINER_METADATA_URI_V4=uri)
        record = service.logged("the task metadata endpoint does not answer")

        assert record["level"] == "WARNING"
        assert service.listening().get("/").json()["task"] is None


def test_the_version_is_told_alone_for_whoever_probes_a_rollout(start: Start) -> None:
    assert start(MCLASS_VERSION="1.2.3", MCLASS_REVISION="abc").get("/version").json() == {
        "version": "1.2.3",
        "revision": "abc",
    }


def test_a_service_that_runs_is_healthy_and_ready(serving: Service) -> None:
    assert (serving.get("/health").status_code, serving.get("/health").json()) == (200, {"status": "ok"})
    assert (serving.get("/ready").status_code, serving.get("/ready").json()) == (200, {"status": "ready"})


def test_work_holds_the_request_open(serving: Service) -> None:
    before = time.monotonic()

    assert serving.get("/work?ms=300").json() == {"worked_ms": 300}
    assert time.monotonic() - before >= 0.3


@pytest.mark.parametrize(
    "query", ["", "?ms=", "?ms=-1", "?ms=1.5", "?ms=10001", "?ms=\u0661", "?ms=" + "9" * 5000]
)
def test_work_is_bounded_by_the_longest_request(serving: Service, query: str) -> None:
    answer = serving.get("/work" + query)

    assert answer.status_code == 400
    assert answer.json() == {"error": "ms must be a whole number from 0 to 10000, for example 250"}


def test_a_wrong_path_or_method_is_refused_in_json(serving: Service) -> None:
    assert (serving.get("/x").status_code, serving.get("/x").json()) == (404, {"error": "Not Found"})
    refused = httpx.post(serving.url + "/version", verify=NO_TLS)
    assert (refused.status_code, refused.json()) == (405, {"error": "Method Not Allowed"})


def test_a_path_with_a_slash_too_many_is_refused_and_not_sent_to_where_the_caller_says(
    serving: Service,
) -> None:
    answer = serving.get("/version/", Host="elsewhere.example.com")

    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})
    assert "location" not in answer.headers


def test_a_request_is_logged_with_its_ids_and_without_its_query(start: Start) -> None:
    service = start()
    trace = "Root=1-67891233-abcdef012345678912345678"
    answer = service.get("/work?ms=1&token=secret", **{"X-Request-Id": "r-1", "X-Amzn-Trace-Id": trace})

    record = service.logged("request")
    assert record["request_id"] == answer.headers["x-request-id"] == "r-1"
    assert record["trace_id"] == trace
    assert (record["method"], record["path"], record["status"]) == ("GET", "/work", 200)
    assert record["duration_ms"] >= 1
    assert "secret" not in json.dumps(service.records)


def test_a_request_without_an_id_gets_one_of_its_own(start: Start) -> None:
    service = start()
    ids = [service.get("/").headers["x-request-id"] for _ in range(2)]

    assert ids == [service.logged("request")["request_id"] for _ in range(2)]
    assert len(set(ids)) == 2


@pytest.mark.parametrize("given", ["two words", "x" * 129, '"}'])
def test_an_id_that_is_no_id_is_not_taken_over(serving: Service, given: str) -> None:
    assert len(serving.get("/", **{"X-Request-Id": given}).headers["x-request-id"]) == 32


def test_probes_that_are_well_are_logged_only_when_asked_for(start: Start) -> None:
    quiet, talkative = start(), start(MCLASS_LOG_LEVEL="debug")
    for service in (quiet, talkative):
        service.get("/health")
        service.get("/version")

    assert quiet.logged("request")["path"] == "/version"
    assert talkative.logged("request")["path"] == "/health"


def test_the_health_check_of_the_image_fails_when_nobody_answers(start: Start) -> None:
    service = start()

    def check() -> int:
        command = (sys.executable, "-m", "app.healthcheck")
        env = {"MCLASS_PORT": str(service.port)}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False).returncode

    assert check() == 0
    service.close()
    assert check() == 1


def test_the_health_check_of_the_image_asks_where_the_service_listens(start: Start) -> None:
    service = start(MCLASS_HOST="127.0.0.1")
    command = (sys.executable, "-m", "app.healthcheck")

    def check(host: str) -> int:
        env = {"MCLASS_HOST": host, "MCLASS_PORT": str(service.port)}
        return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False).returncode

    assert [check(host) for host in ("127.0.0.1", "0.0.0.0", "127.0.0.9", "::")] == [0, 0, 1, 1]


def test_the_health_check_of_the_image_fails_when_the_service_is_unhealthy(start: Start) -> None:
    service = start(MCLASS_FAULT_UNHEALTHY_AFTER_SECONDS="0")
    command = (sys.executable, "-m", "app.healthcheck")
    env = {"MCLASS_PORT": str(service.port)}

    assert subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False).returncode == 1


def test_a_connection_is_kept_for_the_next_request(serving: Service) -> None:
    with closing(httpx.Client(base_url=serving.url, verify=NO_TLS)) as client:
        streams = {
            client.get("/").extensions["network_stream"].get_extra_info("client_addr") for _ in range(3)
        }

    assert len(streams) == 1


def _ask_raw(service: Service, *pieces: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            connection.sendall(piece)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize("target", ["/version?q=한글", "/version?q=%ED%95%9C%EA%B8%80"])
def test_a_target_may_contain_raw_or_escaped_utf_8(serving: Service, target: str) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()

    assert _ask_raw(serving, request).startswith(b"HTTP/1.1 200")
    assert _ask_raw(serving, *(request[at : at + 1] for at in range(len(request)))).startswith(
        b"HTTP/1.1 200"
    )


def test_raw_utf_8_in_an_unknown_path_is_a_404_and_no_400(serving: Service) -> None:
    request = "GET /한글 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()

    assert _ask_raw(serving, request).startswith(b"HTTP/1.1 404")


def test_a_body_that_looks_like_a_raw_target_is_not_changed(serving: Service) -> None:
    body = "GET /한글 HTTP/1.1\r\n".encode()
    head = f"POST /version HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", serving.port), timeout=PATIENCE) as connection:
        connection.sendall(head + body)
        first = connection.recv(65536)
        connection.sendall("GET /version?한글 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
        second = b"".join(iter(lambda: connection.recv(65536), b""))

    assert first.startswith(b"HTTP/1.1 405")
    assert b"HTTP/1.1 200" in second
    assert b"HTTP/1.1 400" not in second
