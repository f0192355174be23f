"""A listener's server, on a port of this machine."""

from __future__ import annotations

import contextlib
import ssl
import tempfile
from pathlib import Path

from mclass_tf.local.balancer import snapshot
from mclass_tf.local.balancer.client.connection import ClientConnection
from mclass_tf.local.balancer.clients import Acceptor, Silence
from mclass_tf.local.balancer.listener_state import ListenerState
from mclass_tf.local.balancer.report import Listening
from mclass_tf.local.balancer.rules import CompiledRule
from mclass_tf.local.balancer.settings import BalancerSettings

_HOST = "127.0.0.1"


class ListenerServer:
    """`close` lets requests under way finish."""

    def __init__(self, state: ListenerState, *, silence: Silence) -> None:
        self.state = state
        self._silence = silence
        self._tls: ssl.SSLContext | None = None
        self._acceptor: Acceptor | None = None

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

    def open(self) -> None:
        """Listen on a free port, and report it. Raises OSError."""
        self._acceptor = Acceptor(
            _HOST,
            clients=lambda: self.state.admission,
            make=lambda source: ClientConnection(self.state, source=source),
            silence=self._silence,
            tls=self._tls,
        )
        self.state.telemetry.send(
            Listening(listener_arn=self.state.arn, host=_HOST, port=self._acceptor.port)
        )

    def close(self) -> None:
        if self._acceptor is not None:
            self._acceptor.close()
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
