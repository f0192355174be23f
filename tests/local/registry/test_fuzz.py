"""The registry answers any request by its API, and an upload contains exactly the accepted bytes."""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as some

from mclass_tf.local.http.server import Reply
from mclass_tf.local.registry.api import RegistryApi
from mclass_tf.local.registry.store import BlobStore
from tests.local import in_process
from tests.local.registry_client import INDEX, MANIFEST, digest_of

BODIES = some.binary(max_size=6)
NUMBERS = some.integers(-1, 12).map(str) | some.sampled_from(["", "x", "9" * 20, "²", " 1"])
RANGES = (
    some.none()
    | some.tuples(NUMBERS, NUMBERS).map(lambda ends: f"{ends[0]}-{ends[1]}")
    | some.text(max_size=8)
)
LENGTHS = some.none() | some.integers(0, 8)


@dataclass
class Client:
    """A client of a registry without a server. A request goes to its sink, then to `answer`."""

    registry: RegistryApi
    authorization: str

    def call(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        query: str = "",
    ) -> Reply:
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_AUTHORIZATION": self.authorization,
            "HTTP_HOST": "127.0.0.1",
            "wsgi.input": io.BytesIO(),
            **(headers or {}),
        }
        sink = self.registry.sink(environ)
        if sink is None:
            environ["wsgi.input"] = io.BytesIO(body)
        else:
            with sink as target:
                target.write(body)
        reply = self.registry.answer(environ)
        assert reply is not None
        return reply


def client(folder: Path) -> Client:
    account = in_process.new_account()
    ecr = in_process.client(account, "ecr")
    ecr.create_repository(repositoryName="web")
    token = ecr.get_authorization_token()["authorizationData"][0]["authorizationToken"]
    registry = RegistryApi(store=BlobStore(folder), exclusive=in_process.aws().exclusive)
    return Client(registry, f"Basic {token}")


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """A PATCH with its announced range and length. None: no range, or a chunked body."""

    body: bytes
    content_range: str | None = None
    states_length: bool = True

    def headers(self) -> dict[str, str]:
        stated = {} if self.content_range is None else {"HTTP_CONTENT_RANGE": self.content_range}
        return {**stated, "CONTENT_LENGTH": str(len(self.body)) if self.states_length else ""}

    def is_next(self, offset: int) -> bool:
        """Whether the specification allows it."""
        if not self.content_range:  # an empty header counts as none
            return offset == 0 or (not self.body and self.states_length)
        return self.content_range == f"{offset}-{offset + len(self.body) - 1}" and bool(self.body)


@dataclass
class Model:
    """The expected content of an upload."""

    content: bytes = b""
    refused: list[int] = field(default_factory=list)


CHUNKS = some.builds(Chunk, body=BODIES, content_range=RANGES, states_length=some.booleans())
# Chunks that follow each other, as a client sends them, among others.
ORDERLY = some.lists(some.binary(min_size=1, max_size=6), max_size=4).map(
    lambda bodies: [
        Chunk(body=body, content_range=f"{start}-{start + len(body) - 1}")
        for body, start in zip(bodies, [sum(map(len, bodies[:n])) for n in range(len(bodies))], strict=True)
    ]
)


@settings(suppress_health_check=list(HealthCheck))
@given(
    some.lists(CHUNKS, max_size=6)
    | ORDERLY
    | some.tuples(ORDERLY, CHUNKS).map(lambda both: [*both[0], both[1]])
)
@example([Chunk(body=b"ab", content_range="0-1")] * 4)
@example([Chunk(body=b"ab")] * 2)
@example(
    [Chunk(body=b"abc", content_range="0-1", states_length=False), Chunk(body=b"ab", content_range="0-1")]
)
@example([Chunk(body=b"a", content_range="0-1")])
@example([Chunk(body=b"", content_range="0--1")])
@example([Chunk(body=b"ab"), Chunk(body=b"", content_range="")])
def test_an_upload_holds_the_chunks_that_were_taken_and_no_others(chunks: list[Chunk]) -> None:
    content = b""
    with tempfile.TemporaryDirectory() as folder:
        made = client(Path(folder) / "registry")
        place = dict(made.call("POST", "/v2/web/blobs/uploads/").headers)["Location"]
        for chunk in chunks:
            reply = made.call("PATCH", place, chunk.body, chunk.headers())
            assert reply.status == (202 if chunk.is_next(len(content)) else reply.status)
            assert reply.status in {202, 400, 416}
            if reply.status == 202:
                assert chunk.is_next(len(content)), chunk
                content += chunk.body
            assert (
                dict(reply.headers).get("Range", "0-0") == f"0-{max(len(content) - 1, 0)}"
                or reply.status == 400
            )
        digest = digest_of(content)
        wrong = made.call("PUT", "/v2/web/blobs/uploads/" + "0" * 36, query=f"digest={digest}")
        done = made.call("PUT", place, query=f"digest={digest}")

        assert (wrong.status, done.status) == (404, 201)
        blob = made.call("GET", f"/v2/web/blobs/{digest}")
        assert blob.file is not None
        assert blob.file.path.read_bytes() == content
        assert list((Path(folder) / "registry" / "uploads").iterdir()) == []


JSON = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats() | some.text(max_size=8),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PART = some.fixed_dictionaries(
    {},
    optional={
        "digest": some.just(digest_of(b"blob")) | JSON,
        "size": some.just(4) | JSON,
        "mediaType": some.just("application/vnd.oci.image.layer.v1.tar") | JSON,
        "platform": JSON,
        "urls": JSON,
    },
)
MANIFESTS = some.fixed_dictionaries(
    {},
    optional={
        "schemaVersion": some.just(2) | JSON,
        "mediaType": some.sampled_from([MANIFEST, INDEX]) | JSON,
        "artifactType": JSON,
        "config": PART | JSON,
        "layers": some.lists(PART, max_size=3) | JSON,
        "manifests": some.lists(PART, max_size=3) | JSON,
    },
)
WHOLE: dict[str, Any] = {
    "config": {"mediaType": "a/b", "digest": digest_of(b"blob"), "size": 4},
    "layers": [{"mediaType": "a/b", "digest": digest_of(b"blob"), "size": 4}],
}


@settings(suppress_health_check=list(HealthCheck))
@given(
    some.lists(
        some.tuples(
            MANIFESTS.map(lambda value: json.dumps(value).encode()) | some.binary(max_size=20),
            some.sampled_from([MANIFEST, INDEX, "", "a/b\r\nX: y", "한글/x"]) | some.text(max_size=8),
            some.sampled_from(["v1", "latest"]) | some.text(max_size=8),
        ),
        min_size=1,
        max_size=6,
    )
)
@example([(b"[" * 100_000 + b"]" * 100_000, MANIFEST, "v1")])
@example([(b'{"layers": [' + b'{"a":' * 300 + b"1" + b"}" * 300 + b"]}", MANIFEST, "v1")])
@example([(json.dumps({**WHOLE, "artifactType": {}}).encode(), MANIFEST, "v1")])
@example([(json.dumps({**WHOLE, "config": {**WHOLE["config"], "mediaType": 1}}).encode(), MANIFEST, "v1")])
@example([(json.dumps({**WHOLE, "layers": [{**WHOLE["config"], "size": "4"}]}).encode(), MANIFEST, "v1")])
@example([(json.dumps(WHOLE).encode(), "a/b\r\nX: y", "v1"), (json.dumps(WHOLE).encode(), MANIFEST, "v1")])
def test_any_manifest_is_accepted_or_refused_and_accepted_ones_can_be_described(
    pushes: list[tuple[bytes, str, str]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = client(Path(folder) / "registry")
        place = dict(made.call("POST", "/v2/web/blobs/uploads/").headers)["Location"]
        assert made.call("PUT", place, b"blob", query=f"digest={digest_of(b'blob')}").status == 201
        for data, media_type, tag in pushes:
            path = f"/v2/web/manifests/{tag}".encode().decode("latin-1")
            reply = made.call("PUT", path, data, {"CONTENT_TYPE": media_type})
            assert reply.status in {201, 400, 404}
            if reply.status == 201:
                got = made.call("GET", path)
                assert (got.status, got.body) == (200, data)
                assert "\n" not in dict(got.headers)["Content-Type"]


@settings(suppress_health_check=list(HealthCheck))
@given(
    some.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
    some.lists(
        some.sampled_from(
            ["web", "blobs", "uploads", "manifests", "tags", "list", "_catalog", "", "..", digest_of(b"")]
        )
        | some.text(max_size=6),
        max_size=6,
    ),
    some.dictionaries(some.sampled_from(["digest", "mount", "from", "n", "last"]), some.text(max_size=8)),
    some.text(max_size=20) | some.just("000000000000.dkr.ecr.nowhere-1.localhost"),
)
@example("GET", ["_catalog"], {"n": "9" * 5000}, "127.0.0.1")
@example("GET", ["_catalog"], {"n": "²"}, "127.0.0.1")
@example("GET", ["web", "tags", "list"], {}, "000000000000.dkr.ecr.nowhere-1.localhost")
@example("POST", ["web", "blobs", "uploads", ""], {"digest": "x"}, "127.0.0.1")
def test_any_path_is_answered(method: str, words: list[str], query: dict[str, str], host: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = client(Path(folder) / "registry")
        path = "/".join(["/v2", *words]).encode().decode("latin-1")

        reply = made.call(
            method,
            path,
            b"body",
            {"HTTP_HOST": host, "HTTP_RANGE": "bytes=99999999999999999999-"},
            query="&".join(f"{name}={value}" for name, value in query.items()),
        )

        assert reply.status < 500
