"""A connection to a target leaves nothing behind when it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import Any, cast

from mclass_tf.local.balancer.target.connection import TargetConnection


def test_a_connection_that_the_target_ends_cancels_its_idle_timer() -> None:
    async def run() -> None:
        target: Any = SimpleNamespace(is_gone=False, is_draining=False, idle=deque())
        exchange: Any = SimpleNamespace(
            answer_lost=lambda reason: None, client=SimpleNamespace(flush=lambda: None)
        )
        connection = TargetConnection(target, idle_timeout=4000)
        connection.connection_made(cast("Any", SimpleNamespace(is_closing=lambda: True)))
        connection._return_to_pool()
        timer = connection._timer
        assert timer is not None
        assert not timer.cancelled()
        connection.start(exchange)
        connection.connection_lost(ConnectionResetError())
        assert timer.cancelled()

    asyncio.run(run())
