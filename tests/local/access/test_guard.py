"""The HTTP server: keep-alive, bodies, and protection against web pages."""

from __future__ import annotations

import http.client
import socket

import pytest
from botocore.credentials import Credentials

from mclass_tf import local
from mclass_tf.local.access.guard import is_loopback
from tests.callers import signed


def _connection(server: local.LocalAws) -> http.client.HTTPConnection:
    return http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)


def _opening(server: local.LocalAws) -> dict[str, str]:
    return {"Authorization": server.key.authorization}


def test_a_connection_serves_many_requests(server: local.LocalAws) -> None:
    connection = _connection(server)
    sockets = set()
    for _ in range(3):
        connection.request("GET", "/_mclass/health", headers=_opening(server))
        assert connection.getresponse().read()
        sockets.add(connection.sock)
    connection.close()
    assert len(sockets) == 1


def test_an_unread_body_does_not_affect_the_next_request(server: local.LocalAws) -> None:
    connection = _connection(server)
    connection.request("POST", "/_mclass/no-such-thing", body=b"x" * 100_000, headers=_opening(server))
    response = connection.getresponse()
    assert response.status == 404
    response.read()
    connection.request("GET", "/_mclass/health", headers=_opening(server))
    assert connection.getresponse().status == 200
    connection.close()


def test_a_chunked_body_arrives_whole(server: local.LocalAws) -> None:
    connection = _connection(server)
    pieces = [
        b'{"account_id": "333333333333", "region": "ap-northeast-2", "domain_name": "a.example", ',
        b'"arn": "x"}',
    ]
    connection.request(
        "PUT",
        "/_mclass/acm/certificates",
        body=iter(pieces),
        headers={**_opening(server), "Transfer-Encoding": "chunked"},
        encode_chunked=True,
    )
    response = connection.getresponse()
    assert (response.status, b"ARN" in response.read()) == (400, True)
    connection.request("GET", "/_mclass/health", headers=_opening(server))
    assert connection.getresponse().status == 200
    connection.close()


@pytest.mark.parametrize("length", [b"x", b"-1"])
def test_an_invalid_content_length_is_a_400(server: local.LocalAws, length: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as raw:
        raw.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: " + length + b"\r\n\r\n")
        assert b"400" in raw.recv(4096).split(b"\r\n")[0]


@pytest.mark.parametrize("host", ["evil.example", "evil.example:4566", "127.0.0.1.evil.example", "0.0.0.0"])
def test_a_host_name_of_another_machine_is_forbidden(server: local.LocalAws, host: str) -> None:
    connection = _connection(server)
    connection.request("GET", "/_mclass/health", headers={**_opening(server), "Host": host})
    assert connection.getresponse().status == 403
    connection.close()


def test_a_web_page_from_elsewhere_is_forbidden(server: local.LocalAws) -> None:
    connection = _connection(server)
    connection.request("POST", "/", body=b"Action=DeleteVpc", headers={"Origin": "https://evil.example"})
    assert connection.getresponse().status == 403
    connection.close()


@pytest.mark.parametrize(
    ("authority", "expected"),
    [
        ("127.0.0.1:4566", True),
        ("127.9.9.9", True),
        ("localhost:1", True),
        ("bucket.localhost:1", True),
        ("[::1]:80", True),
        ("localhost.evil.example", False),
        ("192.168.0.1", False),
        ("[::", False),
    ],
)
def test_loopback_is_recognized_by_name_and_address(authority: str, *, expected: bool) -> None:
    assert expected is is_loopback(authority)


def test_the_server_listens_only_on_loopback(server: local.LocalAws) -> None:
    assert server.url.startswith("http://127.0.0.1:")


def test_moto_s_own_page_is_closed(server: local.LocalAws) -> None:
    connection = _connection(server)
    connection.request("POST", "/moto-api/reset", body=b"")
    response = connection.getresponse()
    assert (response.status, b"AccessDenied" in response.read()) == (403, True)
    credentials = Credentials(server.key.access_key_id, server.key.secret_access_key)
    url = f"{server.url}/moto-api/reset"
    headers = signed(credentials, "s3", url, region="us-east-1")
    connection.request("POST", "/moto-api/reset", body=b"", headers=headers)
    assert connection.getresponse().status == 400
    connection.close()
