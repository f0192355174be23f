"""The endpoint of a load balancer's URL, and which certificates a client trusts there."""

from __future__ import annotations

import datetime as dt
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mclass_tf.cloud import Cloud
from mclass_tf.errors import EndpointError
from mclass_tf.load_balancer_endpoint import Endpoint, UntrustedError, get, resolve
from mclass_tf.trust import Trust, trust_in

AWS = Cloud(kind="aws", identity="aws", endpoint_url=None)
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


def local(port: int) -> Cloud:
    return Cloud(kind="local", identity="local x", endpoint_url=f"http://127.0.0.1:{port}")


@pytest.mark.parametrize(
    ("url", "port"),
    [(f"http://{DNS_NAME}", 80), (f"https://{DNS_NAME}", 443), (f"https://{DNS_NAME}:8443", 8443)],
)
def test_on_aws_a_url_is_its_own_endpoint(url: str, port: int) -> None:
    found = resolve(AWS, url)

    assert (found.host, found.port, found.server_name) == (DNS_NAME, port, DNS_NAME)
    assert Trust() == found.trust


def test_on_the_local_aws_it_is_a_port_of_this_machine_under_the_same_name() -> None:
    with serving(balancers(443, protocol="HTTPS")) as (port, _):
        found = resolve(local(port), f"https://{DNS_NAME}")

    assert found == Endpoint(
        scheme="https",
        host="127.0.0.1",
        port=5000,
        host_header=DNS_NAME,
        server_name=DNS_NAME,
    )


@pytest.mark.parametrize("url", [f"http://{DNS_NAME}:81", "http://other.elb.amazonaws.com"])
def test_an_unknown_name_or_port_is_reported(url: str) -> None:
    with serving(balancers(80)) as (port, _), pytest.raises(EndpointError, match="no load balancer"):
        resolve(local(port), url)


def test_a_listener_that_is_not_up_yet_is_left_out() -> None:
    with serving(balancers(80, local_port=0)) as (port, _), pytest.raises(EndpointError):
        resolve(local(port), f"http://{DNS_NAME}")


def test_a_stopped_local_aws_is_reported() -> None:
    with pytest.raises(EndpointError, match="does not say"):
        resolve(local(1), f"http://{DNS_NAME}")


def at(port: int, *, scheme: str = "http", trust: Trust | None = None) -> Endpoint:
    return Endpoint(
        scheme=scheme,
        host="127.0.0.1",
        port=port,
        host_header=DNS_NAME,
        server_name=DNS_NAME,
        trust=trust or Trust(),
    )


def test_a_request_has_the_load_balancers_name_and_follows_no_redirect() -> None:
    with serving({"/version": (301, b"{}")}) as (port, hosts):
        answer = get(at(port), "/version", seconds=5)

    assert (answer.status, answer.body) == (301, b"{}")
    assert hosts == [DNS_NAME]


def test_without_a_server_there_is_no_response() -> None:
    with pytest.raises(OSError, match="refused"):
        get(at(1), "/", seconds=5)


@contextmanager
def dripping(start: bytes, piece: bytes) -> Iterator[int]:
    """Answer one request with `start`, and then with one piece after the other until the client has gone."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            connection.recv(4096)
            connection.sendall(start)
            while not has_ended.wait(0.02):
                connection.sendall(piece)

    has_ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            has_ended.set()
            thread.join()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\n", b"X: 1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", b"1"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"1"),
    ],
    ids=["status", "header", "body", "body without a length"],
)
def test_an_answer_that_comes_drop_by_drop_ends_at_the_deadline(start: bytes, piece: bytes) -> None:
    with dripping(start, piece) as port, pytest.raises(TimeoutError, match=r"within 0\.5 s"):
        get(at(port), "/", seconds=0.5)


@dataclass(frozen=True)
class Signed:
    """A certificate with its key, which can sign others."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def context(self, folder: Path) -> ssl.SSLContext:
        """Return a server context with this certificate."""
        key = self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        file = folder / f"{self.certificate.serial_number}.pem"
        file.write_bytes(self.pem.encode() + key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def signed(name: str, *, by: Signed | None = None, days: int = 1) -> Signed:
    """Return a certificate for `name`, self-signed without `by`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    signer = by.key if by else key
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=2))
        .not_valid_after(now + dt.timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
    )
    if by is None:
        usage = dict.fromkeys(
            (
                *("content_commitment", "key_encipherment", "data_encipherment"),
                *("key_agreement", "encipher_only", "decipher_only", "crl_sign"),
            ),
            False,
        )
        made = made.add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True
        )
    return Signed(made.sign(signer, hashes.SHA256()), key)


OWN = signed("dev.mclass.test")


def asked(shown: Signed, trust: Trust, folder: Path) -> int:
    """Return the status of a server that shows the certificate `shown` to a client with `trust`."""
    with serving({"/": (200, b"")}, tls=shown.context(folder)) as (port, _):
        return get(at(port, scheme="https", trust=trust), "/", seconds=5).status


def test_the_named_certificate_is_trusted(tmp_path: Path) -> None:
    assert asked(OWN, Trust(certificates=(OWN.pem,)), tmp_path) == 200


IMPOSTORS = {
    "another of the same name": signed("dev.mclass.test"),
    "one that the right one has signed": signed("dev.mclass.test", by=OWN),
}


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_another_certificate_is_refused(impostor: str, tmp_path: Path) -> None:
    trust = Trust(name="arn:one", certificates=(OWN.pem,), domain="dev.mclass.test")

    with pytest.raises(UntrustedError, match="does not show the certificate arn:one: "):
        asked(IMPOSTORS[impostor], trust, tmp_path)


def test_an_expired_certificate_is_refused(tmp_path: Path) -> None:
    expired = signed("dev.mclass.test", days=-1)

    with pytest.raises(UntrustedError, match="expired"):
        asked(expired, Trust(certificates=(expired.pem,)), tmp_path)


def test_without_a_certificate_no_server_is_trusted(tmp_path: Path) -> None:
    with pytest.raises(UntrustedError, match="no certificate is known"):
        asked(OWN, Trust(), tmp_path)


def test_a_renewed_certificate_is_trusted_if_an_authority_vouches_for_its_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = signed("an authority")
    file = tmp_path / "authorities.pem"
    file.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    renewed = signed("dev.mclass.test", by=authority)
    other = signed("evil.example", by=authority)

    for certificates in ((OWN.pem,), ()):
        trust = Trust(certificates=certificates, domain="dev.mclass.test")
        assert asked(renewed, trust, tmp_path) == 200
        with pytest.raises(UntrustedError, match="mismatch") as caught:
            asked(other, trust, tmp_path)
        assert ("acm:GetCertificate" in str(caught.value)) == (not certificates)
    with pytest.raises(UntrustedError):
        asked(renewed, Trust(certificates=(OWN.pem,)), tmp_path)


class AcmError(Exception):
    response: ClassVar = {"Error": {"Code": "AccessDeniedException", "Message": "User is not authorized"}}


class Acm:
    """ACM with one certificate; `denied` are the calls that are not allowed."""

    def __init__(self, *denied: str, error: Exception | None = None) -> None:
        self.denied = denied
        self.error = error or AcmError()

    def get_certificate(self, *, CertificateArn: str) -> dict[str, str]:  # noqa: N803  # boto3's name
        return self._answer("get_certificate", {"Certificate": f"PEM of {CertificateArn}"})

    def describe_certificate(self, *, CertificateArn: str) -> dict[str, Any]:  # noqa: N803
        described = {"CertificateArn": CertificateArn, "DomainName": "*.mclass.test"}
        return self._answer("describe_certificate", {"Certificate": described})

    def _answer(self, call: str, answer: dict[str, Any]) -> dict[str, Any]:
        if call in self.denied:
            raise self.error
        return answer


def test_the_certificate_is_read_or_else_its_domain() -> None:
    told: list[str] = []

    assert trust_in(Acm(), "arn:one", report=told.append) == Trust(
        name="arn:one", certificates=("PEM of arn:one",), domain="www.mclass.test"
    )
    assert trust_in(Acm("describe_certificate"), "arn:one", report=told.append) == Trust(
        name="arn:one", certificates=("PEM of arn:one",)
    )
    assert told == []
    assert trust_in(Acm("get_certificate"), "arn:one", report=told.append) == Trust(
        name="arn:one", domain="www.mclass.test"
    )
    assert told == [
        "the certificate arn:one cannot be read (User is not authorized): an authority must vouch for *.mclass.test"
    ]


def test_without_certificate_and_domain_no_server_is_trusted() -> None:
    denied = Acm("get_certificate", "describe_certificate")

    with pytest.raises(EndpointError, match="arn:one cannot be read: User is not authorized") as caught:
        trust_in(denied, "arn:one", report=lambda _: None)

    assert "acm:GetCertificate" in caught.value.hint
    with pytest.raises(TimeoutError):
        trust_in(Acm("get_certificate", error=TimeoutError()), "arn:one", report=lambda _: None)
