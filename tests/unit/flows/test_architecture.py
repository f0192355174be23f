"""An image for another processor than the tasks' is refused, by name; an index is searched for the image of the platform."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from mclass_tf.errors import BuilderError, CorruptedImageError, ImageRefusedError, UsageError
from mclass_tf.flows.architecture import (
    architecture_in,
    architecture_of,
    common_architecture,
    planned_architecture,
    require_fits,
)
from mclass_tf.image import builtin
from mclass_tf.image.dockerfile import build_command
from mclass_tf.image.documents import Platform
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import Descriptor
from mclass_tf.image.platforms import platforms_of
from mclass_tf.image.registry import Manifest, Registry
from mclass_tf.image.revision import UNKNOWN
from tests.commands import ROOT
from tests.snapshots import copied_project

AMD64, ARM64 = Platform(os="linux", architecture="amd64"), Platform(os="linux", architecture="arm64")
UNKNOWN_PLATFORM = Platform(os="unknown", architecture="unknown")


class Repository:
    """A repository of documents by digest."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}

    def add(self, document: Any) -> str:
        data = json.dumps(document).encode()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self.documents[digest] = data
        return digest

    def image(self, **config: str) -> str:
        return self.add({"config": self._part(self.add(config)), "layers": []})

    def index(self, *entries: tuple[str, Platform | None]) -> str:
        return self.add({"manifests": [self._part(digest, platform) for digest, platform in entries]})

    def _part(self, digest: str, platform: Platform | None = None) -> dict[str, Any]:
        own = {"os": platform.os, "architecture": platform.architecture} if platform else None
        entry = {"mediaType": "application/json", "digest": digest, "size": len(self.documents[digest])}
        return {**entry, "platform": own} if own else entry

    def manifest(self, digest: str) -> Manifest:
        return Manifest(digest=digest, media_type="application/json", data=self.documents[digest])

    def read(self, blob: Descriptor) -> bytes:
        return self.documents[blob.digest]

    def platforms(self, digest: str) -> tuple[Platform, ...]:
        return platforms_of(cast("Registry", self), digest)


def test_an_image_has_the_platform_of_its_configuration_and_an_index_those_of_its_images() -> None:
    there = Repository()
    arm, amd = there.image(os="linux", architecture="arm64"), there.image(os="linux", architecture="amd64")
    attestation = there.image(os="unknown", architecture="unknown")

    assert there.platforms(arm) == (ARM64,)
    assert there.platforms(there.index((arm, ARM64), (amd, AMD64))) == (ARM64, AMD64)
    assert there.platforms(there.index((amd, AMD64), (attestation, UNKNOWN_PLATFORM))) == (AMD64,)
    nested = there.index((there.index((arm, None)), None), (amd, None))
    assert there.platforms(nested) == (ARM64, AMD64)


def test_an_index_that_states_another_platform_than_its_image_has_fits_nothing() -> None:
    there = Repository()
    arm, amd = there.image(os="linux", architecture="arm64"), there.image(os="linux", architecture="amd64")
    wrong = there.platforms(there.index((arm, AMD64), (amd, ARM64)))

    for architecture in ("X86_64", "ARM64"):
        with pytest.raises(ImageRefusedError, match=r"linux/amd64 \(in truth arm64\)"):
            require_fits(wrong, digest="sha256:1", architecture=architecture, environment="dev")
    unnamed = there.image(os="linux")
    assert there.platforms(there.index((unnamed, AMD64))) == (AMD64,), "the index is all that is known"


def test_an_index_without_an_end_cannot_be_read() -> None:
    there = Repository()
    index = there.image(os="linux", architecture="amd64")
    for _ in range(10):
        index = there.index((index, None))

    with pytest.raises(CorruptedImageError, match="nested too deeply"):
        there.platforms(index)


@pytest.mark.parametrize(
    ("platforms", "architecture", "told"),
    [
        ((ARM64,), "X86_64", "is built for linux/arm64; the tasks of dev run on X86_64 (linux/amd64)"),
        ((AMD64,), "ARM64", "is built for linux/amd64; the tasks of dev run on ARM64 (linux/arm64)"),
        (
            (AMD64, Platform(os="linux", architecture="arm", variant="v7")),
            "ARM64",
            "is an index of images for linux/amd64, linux/arm/v7; the tasks",
        ),
        ((Platform(os="windows", architecture="amd64"),), "X86_64", "is built for windows/amd64"),
        ((Platform(),), "X86_64", "is built for a platform that it does not name"),
        ((), "X86_64", "is built for no platform"),
    ],
)
def test_what_the_tasks_cannot_execute_is_refused_with_what_there_is(
    platforms: tuple[Platform, ...], architecture: str, told: str
) -> None:
    with pytest.raises(ImageRefusedError, match=re.escape(told)) as caught:
        require_fits(platforms, digest="sha256:1", architecture=architecture, environment="dev")

    assert f"`build --architecture {architecture}`" in caught.value.hint
    assert "nothing was changed" in caught.value.message


@pytest.mark.parametrize(
    ("platforms", "architecture"), [((AMD64,), "X86_64"), ((AMD64, ARM64), "ARM64"), ((ARM64,), "ARM64")]
)
def test_what_the_tasks_can_execute_is_accepted(platforms: tuple[Platform, ...], architecture: str) -> None:
    require_fits(platforms, digest="sha256:1", architecture=architecture, environment="dev")


def test_the_processor_is_that_of_the_planned_task_definition() -> None:
    environment: Any = SimpleNamespace(variables={"task": {"cpu_architecture": "X86_64"}})

    def planned(after: Any) -> str:
        change = {"type": "aws_ecs_task_definition", "change": {"after": after}}
        plan: Any = SimpleNamespace(document={"resource_changes": [change]})
        return planned_architecture(plan, environment)

    arm = [{"cpu_architecture": "ARM64", "operating_system_family": "LINUX"}]
    assert planned({"runtime_platform": arm}) == "ARM64"
    assert planned({"runtime_platform": []}) == "X86_64"
    assert planned(None) == "X86_64"
    assert architecture_in({"cpuArchitecture": "ARM64"}, "cpuArchitecture") == "ARM64"
    assert architecture_in(None, "cpuArchitecture") == "X86_64"


@pytest.mark.parametrize(
    ("variables", "architecture"),
    [
        ({}, "X86_64"),
        ({"task": None}, "X86_64"),
        ({"task": {"cpu": 256}}, "X86_64"),
        ({"task": {"cpu_architecture": "ARM64"}}, "ARM64"),
    ],
)
def test_the_processor_of_an_environment_is_in_its_variables(
    variables: dict[str, Any], architecture: str
) -> None:
    assert architecture_of(cast("Any", SimpleNamespace(variables=variables))) == architecture


def test_the_default_is_that_of_the_module() -> None:
    text = (ROOT / "modules" / "ecs-service" / "variables.tf").read_text(encoding="utf-8")
    assert 'cpu_architecture      = optional(string, "X86_64")' in text


def _project(folder: Path, **architectures: str) -> Any:
    """Copy this project; its environments get the processors."""
    copied_project(folder / "project")
    for name, architecture in architectures.items():
        file = folder / "project" / "environments" / name / "terraform.tfvars"
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("task = {", f'task = {{\n  cpu_architecture = "{architecture}"'))
    return SimpleNamespace(folder=folder / "project")


def test_an_image_is_built_for_the_processor_of_the_environments(tmp_path: Path) -> None:
    project = _project(tmp_path, dev="ARM64", prod="ARM64")

    architecture = common_architecture(project, env={})

    assert architecture == "ARM64"
    for builder in ("docker", "podman", "buildah"):
        inputs = Inputs(project=tmp_path, revision=UNKNOWN, tag=None, architecture=architecture)
        command = build_command(builder, inputs, id_file=tmp_path / "id")
        assert ("--platform", "linux/arm64") in itertools.pairwise(command)


def test_environments_of_different_processors_need_a_choice(tmp_path: Path) -> None:
    project = _project(tmp_path, dev="ARM64", prod="X86_64")

    with pytest.raises(UsageError, match="dev on ARM64; prod on X86_64") as caught:
        common_architecture(project, env={})

    assert "`build --architecture ARM64` or `build --architecture X86_64`" in caught.value.hint


def test_a_project_without_environments_is_built_for_this_machine(tmp_path: Path) -> None:
    assert common_architecture(cast("Any", SimpleNamespace(folder=tmp_path)), env={}) == ""


def test_the_built_in_builder_builds_for_no_other_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")

    builtin._require_machine("ARM64")
    with pytest.raises(BuilderError, match=r"for this machine \(arm64\), not for X86_64 \(amd64\)"):
        builtin._require_machine("X86_64")
