"""Pushing an image to the registry of a local AWS: over a sound wire, a broken one, and to a registry that refuses."""

from __future__ import annotations

import contextlib
import json
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import image, local
from mclass_tf.aws import Access, Aws, connect
from mclass_tf.errors import (
    CorruptedImageError,
    CredentialsError,
    DiskFullError,
    LoginRefusedError,
    RepositoryMissingError,
    TagTakenError,
    UnreachableError,
)
from mclass_tf.image.connection import BrokenOffError, Connection, RegistryResponse
from mclass_tf.image.layout import Descriptor, blob_path, digest_of_file
from tests.callers import ask

ACCOUNT = "111111111111"
REGION = "ap-northeast-2"


def enter(server: local.LocalAws) -> Aws:
    base = Access(region=REGION, endpoint_url=server.url, **asdict(server.key))
    return connect(base, account_id=ACCOUNT, role_arn=f"arn:aws:iam::{ACCOUNT}:role/tests")


@pytest.fixture
def aws(server: local.LocalAws) -> Aws:
    return enter(server)


@pytest.fixture
def repository(aws: Aws, request: pytest.FixtureRequest) -> str:
    name = f"web-{abs(hash(request.node.nodeid))}"
    aws.ecr.create_repository(repositoryName=name, imageTagMutability="IMMUTABLE")
    return name


def make_image(folder: Path, *, layer: bytes = b"layer", name: str = "image") -> image.Image:
    """An image of one layer beside a configuration."""
    layout = folder / name
    (layout / "blobs" / "sha256").mkdir(parents=True)

    def add(data: bytes, media_type: str) -> Descriptor:
        draft = layout / "draft"
        draft.write_bytes(data)
        digest = digest_of_file(draft)
        draft.rename(blob_path(layout, digest))
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    config = add(
        json.dumps({"os": "linux", "name": name}).encode(), "application/vnd.oci.image.config.v1+json"
    )
    content = add(layer, "application/vnd.oci.image.layer.v1.tar")
    media_type = "application/vnd.oci.image.manifest.v1+json"
    document = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.to_json(),
        "layers": [content.to_json()],
    }
    (layout / "oci-layout").write_text("{}")
    manifest = add(json.dumps(document).encode(), media_type)
    (layout / "index.json").write_text(json.dumps({"manifests": [manifest.to_json()]}))
    return image.Images(folder / "images").keep(
        layout, tag="v1", revision=image.Revision(name="abc"), builder="podman"
    )


class Watch:
    """The reported lines, and the durations for which a push would have slept."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.slept: list[float] = []

    def registry(self, login: image.Login, repository: str) -> image.Registry:
        return image.Registry(
            login, repository, environment="dev", report=self.lines.append, sleep=self.slept.append
        )


def pushed_to(aws: Aws, repository: str) -> dict[str, list[str]]:
    details = aws.ecr.describe_images(repositoryName=repository)["imageDetails"]
    return {detail["imageDigest"]: detail.get("imageTags", []) for detail in details}


def test_an_image_is_pushed_once_and_named_by_its_digest(aws: Aws, repository: str, tmp_path: Path) -> None:
    built, watch = make_image(tmp_path), Watch()
    registry = watch.registry(image.log_in(aws), repository)

    first = registry.push(built, tag="v1")
    call_with_retries = registry.push(built, tag="v1")

    assert {built.digest: ["v1"]} == pushed_to(aws, repository)
    assert (first.digest, first.changed, first.sent) == (built.digest, True, built.size)
    assert (call_with_retries.digest, call_with_retries.changed, call_with_retries.sent) == (
        built.digest,
        False,
        0,
    )
    assert watch.lines == ["2 of 2 blobs to send, 0.0 MB of 0.0 MB"]


def test_blobs_that_are_there_are_not_sent_again(aws: Aws, repository: str, tmp_path: Path) -> None:
    one, two = make_image(tmp_path, name="one"), make_image(tmp_path, name="two")
    registry = Watch().registry(image.log_in(aws), repository)
    registry.push(one, tag="one")

    second = registry.push(two, tag="two")

    assert one.blobs[1] == two.blobs[1]
    assert second.sent == two.blobs[0].size
    third = registry.push(two, tag="two-again")
    assert (third.changed, third.sent) == (True, 0)
    assert sorted(pushed_to(aws, repository)[two.digest]) == ["two", "two-again"]


def test_a_tag_of_another_image_is_refused_before_anything_is_sent(
    aws: Aws, repository: str, tmp_path: Path
) -> None:
    one, two = make_image(tmp_path, name="one"), make_image(tmp_path, name="two", layer=b"other")
    registry = Watch().registry(image.log_in(aws), repository)
    registry.push(one, tag="v1")

    with pytest.raises(TagTakenError, match=one.digest) as told:
        registry.push(two, tag="v1")

    assert told.value.exit_code == 3
    assert "--tag" in told.value.hint
    assert {one.digest: ["v1"]} == pushed_to(aws, repository)
    layers = aws.ecr.batch_check_layer_availability(
        repositoryName=repository, layerDigests=[two.blobs[1].digest]
    )
    assert layers["failures"], "nothing was sent"


def test_a_repository_that_is_not_there_comes_with_apply(aws: Aws, tmp_path: Path) -> None:
    registry = Watch().registry(image.log_in(aws), "absent")

    with pytest.raises(RepositoryMissingError, match="no repository absent") as told:
        registry.push(make_image(tmp_path), tag="v1")

    assert "`apply dev`" in told.value.hint


def test_a_wrong_token_is_refused(aws: Aws, repository: str, tmp_path: Path) -> None:
    login = replace(image.log_in(aws), password="wrong")

    with pytest.raises(LoginRefusedError, match="refused") as told:
        Watch().registry(login, repository).push(make_image(tmp_path), tag="v1")

    assert "sign in" in told.value.hint


def test_an_expired_token_is_refused_in_the_words_of_ecr(tmp_path: Path) -> None:
    server = local.up(home=tmp_path / "home", port=0)
    try:
        aws = enter(server)
        aws.ecr.create_repository(repositoryName="web")
        ask(server, "ecr/token-lifetime", {"seconds": -1})
        with pytest.raises(LoginRefusedError, match="Your authorization token has expired"):
            Watch().registry(image.log_in(aws), "web").push(make_image(tmp_path), tag="v1")
    finally:
        local.down(home=tmp_path / "home")


def test_without_credentials_there_is_no_token(server: local.LocalAws) -> None:
    class Refusing:
        exceptions = enter(server).ecr.exceptions

        def get_authorization_token(self) -> Any:
            raise self.exceptions.ClientError(
                {"Error": {"Code": "ExpiredTokenException", "Message": "it has expired"}},
                "GetAuthorizationToken",
            )

    aws = enter(server)
    aws.__dict__["ecr"] = Refusing()

    with pytest.raises(CredentialsError, match="it has expired"):
        image.log_in(aws)


def test_a_secret_is_not_shown(aws: Aws) -> None:
    login = image.log_in(aws)

    assert login.user == "AWS"
    assert login.password not in repr(login)


def test_a_damaged_blob_is_not_sent(aws: Aws, repository: str, tmp_path: Path) -> None:
    built = make_image(tmp_path)
    built.path(built.blobs[1].digest).write_bytes(b"LAYER")

    with pytest.raises(CorruptedImageError, match="is damaged"):
        Watch().registry(image.log_in(aws), repository).push(built, tag="v1")

    assert pushed_to(aws, repository) == {}


class Wire:
    """A TCP wire to the server that may break, or change what passes, once."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.cut_after: int | None = None
        self.damage: tuple[bytes, bytes] | None = None
        self.sent = 0
        self.dead = False
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.dead:
                    client.close()
                    continue
                upstream = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._up, args=(client, upstream), daemon=True).start()
                threading.Thread(target=self._down, args=(client, upstream), daemon=True).start()

    def _up(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.damage is not None and self.damage[0] in data:
                    data = data.replace(*self.damage)
                    self.damage = None
                upstream.sendall(data)
                self.sent += len(data)
                if self.cut_after is not None and self.sent > self.cut_after:
                    self.cut_after = None
                    break
        for end in (client, upstream):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _down(self, client: socket.socket, upstream: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := upstream.recv(65536):
                client.sendall(data)
        client.close()
        upstream.close()


@pytest.fixture
def wire(server: local.LocalAws) -> Iterator[Wire]:
    wire = Wire(server.port)
    yield wire
    wire.close()


def over(wire: Wire, aws: Aws) -> image.Login:
    return replace(image.log_in(aws), host=wire.host)


class Mishap(Connection):
    """Before the first request to `at`, `before` happens; afterwards its answer is lost, or its status is `answer`."""

    at = ("", "")
    before: Callable[[], object] | None = None
    answer: int | None = None
    sends = True
    happened = False

    def call(self, method: str, path: str, **rest: Any) -> RegistryResponse:
        if self.happened or method != self.at[0] or self.at[1] not in path:
            return super().call(method, path, **rest)
        self.happened = True
        if self.before is not None:
            self.before()
        unsent = RegistryResponse(status_code=0, reason="", headers={}, content=b"")
        answer = super().call(method, path, **rest) if self.sends else unsent
        if self.answer is None:
            raise BrokenOffError("the answer was lost")
        return replace(answer, status_code=self.answer)


def mishap(aws: Aws, repository: str, *, at: tuple[str, str]) -> tuple[image.Registry, Mishap]:
    """Return a registry and the mishap that its connection meets."""
    login = image.log_in(aws)
    registry = image.Registry(login, repository, environment="dev", report=lambda _: None)
    connection = Mishap(login, repository, environment="dev", sleep=lambda _: None)
    connection.at = at
    registry._connection = connection
    return registry, connection


@pytest.mark.parametrize("answer", [None, 503])
def test_a_tag_whose_answer_was_lost_is_there(
    aws: Aws, repository: str, tmp_path: Path, answer: int | None
) -> None:
    built = make_image(tmp_path)
    registry, met = mishap(aws, repository, at=("PUT", "manifests/"))
    met.answer = answer

    done = registry.push(built, tag="v1")

    assert met.happened
    assert done.changed
    assert {built.digest: ["v1"]} == pushed_to(aws, repository)


@pytest.mark.parametrize("other", [False, True])
def test_of_two_pushes_at_once_the_later_fails_only_with_another_image(
    aws: Aws, repository: str, tmp_path: Path, *, other: bool
) -> None:
    built, rival = make_image(tmp_path), make_image(tmp_path, name="rival")
    registry, met = mishap(aws, repository, at=("PUT", "manifests/"))
    first = rival if other else built

    faster = Watch().registry(image.log_in(aws), repository)
    met.before = lambda: faster.push(first, tag="v1")
    met.answer = 400  # as it is

    with pytest.raises(TagTakenError) if other else contextlib.nullcontext():
        registry.push(built, tag="v1")

    assert {first.digest: ["v1"]} == pushed_to(aws, repository)


@pytest.mark.parametrize("answer", [None, 503])
def test_a_blob_whose_last_answer_was_lost_is_there(
    aws: Aws, repository: str, tmp_path: Path, answer: int | None
) -> None:
    built = make_image(tmp_path)
    registry, met = mishap(aws, repository, at=("PUT", "blobs/uploads/"))
    met.answer = answer

    registry.push(built, tag="v1")

    assert met.happened
    assert {built.digest: ["v1"]} == pushed_to(aws, repository)


@pytest.mark.parametrize("busy", [429, 503])
def test_a_registry_that_is_busy_is_sent_the_bytes_again(
    aws: Aws, repository: str, tmp_path: Path, busy: int
) -> None:
    built = make_image(tmp_path)
    registry, met = mishap(aws, repository, at=("PATCH", "blobs/uploads/"))
    met.answer, met.sends = busy, False

    registry.push(built, tag="v1")

    assert met.happened
    assert {built.digest: ["v1"]} == pushed_to(aws, repository)


LARGE = bytes(range(256)) * 4096 * 64  # 64 MB


def test_an_interrupted_push_resumes_after_the_last_byte_that_arrived(
    aws: Aws, repository: str, wire: Wire, tmp_path: Path
) -> None:
    built, watch = make_image(tmp_path, layer=LARGE), Watch()
    wire.cut_after = len(LARGE) // 2

    done = watch.registry(over(wire, aws), repository).push(built, tag="v1")

    assert done.changed
    assert {built.digest: ["v1"]} == pushed_to(aws, repository)
    assert watch.slept == [1.0]
    assert any(line.startswith("the connection broke; going on from ") for line in watch.lines)
    assert wire.sent < len(LARGE) * 1.3, "what had arrived was not sent again"
    assert any(line.startswith("sent ") for line in watch.lines), "a long push says how far it is"


def test_a_push_that_is_given_up_publishes_nothing_and_is_resumed_by_the_next(
    aws: Aws, repository: str, wire: Wire, tmp_path: Path
) -> None:
    one = make_image(tmp_path, layer=LARGE, name="one")

    class Dies(Watch):
        """The wire is dead once the configuration has been sent."""

        def __init__(self) -> None:
            super().__init__()
            wire.cut_after = len(LARGE) // 2

        def registry(self, login: image.Login, repository: str) -> image.Registry:
            def sleep(seconds: float) -> None:
                self.slept.append(seconds)
                wire.dead = True

            return image.Registry(login, repository, environment="dev", report=self.lines.append, sleep=sleep)

    with pytest.raises(UnreachableError, match="does not answer") as told:
        Dies().registry(over(wire, aws), repository).push(one, tag="v1")
    assert "push again" in told.value.hint
    assert pushed_to(aws, repository) == {}

    done = Watch().registry(image.log_in(aws), repository).push(one, tag="v1")

    assert done.sent == one.blobs[1].size, "the configuration was there"
    assert {one.digest: ["v1"]} == pushed_to(aws, repository)


def test_a_layer_that_is_damaged_on_its_way_is_refused_by_the_registry(
    aws: Aws, repository: str, wire: Wire, tmp_path: Path
) -> None:
    built = make_image(tmp_path, layer=b"the layer as it is")
    wire.damage = (b"the layer as it is", b"the layer as it ix")

    with pytest.raises(CorruptedImageError, match="does not match") as told:
        Watch().registry(over(wire, aws), repository).push(built, tag="v1")

    assert "push again" in told.value.hint
    assert pushed_to(aws, repository) == {}
    Watch().registry(over(wire, aws), repository).push(built, tag="v1")
    assert {built.digest: ["v1"]} == pushed_to(aws, repository)


def test_a_registry_whose_disk_is_full_says_so_and_keeps_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    server = local.up(home=home, port=0)
    try:
        aws = enter(server)
        aws.ecr.create_repository(repositoryName="web")
        registry = Watch().registry(image.log_in(aws), "web")
        built = make_image(tmp_path, layer=b"x" * 3_000_000)
        # The system ends a write at this size as it does where a disk is full.
        unlimited = resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (2_000_000, -1))
        with pytest.raises(DiskFullError, match="no space left on its disk") as told:
            registry.push(built, tag="v1")
        assert told.value.exit_code == 3
        assert aws.ecr.list_images(repositoryName="web")["imageIds"] == []
        assert list((home / "registry" / "uploads").iterdir()) == []
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, unlimited)
        assert registry.push(built, tag="v1").changed
    finally:
        local.down(home=home)
