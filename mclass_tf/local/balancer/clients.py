"""Connections from clients: which address each has in AWS, and silence for those that no security group admits."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
from collections import deque
from collections.abc import Callable

from mclass_tf.local.access.peers import is_trusted_peer
from mclass_tf.local.balancer.snapshot import Clients

_log = logging.getLogger(__name__)

_BACKLOG = 1024
_AT_ONCE = 64  # connections accepted before other events get their turn
_HANDSHAKE = 10.0  # seconds; AWS documents none
_SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_RETRY = 1.0  # seconds until the next attempt to accept when descriptors are short
_MAX_SILENT = 32
_SILENT_SECONDS = (
    130.0  # as long as a client's kernel repeats a SYN that gets no answer: tcp_syn_retries of tcp(7)
)


class Silence:
    """Connections that get no answer, as if their packets were dropped. The oldest makes room for the newest.

    Loopback cannot drop a SYN, so the client sees a connection, but no byte comes back.
    https://docs.aws.amazon.com/vpc/latest/userguide/vpc-security-groups.html
    """

    def __init__(self) -> None:
        self._held: deque[socket.socket] = deque()

    def hold(self, connection: socket.socket) -> None:
        if len(self._held) >= _MAX_SILENT:
            self._held.popleft().close()
        self._held.append(connection)
        asyncio.get_running_loop().call_later(_SILENT_SECONDS, self._end, connection)

    def close(self) -> None:
        while self._held:
            self._held.popleft().close()

    def _end(self, connection: socket.socket) -> None:
        with contextlib.suppress(ValueError):  # it made room for another one
            self._held.remove(connection)
        connection.close()


class Acceptor:
    """Accepts the connections of one listener.

    Those of other users of this machine are closed. Those of clients that `clients` does not admit are passed to `silence`.
    All others get the protocol that `make` returns for the client's address in AWS.
    """

    def __init__(
        self,
        host: str,
        *,
        clients: Callable[[], Clients],
        make: Callable[[str], asyncio.BaseProtocol],
        silence: Silence,
        tls: ssl.SSLContext | None,
    ) -> None:
        """Listen on a free port. Raises OSError."""
        self._clients = clients
        self._make = make
        self._silence = silence
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._connecting: set[asyncio.Task[None]] = set()
        self._socket = socket.create_server((host, 0), backlog=_BACKLOG)
        self._socket.setblocking(False)
        self.port = int(self._socket.getsockname()[1])
        self._resume()

    def close(self) -> None:
        """Accept no more connections, and end those whose handshake is under way."""
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        for task in tuple(self._connecting):
            task.cancel()

    def _resume(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.add_reader(self._socket.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, address = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _SHORTAGES:
                    raise
                _log.warning("no connection can be accepted for %g s: %s", _RETRY, error)
                self._loop.remove_reader(self._socket.fileno())
                self._loop.call_later(_RETRY, self._resume)
                return
            self._take(connection, host=address[0])

    def _take(self, connection: socket.socket, *, host: str) -> None:
        """Admit a connection before a byte of it is read: a client that is not admitted sees no certificate either."""
        connection.setblocking(False)
        if not is_trusted_peer(connection):
            connection.close()
            return
        source = self._clients().source(host)
        if source is None:
            self._silence.hold(connection)
            return
        task = self._loop.create_task(self._connect(connection, source))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connect(self, connection: socket.socket, source: str) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._make(source),
                connection,
                ssl=self._tls,
                ssl_handshake_timeout=None if self._tls is None else _HANDSHAKE,
            )
        except OSError:  # the client is gone, or its handshake failed
            connection.close()
