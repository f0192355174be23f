"""What a container is answered: what concerns its own task, and nothing else that this machine has.

Its network reaches no loopback, so that it comes by a port of its own (`tasks/relay.py`). Who can reach that port is not asked: another
container, or another user of this machine, has neither the tokens nor the credentials of the task.
"""

from __future__ import annotations

import socket
from typing import Any

from mclass_tf.local.access import guard
from mclass_tf.local.aws.api.dispatch import AwsApi, largest_body
from mclass_tf.local.http.server import Reply, Server
from mclass_tf.local.metadata import Metadata

_MOST_CONNECTIONS = 100  # of one container: SDKs keep some ten or fifty open


class Doors:
    """Opens the local AWS to tasks."""

    def __init__(self, *, aws: AwsApi, metadata: Metadata) -> None:
        self._aws = aws
        self._metadata = metadata

    def open(self, listener: socket.socket, task_id: str) -> Server:
        """Answer one task on `listener`: its metadata, its credentials, and calls in the name of its role.

        Nothing of the admin endpoint and the registry, and no call of anybody else, whatever key it is signed with.
        """

        def answer(environ: dict[str, Any]) -> Reply:
            return (
                guard.check(environ)
                or self._metadata.answer(environ, task_id=task_id)
                or self._aws.answer(environ, task_id=task_id)
            )

        door = Server(
            listener=listener,
            app=answer,
            precheck=self._aws.precheck,
            largest=largest_body,
            most=_MOST_CONNECTIONS,
        )
        door.timeout = 0  # of waiting for a connection: it is asked when there is one
        return door
