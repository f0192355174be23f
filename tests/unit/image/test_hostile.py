"""Responses of a registry and contents of a layout are untrusted: each malformed one is a clear error."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from mclass_tf.errors import BuilderError, CorruptedImageError, MclassError, RegistryError
from mclass_tf.image import Login, Registry, copy, documents
from mclass_tf.image.layout import BUILDER, REVISION, Descriptor, Images, configuration

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
DEEP = b'{"config": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class FakeRegistry:
    """Answers each request by its method and the beginning of its path below the repository."""

    answers: dict[tuple[str, str], tuple[int, Mapping[str, str], bytes]] = field(default_factory=dict)
    asked: list[tuple[str, str, bool]] = field(default_factory=list)
    port: int = 0

    def say(self, method: str, path: str, status: int, body: bytes = b"", **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[method, path] = (status, named, body)

    def answer(self, method: str, path: str) -> tuple[int, Mapping[str, str], bytes]:
        below = path.removeprefix("/v2/web/")
        known = [key for key in self.answers if key[0] == method and below.startswith(key[1])]
        return self.answers[max(known, key=lambda key: len(key[1]))] if known else (404, {}, b"")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    registry = FakeRegistry()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            registry.asked.append((self.command, self.path, "Authorization" in self.headers))
            status, headers, body = registry.answer(self.command, self.path)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                try:
                    self.wfile.write(body)
                except ConnectionError:
                    return  # the client has seen enough

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = answer  # noqa: N815

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    registry.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield registry
    server.shutdown()
    server.server_close()
    thread.join()


def client(fake: FakeRegistry) -> Registry:
    login = Login(host=f"127.0.0.1:{fake.port}", is_tls=False, user="AWS", password="secret")
    return Registry(login, "web", environment="dev", report=lambda _: None, sleep=lambda _: None)


def blob(folder: Path, data: bytes = b"layer") -> tuple[Path, Descriptor]:
    path = folder / "blob"
    path.write_bytes(data)
    return path, Descriptor(media_type=LAYER, digest=digest_of(data), size=len(data))


@pytest.mark.parametrize(
    "location",
    [
        "http://evil.example/v2/web/blobs/uploads/1",
        "//evil.example/x",
        "https://127.0.0.1/x",
        "http://[/",
        "",
    ],
)
def test_an_upload_goes_to_no_other_host(fake: FakeRegistry, tmp_path: Path, location: str) -> None:
    """Otherwise the other host would get the password."""
    fake.say("POST", "blobs/uploads/", 202, Location=location)

    with pytest.raises(RegistryError):
        client(fake).send(*blob(tmp_path))

    assert [method for method, _, _ in fake.asked] == ["POST"]


@pytest.mark.parametrize(
    ("method", "path", "call"),
    [
        ("HEAD", "manifests/", lambda registry: registry.is_tagged("v1", digest_of(b""))),
        ("GET", "manifests/", lambda registry: registry.manifest(digest_of(b""))),
        ("POST", "blobs/uploads/", None),
    ],
    ids=["digest", "type", "location"],
)
def test_an_answer_without_the_header_that_it_must_have_is_an_error(
    fake: FakeRegistry, tmp_path: Path, method: str, path: str, call: Callable[[Registry], object] | None
) -> None:
    fake.say(method, path, 202 if method == "POST" else 200, b"", Content_Type="")

    with pytest.raises(RegistryError, match="without a"):
        call(client(fake)) if call else client(fake).send(*blob(tmp_path))


def test_an_answer_is_read_to_a_bounded_length(fake: FakeRegistry) -> None:
    fake.say("GET", "manifests/", 200, b"x" * (documents.LARGEST + 1), Content_Type=MANIFEST)

    with pytest.raises(RegistryError, match="more than 4 MiB"):
        client(fake).manifest(digest_of(b""))


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"errors": [{"code": [], "message": {}}]}',
        b'{"errors": []}',
        b"[]",
        b"\xff",
        b"<html>",
        b"null",
    ],
    ids=["deep", "types", "none", "list", "bytes", "html", "null"],
)
def test_a_refusal_that_is_none_of_the_protocol_is_told_by_its_status(
    fake: FakeRegistry, body: bytes
) -> None:
    fake.say("GET", "manifests/", 418, body)

    with pytest.raises(RegistryError, match="418"):
        client(fake).manifest(digest_of(b""))


def test_a_blob_is_downloaded_to_its_length_and_no_further(fake: FakeRegistry, tmp_path: Path) -> None:
    fake.say("GET", "blobs/", 200, b"x" * 30_000_000)
    wanted = Descriptor(media_type=LAYER, digest=digest_of(b"x"), size=1)

    with pytest.raises(CorruptedImageError, match="more than its 1 bytes"):
        client(fake).download(wanted, tmp_path / "blob")

    assert (tmp_path / "blob").stat().st_size < 2_000_000


@pytest.mark.parametrize("reached", ["0-²", "0-99999", "0--5", "x", "0-"])
def test_an_upload_that_says_to_have_got_to_nowhere_is_begun_again(
    fake: FakeRegistry, tmp_path: Path, reached: str
) -> None:
    fake.say("POST", "blobs/uploads/", 202, Location="/v2/web/blobs/uploads/1")
    fake.say("PATCH", "blobs/uploads/", 503)
    fake.say(
        "GET",
        "blobs/uploads/",
        204,
        Range=reached.encode().decode("latin-1"),
        Location="/v2/web/blobs/uploads/1",
    )

    with pytest.raises(MclassError, match="does not answer"):
        client(fake).send(*blob(tmp_path))

    assert [method for method, _, _ in fake.asked].count("POST") > 1


def part(data: bytes, media_type: str = LAYER, **changes: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest_of(data), "size": len(data), **changes}


WRONG_MANIFESTS: Mapping[str, bytes] = {
    "deep": DEEP,
    "list": b"[]",
    "empty": b"{}",
    "text": b"\xff",
    "a path": json.dumps({"config": part(b"x", digest="sha256:../../../../etc/passwd")}).encode(),
    "another line": json.dumps({"config": part(b"x", digest=digest_of(b"x") + "\n")}).encode(),
    "a size": json.dumps({"config": part(b"x", size=-1)}).encode(),
    "a large size": json.dumps({"config": part(b"x", size=10**30)}).encode(),
    "a layer": json.dumps({"config": part(b"x"), "layers": [None]}).encode(),
    "a child": json.dumps({"manifests": [{"digest": 1}]}).encode(),
}


@pytest.mark.parametrize("data", WRONG_MANIFESTS.values(), ids=WRONG_MANIFESTS)
def test_an_image_whose_manifest_is_none_is_not_copied(
    fake: FakeRegistry, tmp_path: Path, data: bytes
) -> None:
    fake.say("GET", "manifests/", 200, data, Content_Type=MANIFEST)
    digest = digest_of(data)
    fake.say("HEAD", "manifests/v1", 404)
    fake.say("GET", "tags/list", 200, b"{}")

    with pytest.raises(CorruptedImageError, match="cannot be copied"):
        copy(client(fake), client(fake), digest=digest, tags=["v1"], folder=tmp_path)

    assert list(tmp_path.iterdir()) == []


def test_indexes_within_each_other_are_copied_to_a_bounded_depth(fake: FakeRegistry, tmp_path: Path) -> None:
    data = json.dumps({"manifests": [part(b"leaf", MANIFEST)]}).encode()
    for _ in range(2000):
        fake.say("GET", f"manifests/{digest_of(data)}", 200, data, Content_Type=INDEX)
        data = json.dumps({"manifests": [part(data, INDEX)]}).encode()
    fake.say("GET", f"manifests/{digest_of(data)}", 200, data, Content_Type=INDEX)
    fake.say("GET", "tags/list", 200, b"{}")

    with pytest.raises(CorruptedImageError, match="within an index"):
        copy(client(fake), client(fake), digest=digest_of(data), tags=["v1"], folder=tmp_path)


def layout(folder: Path, index: bytes, *blobs: bytes) -> Path:
    (folder / "blobs" / "sha256").mkdir(parents=True)
    (folder / "index.json").write_bytes(index)
    for data in blobs:
        (folder / "blobs" / "sha256" / digest_of(data).removeprefix("sha256:")).write_bytes(data)
    return folder


@pytest.mark.parametrize("data", WRONG_MANIFESTS.values(), ids=WRONG_MANIFESTS)
def test_what_a_builder_writes_is_an_image_or_an_error(tmp_path: Path, data: bytes) -> None:
    index = json.dumps({"manifests": [part(data, MANIFEST)]}).encode()

    with pytest.raises(BuilderError):
        configuration(layout(tmp_path / "whole", index, data))
    with pytest.raises(BuilderError):
        configuration(layout(tmp_path / "index", data))


@pytest.mark.parametrize(
    "config",
    [DEEP, b"[]", b'{"config": {"Env": "PATH"}}', b'{"config": {"Labels": [1]}}', b'{"config": 1}'],
    ids=["deep", "list", "env", "labels", "number"],
)
def test_a_configuration_is_one_or_an_error(tmp_path: Path, config: bytes) -> None:
    manifest = json.dumps({"config": part(config, CONFIG), "layers": []}).encode()
    index = json.dumps({"manifests": [part(manifest, MANIFEST)]}).encode()

    with pytest.raises(BuilderError):
        configuration(layout(tmp_path / "layout", index, manifest, config))


def test_an_index_that_names_itself_has_an_end(tmp_path: Path) -> None:
    """Its digest cannot match, but only the push verifies it."""
    entry = part(b"", INDEX)
    folder = layout(tmp_path / "layout", json.dumps({"manifests": [entry]}).encode())
    place = folder / "blobs" / "sha256" / entry["digest"].removeprefix("sha256:")
    place.write_bytes(json.dumps({"manifests": [entry]}).encode())

    with pytest.raises(BuilderError, match="without an end"):
        configuration(folder)


@pytest.mark.parametrize("data", WRONG_MANIFESTS.values(), ids=WRONG_MANIFESTS)
def test_an_image_that_was_kept_and_damaged_is_told(tmp_path: Path, data: bytes) -> None:
    images = Images(tmp_path)
    notes = {"org.opencontainers.image.ref.name": "v1", REVISION: "r", BUILDER: "builtin"}
    index = json.dumps({"manifests": [part(data, MANIFEST, annotations=notes)]}).encode()
    layout(tmp_path / digest_of(data).removeprefix("sha256:"), index, data)
    layout(tmp_path / ("0" * 64), data)

    for digest in (digest_of(data), f"sha256:{'0' * 64}"):
        with pytest.raises(CorruptedImageError, match="is damaged"):
            images.read(digest)


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=20),
    lambda inner: (
        some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=20,
)
NAMED = some.fixed_dictionaries(
    {},
    optional={
        "mediaType": some.just(MANIFEST) | JSON,
        "digest": some.just(digest_of(b"x")) | JSON,
        "size": some.integers() | JSON,
        "platform": JSON,
        "annotations": JSON,
        "urls": JSON,
    },
)
DOCUMENTS = some.fixed_dictionaries(
    {},
    optional={
        "config": NAMED | JSON,
        "layers": some.lists(NAMED) | JSON,
        "manifests": some.lists(NAMED) | JSON,
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    some.binary(max_size=200)
    | JSON.map(lambda value: json.dumps(value).encode())
    | DOCUMENTS.map(lambda value: json.dumps(value).encode())
)
@example(DEEP)
@example(b'{"config": {"mediaType": "a/b", "digest": "sha256:' + b"0" * 64 + b'", "size": 1e400}}')
def test_any_bytes_are_a_manifest_or_are_refused(data: bytes) -> None:
    for parse in (documents.manifest, documents.configuration):
        try:
            found = parse(data)
        except documents.MalformedError:
            continue
        parts = (*found.layers, *found.manifests) if isinstance(found, documents.Manifest) else ()
        assert all(entry.size >= 0 and len(entry.digest) == len(digest_of(b"")) for entry in parts)


def test_what_a_copy_that_was_killed_has_left_is_removed_a_day_later(
    fake: FakeRegistry, tmp_path: Path
) -> None:
    old, new = tmp_path / ".copy-old", tmp_path / ".copy-new"
    for path in (old, new):
        path.mkdir()
        (path / "blob").write_bytes(b"x")
    os.utime(old, (0, 0))
    fake.say("GET", "manifests/", 404)
    fake.say("GET", "tags/list", 200, b"{}")

    with pytest.raises(MclassError):
        copy(client(fake), client(fake), digest=digest_of(b""), tags=["v1"], folder=tmp_path)

    assert list(tmp_path.iterdir()) == [new]
