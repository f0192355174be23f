"""Damage of stored images is reported, and a new build repairs it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mclass_tf.errors import CorruptedImageError
from mclass_tf.image import Image, Images, Revision
from mclass_tf.image.builtin import BuiltinBuilder
from mclass_tf.image.layout import Descriptor
from mclass_tf.system.process import Command, Completed

REVISION = Revision(name="a" * 40)


class Project:
    """An app without dependencies; no command installs or compiles it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = Images(folder / "images")
        self.made: list[str] = []
        (folder / "app").mkdir()
        (folder / "app" / "requirements.txt").write_text("")
        self.change("print('one')")

    def change(self, source: str) -> None:
        (self.folder / "app" / "__main__.py").write_text(source)

    def build(self, *, tag: str = "v1") -> Image:
        def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
            return Completed(status=0, stdout="", stderr="", interrupted=False)

        maker = BuiltinBuilder(
            project=self.folder, images=self.images, env={}, run=run, report=self.made.append
        )
        with self.images.draft() as draft:
            layout = draft / "layout"
            layout.mkdir()
            maker.write(layout, revision=REVISION.name, variables={})
            return self.images.keep(layout, tag=tag, revision=REVISION, builder="builtin")


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def check(image: Image) -> None:
    for blob in (image.manifest, *image.blobs):
        image.verify(blob)


def app_layer(image: Image) -> Descriptor:
    return image.blobs[-1]


def damage_manifest(image: Image) -> None:
    image.path(image.digest).write_bytes(b"{")


def lose_manifest(image: Image) -> None:
    image.path(image.digest).unlink()


def damage_index(image: Image) -> None:
    (image.folder / "index.json").write_bytes(b"")


def flip(image: Image) -> None:
    with image.path(app_layer(image).digest).open("r+b") as file:
        file.write(b"?")


def truncate(image: Image) -> None:
    os.truncate(image.path(app_layer(image).digest), 1)


def lose_layer(image: Image) -> None:
    image.path(app_layer(image).digest).unlink()


def lose_most(image: Image) -> None:
    """As after a kill during its removal."""
    shutil.rmtree(image.folder / "blobs")


@pytest.mark.parametrize(
    "harm", [damage_manifest, lose_manifest, damage_index, flip, truncate, lose_layer, lose_most]
)
def test_an_image_that_was_damaged_is_told_and_is_whole_when_it_is_built_again(
    project: Project, harm: Callable[[Image], None]
) -> None:
    first = project.build()
    harm(first)

    with pytest.raises(CorruptedImageError, match="is damaged") as told:
        check(project.images.read(first.digest))
    again = project.build(tag="v2")

    assert "`build`" in told.value.hint
    assert again.digest == first.digest
    check(again)
    assert project.images.latest() == again
    assert again.tag == "v2"
    assert {path.name for path in project.images.folder.iterdir()} == {"cache", "latest", again.folder.name}


def test_a_damaged_layer_of_the_cache_is_made_again_and_a_sound_one_is_not(project: Project) -> None:
    flip(project.build())
    project.made.clear()

    project.build()
    project.build()

    assert project.made == ["making the layer of the app"]


@pytest.mark.parametrize("lost", ["digest", "layer.tar"])
def test_a_layer_of_the_cache_of_which_a_part_is_gone_is_made_again(project: Project, lost: str) -> None:
    project.build()
    for layer in (project.images.folder / "cache").iterdir():
        (layer / lost).unlink()

    check(project.build())


def test_of_two_builds_of_one_image_at_once_one_is_kept(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.build()
    rival, rename = project.folder / "rival", Path.rename
    shutil.copytree(first.folder, rival)

    def be_late(path: Path, target: Path) -> Path:
        if target == first.folder and path != rival:
            rename(rival, target)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", be_late)
    again = project.build()

    assert not rival.exists()
    check(again)
    assert project.images.read(first.digest) == again


def test_an_old_image_that_is_being_removed_when_the_build_is_killed_is_none(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project.build()
    remove = shutil.rmtree

    def be_killed(path: Path, *, ignore_errors: bool = False) -> None:
        if any(path.rglob("oci-layout")):
            raise KeyboardInterrupt
        remove(path, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", be_killed)
    for number in range(4):
        project.change(f"print({number})")
        project.build()
    project.change("print('last')")
    with pytest.raises(KeyboardInterrupt):
        project.build()

    assert not first.folder.exists()
