"""The driver is chosen by the image, or by the user."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mclass_tf.local.containers.choice import DelegatingDriver
from mclass_tf.local.containers.driver import ContainerSpec, ContainerStartError, PullError
from tests.local.images import Blobs, Entry, layer
from tests.local.tasks import Output, ended, no_task_server


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    made = Blobs(tmp_path / "blobs")
    made.folder.mkdir()
    return made


@pytest.fixture
def without_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH without podman and docker."""
    folder = tmp_path / "path"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


async def start(home: Path, blobs: Blobs, digest: str, *, kind: str | None) -> Output:
    driver = DelegatingDriver(
        home=home,
        images=blobs,
        kind=kind,
        instance_id="one",
        url="http://127.0.0.1:9",
        serve_task=no_task_server,
    )
    output = Output()
    container = ContainerSpec(
        name="web",
        task_id="t",
        manifest_digest=digest,
        environment={},
        output=output,
        command=("-c", "print(1)"),
    )
    try:
        await driver.pull(digest)
        assert await ended(await driver.start(container)) == (0, False)
    finally:
        await driver.close()
    return output


@pytest.mark.parametrize("kind", [None, "process"])
def test_an_image_of_the_built_in_builder_runs_as_a_process(
    tmp_path: Path, blobs: Blobs, kind: str | None
) -> None:
    assert asyncio.run(start(tmp_path, blobs, blobs.make(), kind=kind)).lines == ["1"]


def test_a_real_image_needs_an_engine_and_says_of_each_why_it_does_not_do(
    tmp_path: Path, blobs: Blobs, without_engines: Path
) -> None:
    program(without_engines, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    real = blobs.make(layer(Entry(name="bin/sh")), labels={})

    with pytest.raises(ContainerStartError) as raised:
        asyncio.run(start(tmp_path, blobs, real, kind=None))

    assert "podman: not installed; docker: Cannot connect to the Docker daemon" in str(raised.value)
    assert "--builder builtin" in str(raised.value)


def test_an_engine_that_is_asked_for_is_not_replaced_by_another(
    tmp_path: Path, blobs: Blobs, without_engines: Path
) -> None:
    program(without_engines, "podman", "exit 0")
    real = blobs.make(layer(Entry(name="bin/sh")), labels={})

    with pytest.raises(ContainerStartError, match="docker: not installed"):
        asyncio.run(start(tmp_path, blobs, real, kind="docker"))


def test_an_image_without_an_operating_system_is_no_container(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(ContainerStartError, match=r"build it by `build --builder podman`"):
        asyncio.run(start(tmp_path, blobs, blobs.make(), kind="podman"))


def test_a_real_image_is_no_process(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(ContainerStartError, match="install podman or docker"):
        asyncio.run(start(tmp_path, blobs, blobs.make(labels={}), kind="process"))


def test_an_image_that_is_not_there_cannot_be_pulled(tmp_path: Path, blobs: Blobs) -> None:
    with pytest.raises(PullError, match="cannot be read: No such file"):
        asyncio.run(start(tmp_path, blobs, f"sha256:{'0' * 64}", kind=None))


def test_what_an_engine_says_of_an_image_that_it_cannot_load_is_passed_on(
    tmp_path: Path, blobs: Blobs, without_engines: Path
) -> None:
    program(
        without_engines,
        "podman",
        'case "$1" in load) echo "Error: payload does not match" >&2; exit 125;; esac; exit 0',
    )
    real = blobs.make(layer(Entry(name="bin/sh")), labels={})

    with pytest.raises(PullError, match="podman cannot load the image: payload does not match"):
        asyncio.run(start(tmp_path, blobs, real, kind=None))
