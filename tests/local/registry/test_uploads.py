"""Uploads to the registry: bytes are never duplicated or lost, and abandoned uploads are discarded."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mclass_tf.local.registry import store as stores
from mclass_tf.local.registry.store import IDLE_SECONDS, MOST_OPEN, BlobStore, Chunk, GoneError
from tests.local.registry_client import digest_of
from tests.local.registry_server import RegistryServer, serving


class Clock:
    """A clock that a test advances."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> BlobStore:
    return BlobStore(tmp_path / "registry", clock=clock)


@pytest.fixture
def registry(store: BlobStore) -> Iterator[RegistryServer]:
    with serving(store) as server:
        yield server


def files(store: BlobStore) -> list[Path]:
    return list((store.blobs.parents[1] / "uploads").iterdir())


def patch(registry: RegistryServer, place: str, body: bytes) -> socket.socket:
    """Send a PATCH from byte 0 without the last byte of its body."""
    connection = socket.create_connection(("127.0.0.1", registry.port), timeout=60)
    head = (
        f"PATCH {place} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {registry.authorization}\r\n"
        f"Content-Range: 0-{len(body) - 1}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    connection.sendall(head.encode() + body[:-1])
    return connection


def status_of(connection: socket.socket) -> int:
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    connection.close()
    return answer.status


def test_of_four_simultaneous_chunks_from_byte_0_one_is_accepted_and_the_others_get_the_offset(
    registry: RegistryServer,
) -> None:
    place, body = registry.start(), b"0123456789"

    connections = [patch(registry, place, body) for _ in range(4)]
    for connection in connections:
        connection.sendall(body[-1:])
    statuses = sorted(status_of(connection) for connection in connections)

    assert statuses == [202, 416, 416, 416]
    status = registry.call("GET", place)
    assert (status.status, status.headers["Range"]) == (204, "0-9")
    assert registry.call("PUT", f"{place}?digest={digest_of(body)}").status == 201


def test_a_second_body_without_a_range_is_not_appended(registry: RegistryServer) -> None:
    """The client sends the whole blob again, because it believes that its first attempt failed."""
    place = registry.start()
    assert registry.call("PATCH", place, b"whole").status == 202

    again = registry.call("PATCH", place, b"whole")

    assert (again.status, again.code, again.headers["Range"]) == (416, "BLOB_UPLOAD_INVALID", "0-4")
    assert registry.call("PATCH", place, b"").status == 202, "a body of nothing is at its place anywhere"
    assert registry.call("PUT", f"{place}?digest={digest_of(b'whole')}").status == 201


@pytest.mark.parametrize("stated", ["5-4", "-1-3", "x", "1-4", "99999999999999999999-1", "0-²"])
def test_a_chunk_at_another_offset_is_out_of_range(registry: RegistryServer, stated: str) -> None:
    place = registry.start()

    answer = registry.call(
        "PATCH", place, b"four", {"Content-Range": stated.encode("latin-1").decode("latin-1")}
    )

    assert (answer.status, answer.code) == (416, "BLOB_UPLOAD_INVALID")
    assert answer.headers["Location"] == place


@pytest.mark.parametrize("whole", [b"short", b"longer than it says"])
@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_chunk_with_another_size_than_its_range_is_refused_and_discarded(
    registry: RegistryServer, whole: bytes, *, is_chunked: bool
) -> None:
    place = registry.start()
    body = iter([whole]) if is_chunked else whole

    answer = registry.call("PATCH", place, body, {"Content-Range": "0-9"})

    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert registry.call("PATCH", place, b"0123456789", {"Content-Range": "0-9"}).status == 202
    assert registry.call("PUT", f"{place}?digest={digest_of(b'0123456789')}").status == 201


def test_a_blob_above_ecrs_size_limit_is_refused_and_discarded(
    registry: RegistryServer, store: BlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "LARGEST_BLOB", 8)
    place = registry.start()

    answer = registry.call("PATCH", place, b"123456789")

    assert (answer.status, answer.code) == (400, "SIZE_INVALID")
    assert [path.stat().st_size for path in files(store)] == [0]


def test_an_idle_upload_is_discarded(store: BlobStore, clock: Clock) -> None:
    abandoned, active = store.start(owner="web"), store.start(owner="web")
    with abandoned.appending(Chunk()) as file:
        file.write(b"bytes")

    clock.now = IDLE_SECONDS - 1
    with active.appending(Chunk()) as file:
        file.write(b"more")
    store.collect()
    assert len(files(store)) == 2
    clock.now = IDLE_SECONDS + 1
    store.collect()

    assert files(store) == [active.path]
    assert store.upload(abandoned.id, owner="web") is None


def test_an_upload_is_not_discarded_while_a_request_writes_to_it(store: BlobStore, clock: Clock) -> None:
    upload = store.start(owner="web")
    with upload.appending(Chunk()) as file:
        clock.now = IDLE_SECONDS + 1
        store.collect()
        file.write(b"bytes")

    assert store.commit(upload, digest=digest_of(b"bytes")) == 5


def test_open_uploads_are_bounded_per_repository_and_those_of_others_are_kept(
    store: BlobStore, clock: Clock
) -> None:
    other = store.start(owner="other")
    first = store.start(owner="web")
    for second in range(MOST_OPEN + 10):
        clock.now = float(second)
        last = store.start(owner="web")

    assert len(files(store)) == MOST_OPEN + 1
    assert store.upload(first.id, owner="web") is None
    assert store.upload(last.id, owner="web") is last
    assert store.upload(other.id, owner="other") is other


def test_a_request_that_waited_for_a_discarded_upload_is_refused(
    registry: RegistryServer, store: BlobStore
) -> None:
    place = registry.start()
    upload = store.upload(place.rpartition("/")[2], owner=next(iter(store._uploads.values())).owner)
    assert upload is not None
    statuses: list[int] = []
    with upload.exclusive():
        waiting = threading.Thread(
            target=lambda: statuses.append(registry.call("PATCH", place, b"late").status)
        )
        waiting.start()
        store.discard(upload)
    waiting.join()

    assert statuses == [404]
    with pytest.raises(GoneError), upload.exclusive():
        pass


def test_a_blob_uploaded_in_a_single_post_is_not_held_in_memory(
    registry: RegistryServer, store: BlobStore
) -> None:
    body = b"x" * 100_000

    answer = registry.call(
        "POST", f"blobs/uploads/?digest={digest_of(body)}", iter([body[:50_000], body[50_000:]])
    )

    assert answer.status == 201
    assert store.blob(digest_of(body)).read_bytes() == body
    wrong = registry.call("POST", f"blobs/uploads/?digest={digest_of(b'other')}", body)
    assert (wrong.status, wrong.code) == (400, "DIGEST_INVALID")
    assert files(store) == []
