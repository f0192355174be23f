"""Files in the home folder and answers on the port of the local AWS are not trusted."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mclass_tf import local
from mclass_tf.local import LocalAws, SnapshotError
from mclass_tf.local.access import key
from mclass_tf.local.aws.calls import Call, Protocol
from mclass_tf.local.aws.refusal import refuse
from mclass_tf.local.loopback import ask
from mclass_tf.local.record import read_record
from mclass_tf.local.snapshots.instance import Instance


@contextmanager
def answering(data: bytes) -> Iterator[str]:
    """A server that answers every connection with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    connection.recv(65536)
                    connection.sendall(data)
                except ConnectionError:
                    continue  # the client has seen enough

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


ANSWERS = {
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "nothing": b"",
    "deep": b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 100_000,
    "cut off": b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"problems": ',
    "headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000 + b"\r\n",
    "bytes": b"HTTP/1.1 200 OK\r\n\r\n\xff",
}


@pytest.mark.parametrize("data", ANSWERS.values(), ids=ANSWERS)
def test_another_program_on_the_port_is_no_local_aws(data: bytes) -> None:
    with answering(data) as url:
        with pytest.raises((OSError, ValueError)):
            ask(f"{url}/_mclass/health", seconds=10)
        running = LocalAws(url=url, port=1, pid=1, instance_id="x", started_at="x", key=key.make())
        assert local.problems(running) == ()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[]",
        "null",
        '{"url": "x", "port": Infinity, "pid": 1, "instance_id": "x", "started_at": "x"}',
        '{"url": "x", "port": 1e400, "pid": 1, "instance_id": "x", "started_at": "x"}',
        '{"url": "x", "port": 1, "pid": 1, "instance_id": "", "started_at": "x"}',
        '{"url": "x", "port": 1, "pid": -1, "instance_id": "x", "started_at": "x"}',
        '{"url": "x", "port": 1, "pid": 1, "instance_id": "x", "started_at": "x", "key": "x"}',
    ],
    ids=["deep", "list", "null", "infinite", "large", "no id", "no process", "no key"],
)
def test_a_record_that_is_none_is_no_local_aws(tmp_path: Path, text: str) -> None:
    (tmp_path / "server.json").write_text(text)

    assert read_record(tmp_path) is None
    assert local.status(home=tmp_path) is None


def test_a_pipe_is_no_snapshot_to_wait_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(SnapshotError, match="is no file"):
        local.up(home=tmp_path / "home", port=0, snapshot=tmp_path / "pipe")


def test_a_state_that_nobody_made_a_snapshot_of_is_removed(tmp_path: Path) -> None:
    from mclass_tf.local.registry.store import BlobStore  # noqa: PLC0415
    from tests.local import in_process  # noqa: PLC0415

    old, new = tmp_path / f"{'0' * 32}.state", tmp_path / f"{'1' * 32}.state"
    for path in (old, new):
        path.write_bytes(b"state")
    os.utime(old, (0, 0))

    Instance(aws=in_process.aws(), home=tmp_path, store=BlobStore(tmp_path / "registry")).save()

    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("protocol", Protocol)
def test_a_refusal_can_be_written_whatever_the_call_is_named(protocol: Protocol) -> None:
    call = Call(service="x", operation="\x00" * 70_000, region="x", protocol=protocol)

    reply = refuse(call, code="UnsupportedOperation", message=f"no {call.operation}")

    assert reply.status == 400
    assert len(reply.body) < 30_000
    if protocol is Protocol.JSON:
        json.loads(reply.body)
