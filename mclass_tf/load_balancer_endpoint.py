"""Connect to a URL of a load balancer: on AWS, to the URL itself; on the local AWS, to a port of this machine."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

from mclass_tf.cloud import Cloud
from mclass_tf.errors import EndpointError, Hint
from mclass_tf.local.loopback import ask
from mclass_tf.system import machine
from mclass_tf.trust import Trust

USER_AGENT = "mclass-tf"

_NOBODY = Trust()
_PORTS = {"http": 80, "https": 443}
_ASK_SECONDS = 10.0
_BODY_LIMIT = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where to connect (`host`, `port`), the Host header to send, and the `server_name` for TLS.

    `trust` determines which certificates TLS accepts: by default none.
    """

    scheme: str
    host: str
    port: int
    host_header: str
    server_name: str
    trust: Trust = _NOBODY

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class HttpResponse:
    """An HTTP response; `body` has at most 64 KiB."""

    status: int
    body: bytes


def resolve(cloud: Cloud, url: str) -> Endpoint:
    """Return the endpoint of `url`; raise EndpointError if no load balancer of the local AWS listens there."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or _PORTS[parts.scheme]
    if not cloud.is_local:
        return Endpoint(scheme=parts.scheme, host=host, port=port, host_header=parts.netloc, server_name=host)
    balancers = [balancer for balancer in load_balancers(cloud) if balancer.dns_name == host]
    listeners = [(balancer, own) for balancer in balancers for own in balancer.listeners if own.port == port]
    if not listeners:
        raise EndpointError(
            f"no load balancer of {cloud.label} listens at {url}",
            hint=Hint(("local", "status"), " lists those that do; a restarted local AWS has none"),
        )
    _, listener = listeners[0]
    return Endpoint(
        scheme=parts.scheme,
        host=listener.host,
        port=listener.local_port,
        host_header=parts.netloc,
        server_name=host,
    )


@dataclass(frozen=True, kw_only=True)
class LocalListener:
    """`port` is the port on AWS; `host` and `local_port` are its address on this machine."""

    port: int
    protocol: str
    host: str
    local_port: int


@dataclass(frozen=True, kw_only=True)
class LocalLoadBalancer:
    name: str
    dns_name: str
    account_id: str
    listeners: tuple[LocalListener, ...]
    certificates: tuple[str, ...]


def load_balancers(cloud: Cloud) -> tuple[LocalLoadBalancer, ...]:
    """Return the load balancers of the local AWS, of all accounts."""
    try:
        document = ask(f"{cloud.endpoint_url}/_mclass/load-balancers", seconds=_ASK_SECONDS, key=cloud.key)
    except (OSError, ValueError) as error:
        raise machine.shortage(error) or EndpointError(
            f"{cloud.label} does not say where its load balancers are: {error}",
            hint=Hint("look at its log; ", ("local", "status"), " says where"),
        ) from None
    return tuple(
        LocalLoadBalancer(
            name=item["name"],
            dns_name=item["dns_name"],
            account_id=item["account_id"],
            listeners=tuple(
                LocalListener(
                    port=int(listener["port"]),
                    protocol=listener["protocol"],
                    host=listener["host"],
                    local_port=int(listener["local_port"]),
                )
                for listener in item["listeners"]
                if listener["local_port"]
            ),
            certificates=tuple(item["certificates"]),
        )
        for item in document["load_balancers"]
    )


class UntrustedError(ConnectionError):
    """The server shows another certificate than the required one."""


def get(
    endpoint: Endpoint, path: str, *, seconds: float, headers: Mapping[str, str] | None = None
) -> HttpResponse:
    """GET `path` over a new connection, without following redirects: a secret in `headers` goes nowhere else.

    Raise OSError if nothing answers, its subclass UntrustedError if the server may not be the load balancer. TimeoutError: the answer
    was not complete after `seconds`, however many bytes of it came.
    """
    connection = http.client.HTTPConnection(endpoint.host, endpoint.port, timeout=seconds)
    try:
        connection.sock = _connected(endpoint, seconds=seconds)
        own = {"Host": endpoint.host_header, "User-Agent": USER_AGENT, "Connection": "close"}
        with _deadline(connection.sock, seconds=seconds):
            connection.request("GET", path or "/", headers={**(headers or {}), **own})
            answer = connection.getresponse()
            return HttpResponse(status=answer.status, body=answer.read(_BODY_LIMIT))
    except http.client.HTTPException as error:
        raise ConnectionError(f"no answer of HTTP from {endpoint.address}: {error!r}") from None
    finally:
        connection.close()


@contextmanager
def _deadline(sock: socket.socket, *, seconds: float) -> Iterator[None]:
    """Raise TimeoutError if the block takes longer. The timeout of a socket is only that of one read."""
    has_passed = threading.Event()

    def shut_down() -> None:
        has_passed.set()
        with suppress(OSError):
            # That of the plain socket: SSLSocket's own takes TLS away from the thread that reads.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    timer = threading.Timer(seconds, shut_down)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, http.client.HTTPException):
        if not has_passed.is_set():
            raise
    finally:
        timer.cancel()
    if has_passed.is_set():
        raise TimeoutError(f"no complete answer within {seconds:g} s")


def _connected(endpoint: Endpoint, *, seconds: float) -> socket.socket:
    if endpoint.scheme != "https":
        return _connection(endpoint, seconds=seconds)
    refused = "no certificate is known that it could show"
    for handshake in endpoint.trust.handshakes(endpoint.server_name):
        plain = _connection(endpoint, seconds=seconds)
        try:
            return handshake.wrap(plain)
        except ssl.SSLCertVerificationError as error:
            plain.close()
            refused = getattr(error, "verify_message", "") or str(error.strerror)
        except BaseException:
            plain.close()
            raise
    is_unreadable = endpoint.trust.domain and not endpoint.trust.certificates
    allow = "; who may read the certificate (acm:GetCertificate) needs no authority" if is_unreadable else ""
    raise UntrustedError(
        f"what answers at {endpoint.address} does not show the certificate {endpoint.trust.name}: {refused}{allow}"
    )


def _connection(endpoint: Endpoint, *, seconds: float) -> socket.socket:
    return socket.create_connection((endpoint.host, endpoint.port), timeout=seconds)
