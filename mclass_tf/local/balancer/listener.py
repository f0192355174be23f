"""A listener's server, on a port of this machine."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from pathlib import Path

from mclass_tf.local.balancer import snapshot
from mclass_tf.local.balancer.client.connection import ClientConnection
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.peer_check import PeerCheck
from mclass_tf.local.balancer.report import Listening
from mclass_tf.local.balancer.rules import CompiledRule
from mclass_tf.local.balancer.settings import BalancerSettings

_HOST = "127.0.0.1"
_BACKLOG = 1024
_HANDSHAKE = 10.0  # seconds; AWS documents none


class ListenerServer:
    """`close` lets requests under way finish."""

    def __init__(self, state: ListenerState) -> None:
        self.state = state
        self._tls: ssl.SSLContext | None = None
        self._server: asyncio.Server | None = None

    def update(
        self,
        listener: snapshot.Listener,
        *,
        load_balancer: snapshot.LoadBalancer,
        settings: BalancerSettings,
        rules: tuple[CompiledRule, ...],
    ) -> None:
        self.state.update(listener, load_balancer=load_balancer, settings=settings, rules=rules)
        if listener.certificate is not None and listener.private_key is not None:
            self._tls = self._tls or _server_tls()
            _load(self._tls, certificate=listener.certificate, private_key=listener.private_key)

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: PeerCheck(lambda: ClientConnection(self.state)),
            _HOST,
            0,
            ssl=self._tls,
            backlog=_BACKLOG,
            ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE,
        )
        port = self._server.sockets[0].getsockname()[1]
        self.state.telemetry.send(Listening(listener_arn=self.state.arn, host=_HOST, port=port))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.state.close()


def _server_tls() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    with contextlib.suppress(NotImplementedError):
        context.set_alpn_protocols(["http/1.1"])  # HTTP/2 is not modelled
    return context


def _load(context: ssl.SSLContext, *, certificate: str, private_key: str) -> None:
    """Use the certificate for new connections. Python reads certificates from files only."""
    with tempfile.TemporaryDirectory(prefix="mclass-certificate-") as folder:
        path = Path(folder) / "chain.pem"
        path.touch(mode=0o600)
        path.write_text(f"{private_key}\n{certificate}\n", encoding="ascii")
        context.load_cert_chain(path)
