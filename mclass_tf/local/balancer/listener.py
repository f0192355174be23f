"""A listener: takes connections on a port of this machine and knows the rules in force."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from mclass_tf.local.balancer import access_log, snapshot
from mclass_tf.local.balancer.capacity import Capacity
from mclass_tf.local.balancer.client import ClientConnection
from mclass_tf.local.balancer.doorman import Doorman
from mclass_tf.local.balancer.report import Listening
from mclass_tf.local.balancer.rules import Rule
from mclass_tf.local.balancer.settings import BalancerSettings
from mclass_tf.local.balancer.telemetry import Telemetry

if TYPE_CHECKING:
    from mclass_tf.local.balancer.exchange import Exchange

_HOST = "127.0.0.1"
_BACKLOG = 1024
_READ = 64 * 1024  # bytes of a client at once, hence the most that waits unread
_HANDSHAKE = 10.0  # seconds; AWS documents none


class Listener:
    """Connections outlive changes of rules and settings; `close` lets their requests end."""

    def __init__(self, arn: str, *, telemetry: Telemetry, capacity: Capacity) -> None:
        self.arn = arn
        self.telemetry = telemetry
        self.capacity = capacity
        self.time = time.time
        self.clients: set[ClientConnection] = set()
        self.buffer = memoryview(bytearray(_READ))  # of all its clients: what comes is taken out at once
        self.rules: tuple[Rule, ...] = ()
        self.settings = BalancerSettings()
        self.load_balancer_arn = ""
        self.dns_name = b""
        self.port = 0
        self.protocol = "HTTP"
        self.is_closed = False
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None

    @property
    def is_tls(self) -> bool:
        return self._tls is not None

    def update(
        self,
        found: snapshot.Listener,
        *,
        load_balancer: snapshot.LoadBalancer,
        settings: BalancerSettings,
        rules: tuple[Rule, ...],
    ) -> None:
        self.rules, self.settings = rules, settings
        self.load_balancer_arn = load_balancer.arn
        self.dns_name = load_balancer.dns_name.encode()
        self.port, self.protocol = found.port, found.protocol
        if found.certificate is not None and found.private_key is not None:
            self._tls = self._tls or _server_tls()
            _load(self._tls, certificate=found.certificate, private_key=found.private_key)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Doorman(lambda: ClientConnection(self)),
            _HOST,
            0,
            ssl=self._tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.telemetry.send(Listening(listener_arn=self.arn, host=_HOST, port=port))

    def close(self) -> None:
        self.is_closed = True
        if self._server is not None:
            self._server.close()
        for client in tuple(self.clients):
            client.listener_closed()

    def forwarded_lines(self, encryption: ssl.SSLObject | None) -> bytes:
        """Return the header lines that are the same for every request of a connection."""
        lines = f"X-Forwarded-Proto: {self.protocol.lower()}\r\nX-Forwarded-Port: {self.port}\r\n"
        if encryption is not None and self.settings.adds_tls_headers:
            cipher = encryption.cipher()
            lines += f"X-Amzn-Tls-Version: {encryption.version()}\r\n"
            lines += f"X-Amzn-Tls-Cipher-Suite: {cipher[0] if cipher else ''}\r\n"
        return lines.encode()

    def finished(self, client: ClientConnection, exchange: Exchange) -> None:
        if self.settings.logs_access:
            self.telemetry.log(self.load_balancer_arn, access_log.line(client, exchange))


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])  # HTTP/2 is not modelled
    return context


def _load(context: ssl.SSLContext, *, certificate: str, private_key: str) -> None:
    """Use the certificate for connections from now on; Python reads it from a file only."""
    with tempfile.TemporaryDirectory(prefix="mclass-certificate-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_text(f"{private_key}\n{certificate}\n", encoding="ascii")
        context.load_cert_chain(path)
