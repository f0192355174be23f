"""The registry refuses a request for an upload that another request holds."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf.local.http.server import Reply, Server
from mclass_tf.local.registry import store as stores
from mclass_tf.local.registry.api import RegistryApi
from mclass_tf.local.registry.store import BlobStore
from tests.local import in_process
from tests.local.in_process import REGION
from tests.local.registry_client import digest_of


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BlobStore:
    monkeypatch.setattr(stores, "_LOCK_TIMEOUT", 0.01)
    return BlobStore(tmp_path)


@pytest.fixture
def connection(store: BlobStore) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of the registry alone."""
    registry = RegistryApi(store=store, exclusive=in_process.aws().exclusive)
    listener = socket.create_server(("127.0.0.1", 0))
    server = Server(
        listener=listener,
        app=lambda environ: registry.answer(environ) or Reply(status=404),
        sink=registry.sink,
    )
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    connection = http.client.HTTPConnection("127.0.0.1", listener.getsockname()[1], timeout=30)
    yield connection
    connection.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
def test_a_second_writer_to_an_upload_is_refused_and_keeps_its_connection(
    store: BlobStore, connection: http.client.HTTPConnection, method: str
) -> None:
    account = in_process.new_account()
    ecr = in_process.client(account, "ecr")
    ecr.create_repository(repositoryName="web")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    upload = store.start(owner=f"{account}/{account}/{REGION}/web")
    place = f"/v2/web/blobs/uploads/{upload.id}?digest={digest_of(b'bytes')}"

    def send(method: str, path: str, body: bytes) -> tuple[int, bytes]:
        connection.request(method, path, body=body, headers={"Authorization": f"Basic {token}"})
        answer = connection.getresponse()
        return answer.status, answer.read()

    with upload.exclusive():
        status, body = send(method, place, b"others")

    assert (status, json.loads(body)["errors"][0]["code"]) == (409, "BLOB_UPLOAD_INVALID")
    assert send("PUT", place, b"bytes") == (201, b""), "nothing of the refused request is in it"
