"""Gives a container access to the local AWS: a port on the gateway address of its network, open while it runs.

The local AWS listens on loopback, which a container cannot reach. Requests to this port are answered only for the container's own
task (`task_server.py`). It gives no access to other ports, or with the rights of this machine's user.
"""

from __future__ import annotations

import asyncio
import socket

from mclass_tf.local.containers.driver import ServeTask, TaskServer


class GatewayListener:
    """Listens until it is closed. Create and close it in the event loop."""

    def __init__(self, gateway: str, *, task_id: str, serve_task: ServeTask) -> None:
        """`gateway` is this machine's address on the container network. Raises OSError."""
        self.gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._listener = _listening(gateway)
        self._task_server: TaskServer = serve_task(self._listener, task_id)
        self._loop.add_reader(self._listener.fileno(), self._task_server.handle_request)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """Close the port and the connections accepted from it."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._task_server.server_close()


def _listening(gateway: str) -> socket.socket:
    listener = socket.socket()
    try:
        # The container network exists only while a container runs.
        listener.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        listener.bind((gateway, 0))
        listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
