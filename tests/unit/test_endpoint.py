"""Where a load balancer's URL is, and whom a client of it trusts."""

from __future__ import annotations

import datetime as dt
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mclass_tf.endpoint import Endpoint, get, resolve
from mclass_tf.errors import EndpointError
from mclass_tf.target import Target

AWS = Target(kind="aws", identity="aws", endpoint_url=None)
DNS_NAME = "mclass-alb-1.ap-northeast-2.elb.amazonaws.com"


class _Handler(BaseHTTPRequestHandler):
    answers: dict[str, tuple[int, bytes]]
    hosts: list[str]

    def do_GET(self) -> None:
        self.hosts.append(self.headers["Host"])
        status, body = self.answers.get(self.path, (404, b""))
        self.send_response(status)
        self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


@contextmanager
def serving(
    answers: dict[str, tuple[int, bytes]], *, tls: ssl.SSLContext | None = None
) -> Iterator[tuple[int, list[str]]]:
    """Serve on a free port; yield it, and the Host headers that come in."""
    hosts: list[str] = []
    handler = type("Handler", (_Handler,), {"answers": answers, "hosts": hosts})
    server = HTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_port, hosts
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def balancers(port: int, *, protocol: str = "HTTP", local_port: int = 5000) -> dict[str, tuple[int, bytes]]:
    listener = {"arn": "l", "port": port, "protocol": protocol, "host": "127.0.0.1", "local_port": local_port}
    balancer = {
        "arn": "a",
        "name": "mclass-alb",
        "dns_name": DNS_NAME,
        "account_id": "111111111111",
        "region": "ap-northeast-2",
        "listeners": [listener],
        "certificates": ["PEM"],
    }
    document = json.dumps({"load_balancers": [balancer]}).encode()
    return {"/_mclass/load-balancers": (200, document)}


def local(port: int) -> Target:
    return Target(kind="local", identity="local x", endpoint_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "port"),
    [(f"http://{DNS_NAME}", 80), (f"https://{DNS_NAME}", 443), (f"https://{DNS_NAME}:8443", 8443)],
)
def test_on_aws_a_url_is_where_it_says(url: str, port: int) -> None:
    found = resolve(AWS, url)

    assert (found.host, found.port, found.server_name) == (DNS_NAME, port, DNS_NAME)
    assert found.certificates == ()


def test_on_the_local_aws_it_is_a_port_of_this_machine_under_the_same_name() -> None:
    with serving(balancers(443, protocol="HTTPS")) as (port, _):
        found = resolve(local(port), f"https://{DNS_NAME}")

    assert found == Endpoint(
        scheme="https",
        host="127.0.0.1",
        port=5000,
        host_header=DNS_NAME,
        server_name=DNS_NAME,
        certificates=("PEM",),
    )


@pytest.mark.parametrize("url", [f"http://{DNS_NAME}:81", "http://other.elb.amazonaws.com"])
def test_a_name_or_a_port_that_nothing_listens_on_is_told(url: str) -> None:
    with serving(balancers(80)) as (port, _), pytest.raises(EndpointError, match="no load balancer"):
        resolve(local(port), url)


def test_a_listener_that_is_not_up_yet_is_none() -> None:
    with serving(balancers(80, local_port=0)) as (port, _), pytest.raises(EndpointError):
        resolve(local(port), f"http://{DNS_NAME}")


def test_a_local_aws_that_has_gone_is_told() -> None:
    with pytest.raises(EndpointError, match="does not say"):
        resolve(local(1), f"http://{DNS_NAME}")


def at(port: int, *, scheme: str = "http", certificates: tuple[str, ...] = ()) -> Endpoint:
    return Endpoint(
        scheme=scheme,
        host="127.0.0.1",
        port=port,
        host_header=DNS_NAME,
        server_name=DNS_NAME,
        certificates=certificates,
    )


def test_an_answer_is_had_under_the_load_balancers_name_and_no_redirect_is_followed() -> None:
    with serving({"/version": (301, b"{}")}) as (port, hosts):
        answer = get(at(port), "/version", seconds=5)

    assert (answer.status, answer.body) == (301, b"{}")
    assert hosts == [DNS_NAME]


def test_where_nothing_listens_there_is_no_answer() -> None:
    with pytest.raises(OSError, match="refused"):
        get(at(1), "/", seconds=5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """A server's context with a self-signed certificate for another name, and that certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dev.mclass.test")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    file: Path = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        pem
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, pem.decode()


def test_the_certificate_that_is_named_is_trusted(certificate: tuple[ssl.SSLContext, str]) -> None:
    context, pem = certificate
    with serving({"/": (200, b"")}, tls=context) as (port, _):
        assert get(at(port, scheme="https", certificates=(pem,)), "/", seconds=5).status == 200


def test_another_certificate_than_the_one_that_is_named_is_refused(
    certificate: tuple[ssl.SSLContext, str], tmp_path: Path
) -> None:
    context, _ = certificate
    other = ssl.DER_cert_to_PEM_cert(ssl.create_default_context().get_ca_certs(binary_form=True)[0])
    with serving({"/": (200, b"")}, tls=context) as (port, _), pytest.raises(ssl.SSLError):
        get(at(port, scheme="https", certificates=(other,)), "/", seconds=5)


def test_without_one_any_certificate_will_do(certificate: tuple[ssl.SSLContext, str]) -> None:
    context, _ = certificate
    with serving({"/": (200, b"")}, tls=context) as (port, _):
        assert get(at(port, scheme="https"), "/", seconds=5).status == 200
