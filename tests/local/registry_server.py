"""A registry in the process of the tests, over HTTP, with one repository and somebody logged in to it."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

from mclass_tf.local.http.server import Reply, Server
from mclass_tf.local.registry.api import RegistryApi
from mclass_tf.local.registry.store import BlobStore
from tests.local import in_process
from tests.local.registry_client import digest_of


@dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str:
        return str(json.loads(self.body)["errors"][0]["code"])


@dataclass(frozen=True, kw_only=True)
class RegistryServer:
    """`authorization` opens the repository `web` of `account`."""

    port: int
    account: str
    authorization: str
    store: BlobStore

    def call(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request, below the repository where `path` is no path of its own."""
        where = path if path.startswith("/") else f"/v2/web/{path}"
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            chunked = {} if isinstance(body, bytes | None) else {"Transfer-Encoding": "chunked"}
            connection.request(
                method,
                where,
                body=body,
                headers={"Authorization": self.authorization, **chunked, **(headers or {})},
                encode_chunked=bool(chunked),
            )
            answer = connection.getresponse()
            return Answer(status=answer.status, headers=dict(answer.headers), body=answer.read())

    def start(self) -> str:
        """Start an upload; return where it is."""
        answer = self.call("POST", "blobs/uploads/")
        assert answer.status == 202, answer
        return answer.headers["Location"]

    def push_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        assert self.call("PUT", f"{self.start()}?digest={digest}", data).status == 201
        return digest

    @property
    def ecr(self) -> Any:
        return in_process.client(self.account, "ecr")


@contextmanager
def serving(store: BlobStore) -> Iterator[RegistryServer]:
    registry = RegistryApi(store=store, exclusive=in_process.aws().exclusive)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(
        listener=listener,
        app=lambda environ: registry.answer(environ) or Reply(status=404),
        sink=registry.sink,
    )
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    account = in_process.new_account()
    ecr = in_process.client(account, "ecr")
    ecr.create_repository(repositoryName="web")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    try:
        yield RegistryServer(
            port=listener.getsockname()[1], account=account, authorization=f"Basic {token}", store=store
        )
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
