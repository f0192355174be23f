"""Accepts clients of this user at a listener and disconnects those of other users of the machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from mclass_tf.local.access.peers import is_trusted_peer


class PeerCheck(asyncio.Protocol):
    """Holds a connection until its owner is known, then hands it to the protocol that `make` returns."""

    def __init__(self, make: Callable[[], asyncio.BaseProtocol]) -> None:
        self._make = make

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connection = cast("asyncio.Transport", transport)
        if not is_trusted_peer(connection.get_extra_info("socket")):
            connection.abort()
            return
        protocol = self._make()
        connection.set_protocol(protocol)
        protocol.connection_made(connection)
