"""The door of one container into this machine: a port of its own, on the address that its network reaches, open while it runs.

The local AWS listens on loopback, which a container has not. What comes through a door is answered for that container's task alone
(`door.py`): it is no way to other ports, nor to what the user of this machine may.
"""

from __future__ import annotations

import asyncio
import socket

from mclass_tf.local.containers.driver import Door, OpenDoor


class Relay:
    """Listens until it is closed. Make and close it in the loop."""

    def __init__(self, gateway: str, *, task_id: str, open_door: OpenDoor) -> None:
        """`gateway` is this machine's address on the network of containers; raise OSError."""
        self.gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._listener = _listening(gateway)
        self._door: Door = open_door(self._listener, task_id)
        self._loop.add_reader(self._listener.fileno(), self._door.handle_request)

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def close(self) -> None:
        """End it, with the connections that came through it."""
        if self._listener.fileno() >= 0:
            self._loop.remove_reader(self._listener.fileno())
            self._door.server_close()


def _listening(gateway: str) -> socket.socket:
    listener = socket.socket()
    try:
        # The network of containers is there only while one of them runs.
        listener.setsockopt(socket.IPPROTO_IP, getattr(socket, "IP_FREEBIND", 15), 1)
        listener.bind((gateway, 0))
        listener.listen()
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
