"""Serves the local AWS to a container: only what concerns its own task.

A container cannot reach loopback, so it has its own port (`containers/gateway_listener.py`). Other containers and users of this
machine can connect to it, but have neither the tokens nor the credentials of the task.
"""

from __future__ import annotations

import socket
from typing import Any

from mclass_tf.local.access import guard
from mclass_tf.local.aws.api.dispatch import AwsApi, largest_body
from mclass_tf.local.http.server import Reply, Server
from mclass_tf.local.metadata import Metadata

_MOST_CONNECTIONS = 100  # per container: SDKs keep ten to fifty open


class TaskServers:
    """Opens servers for single tasks."""

    def __init__(self, *, aws: AwsApi, metadata: Metadata) -> None:
        self._aws = aws
        self._metadata = metadata

    def open(self, listener: socket.socket, task_id: str) -> Server:
        """Serve one task on `listener`: its metadata, its credentials, and AWS calls of its role.

        The admin endpoint and the registry are not served, nor AWS calls of anyone else, whatever key signs them.
        """

        def answer(environ: dict[str, Any]) -> Reply:
            return (
                guard.check(environ)
                or self._metadata.answer(environ, task_id=task_id)
                or self._aws.answer(environ, task_id=task_id)
            )

        server = Server(
            listener=listener,
            app=answer,
            precheck=self._aws.precheck,
            largest=largest_body,
            most=_MOST_CONNECTIONS,
        )
        server.timeout = 0  # do not wait: `handle_request` is called when a connection is there
        return server
