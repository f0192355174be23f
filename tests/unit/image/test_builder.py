"""The choice of a builder, its command lines, and the errors if it fails."""

from __future__ import annotations

import errno
import itertools
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import pytest

from mclass_tf.errors import (
    BaseImageError,
    BuilderError,
    CorruptedImageError,
    DiskFullError,
    NoImageError,
    RevisionError,
    UnfitBuilderError,
)
from mclass_tf.image import Image, Images, Inputs, Revision, build, builder, dockerfile, read_revision
from mclass_tf.system import process
from mclass_tf.system.process import Command, Completed

REVISION = Revision(name="a" * 40)


class Machine:
    """A machine with some builders, given by the exit status and output of their probes. `docker_is` is the output of docker --version."""

    def __init__(self, docker_is: str = "Docker version 28.2.2", **builders: tuple[int, str]) -> None:
        self.builders = builders
        self.docker_is = docker_is
        self.asked: list[str] = []

    def run(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        name = command.argv[0]
        self.asked.append(name)
        if name not in self.builders:
            raise FileNotFoundError(name)
        status, words = self.builders[name]
        version = self.docker_is if command.argv[1:] == ("--version",) else ""
        return Completed(status=status, stdout=version, stderr=words, interrupted=False)

    def choose(self, wanted: str | None = None, *, local: bool = False) -> str:
        return builder.choose(wanted, may_use_builtin=local, cwd=Path(), env={}, run=self.run)


def test_the_first_builder_that_works_builds() -> None:
    assert Machine(docker=(0, ""), podman=(0, "")).choose() == "docker"
    assert Machine(docker=(1, "no daemon"), podman=(0, "")).choose() == "podman"
    assert Machine(buildah=(0, "")).choose() == "buildah"
    assert Machine(buildah=(0, "")).choose(local=True) == "buildah"
    assert Machine().choose(local=True) == "builtin"


def test_a_builder_that_is_named_is_the_only_one_asked() -> None:
    machine = Machine(docker=(0, ""), podman=(0, ""))

    assert machine.choose("podman") == "podman"
    assert machine.choose("builtin") == "builtin"
    assert machine.asked == ["podman"]


def test_without_a_builder_each_is_named_with_its_reason() -> None:
    with pytest.raises(BuilderError) as told:
        Machine(docker=(1, "Cannot connect to the Docker daemon")).choose()

    assert "docker: its daemon does not answer: Cannot connect to the Docker daemon" in told.value.message
    assert "podman: not installed; buildah: not installed" in told.value.message
    assert "--local needs neither" in told.value.hint
    assert told.value.exit_code == 3


def test_a_named_builder_that_does_not_work_is_not_replaced() -> None:
    machine = Machine(docker=(1, "Is the docker daemon running?"), podman=(0, ""))

    with pytest.raises(BuilderError, match="docker cannot build: its daemon does not answer"):
        machine.choose("docker", local=True)


def test_podman_by_dockers_name_is_not_taken_for_docker() -> None:
    machine = Machine(docker_is="podman version 4.3.1\n", docker=(0, ""), podman=(0, ""))

    assert machine.choose() == "podman"
    with pytest.raises(BuilderError, match="docker cannot build: it is podman by another name"):
        machine.choose("docker")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (1, "docker: command not found"),  # the local AWS's own
        (127, "/usr/bin/docker: 4: exec: /usr/bin/podman: not found"),
    ],
)
def test_a_docker_that_only_starts_what_is_not_there_is_not_installed(status: int, words: str) -> None:
    with pytest.raises(BuilderError, match="docker cannot build: not installed"):
        Machine(docker_is="", docker=(status, words)).choose("docker")


def test_the_dockerfile_is_told_revision_and_time() -> None:
    inputs = Inputs(
        project=Path(), revision=REVISION, tag="v1", arguments=("BASE=x",), contexts=("wheels=w",)
    )

    docker = dockerfile.build_command("docker", inputs, id_file=Path("id"))
    podman = dockerfile.build_command("podman", inputs, id_file=Path("id"))

    assert docker[:2] == ("docker", "build")
    assert docker[-1] == "."
    for argument in (f"REVISION={REVISION.name}", "SOURCE_DATE_EPOCH=0", "BASE=x"):
        assert ("--build-arg", argument) in itertools.pairwise(docker)
    assert ("--build-context", "wheels=w") in itertools.pairwise(podman)
    assert ("--timestamp", "0") in itertools.pairwise(podman)
    assert "--timestamp" not in docker, "docker takes SOURCE_DATE_EPOCH"


def _container_build(
    project: Path, run: process.Runner, *, builder: str = "podman", architecture: str = ""
) -> Image:
    (project / "Dockerfile").write_text("FROM scratch\n")
    return build(
        Inputs(project=project, revision=REVISION, tag="v1", architecture=architecture),
        images=Images(project / "images"),
        builder=builder,
        may_use_builtin=False,
        env={},
        run=run,
        report=lambda _line: None,
    )


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ('Error: building at STEP "COPY x /y": copier: stat: "/x": no such file or directory', BuilderError),
        ("Error: creating build container: open /etc/containers/policy.json: not there", UnfitBuilderError),
        ("write /var: no space left on device", DiskFullError),
    ],
)
def test_a_build_that_fails_says_why_and_keeps_nothing(
    tmp_path: Path, words: str, error: type[Exception]
) -> None:
    def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        failed = command.argv[1] == "build"
        return Completed(status=int(failed), stdout="", stderr=words if failed else "", interrupted=False)

    with pytest.raises(error, match=words.rpartition(": ")[2]) as caught:
        _container_build(tmp_path, run)
    assert type(caught.value) is error

    assert list((tmp_path / "images").iterdir()) == []


class _Cached:
    """A builder whose cache contains an image of the revision `cached`, for amd64. Without it, it builds for `architecture`."""

    def __init__(self, folder: Path, *, cached: str, architecture: str = "amd64") -> None:
        self.folder = folder
        self.cached = cached
        self.architecture = architecture
        self.built_for = ""
        self.built = ""
        self.commands: list[tuple[str, ...]] = []

    def run(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        argv = command.argv
        if argv[1] == "build":
            self.commands.append(argv)
            Path(argv[argv.index("--iidfile") + 1]).write_text("sha256:1")
            self.built = REVISION.name if "--no-cache" in argv else self.cached
            self.built_for = self.architecture if "--no-cache" in argv else "amd64"
        elif argv[1] == "save":
            output = Path(argv[argv.index("--output") + 1])
            layout = output if argv[0] == "podman" else self.folder / "saved"
            write_layout(layout, revision=self.built, architecture=self.built_for)
            if argv[0] == "docker":
                with tarfile.open(output, "w") as archive:
                    archive.add(layout, arcname=".")
        return Completed(status=0, stdout="", stderr="", interrupted=False)


def write_layout(folder: Path, *, revision: str, architecture: str = "amd64") -> None:
    """An image without layers, with the revision in its environment."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True, exist_ok=True)

    def add(document: dict[str, object]) -> dict[str, object]:
        data = json.dumps(document).encode()
        name = sha256(data).hexdigest()
        (blobs / name).write_bytes(data)
        return {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": f"sha256:{name}",
            "size": len(data),
        }

    runtime = {"Env": ["A=b", f"MCLASS_REVISION={revision}"]}
    config = add({"config": runtime, "os": "linux", "architecture": architecture})
    manifest = add({"config": config, "layers": []})
    (folder / "index.json").write_text(json.dumps({"manifests": [manifest]}))
    (folder / "oci-layout").write_text("{}")


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_image_of_another_revision_out_of_the_cache_is_built_anew(tmp_path: Path, name: str) -> None:
    stale, fresh = _Cached(tmp_path, cached="older"), _Cached(tmp_path, cached=REVISION.name)

    for cache in (stale, fresh):
        made = _container_build(tmp_path, cache.run, builder=name)
        (config,) = made.blobs
        assert REVISION.name in made.path(config.digest).read_text()

    assert ["--no-cache" in argv for argv in stale.commands] == [False, True]
    assert ["--no-cache" in argv for argv in fresh.commands] == [False]


@pytest.mark.parametrize("name", ["podman", "docker"])
def test_an_image_of_another_platform_from_the_cache_is_built_again(tmp_path: Path, name: str) -> None:
    """Podman's cache does not compare the platform."""
    stale = _Cached(tmp_path, cached=REVISION.name, architecture="arm64")

    made = _container_build(tmp_path, stale.run, builder=name, architecture="ARM64")

    assert str(made.platform) == "linux/arm64"
    assert ["--no-cache" in argv for argv in stale.commands] == [False, True]
    assert all("linux/arm64" in argv for argv in stale.commands)


def test_a_builder_that_builds_for_another_platform_all_the_same_is_refused(tmp_path: Path) -> None:
    stubborn = _Cached(tmp_path, cached=REVISION.name, architecture="amd64")

    with pytest.raises(BuilderError, match="podman built for linux/amd64, not for linux/arm64"):
        _container_build(tmp_path, stubborn.run, architecture="ARM64")


def test_a_full_disk_is_told_with_its_folder(tmp_path: Path) -> None:
    def run(command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        if command.argv[1] == "build":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "images" / "blob"))
        return Completed(status=0, stdout="", stderr="", interrupted=False)

    with pytest.raises(DiskFullError, match=r"no space left for .*blob: .*MiB are free"):
        _container_build(tmp_path, run)

    assert list((tmp_path / "images").iterdir()) == []


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


UNREACHABLE = "Error: initializing source docker://python: pinging container registry: no such host"


class _Offline:
    """podman works, but cannot reach its registry. Commands of the built-in builder run for real."""

    def run(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        if command.argv[0] in {"docker", "buildah"}:
            raise FileNotFoundError(command.argv[0])
        if command.argv[0] != "podman":
            return process.run(command, on_stdout=on_stdout)
        builds = command.argv[1] == "build"
        return Completed(
            status=int(builds), stdout="", stderr=UNREACHABLE if builds else "", interrupted=False
        )


@pytest.mark.parametrize(
    ("wanted", "local", "made"), [(None, True, True), (None, False, False), ("podman", True, False)]
)
def test_for_the_local_aws_alone_a_base_image_out_of_reach_is_done_without(
    project: Path, *, wanted: str | None, local: bool, made: bool
) -> None:
    (project / "Dockerfile").write_text("FROM python\n")
    said: list[str] = []

    def attempt() -> Image:
        return build(
            Inputs(project=project, revision=REVISION, tag="v1"),
            images=Images(project / "images"),
            builder=wanted,
            may_use_builtin=local,
            env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project)},
            run=_Offline().run,
            report=said.append,
        )

    if made:
        assert attempt().is_builtin
        assert "podman cannot get the base image" in said[1]
    else:
        with pytest.raises(BaseImageError, match="no such host"):
            attempt()


class _Unfit:
    """podman and buildah pass their probes, but those in `unfit` cannot build."""

    def __init__(self, *unfit: str, words: str = "open /etc/containers/policy.json: no such file") -> None:
        self._unfit = unfit
        self._words = words
        self.built: list[str] = []

    def run(self, command: Command, *, on_stdout: Callable[[str], None] | None = None) -> Completed:
        name, what = command.argv[0], command.argv[1]
        if name == "docker":
            raise FileNotFoundError(name)
        if name not in ("podman", "buildah"):
            return process.run(command, on_stdout=on_stdout)
        failed = False
        if what == "build":
            self.built.append(name)
            Path(command.argv[command.argv.index("--iidfile") + 1]).write_text("sha256:1")
            failed = name in self._unfit
        elif what == "push":
            write_layout(Path(command.argv[-1].removeprefix("oci:")), revision=REVISION.name)
        return Completed(
            status=int(failed), stdout="", stderr=self._words if failed else "", interrupted=False
        )


def _build_anyhow(project: Path, machine: _Unfit, said: list[str], *, local: bool) -> Image:
    (project / "Dockerfile").write_text("FROM python\n")
    return build(
        Inputs(project=project, revision=REVISION, tag="v1"),
        images=Images(project / "images"),
        builder=None,
        may_use_builtin=local,
        env={"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project)},
        run=machine.run,
        report=said.append,
    )


def test_where_a_builder_that_answers_cannot_build_the_next_one_does(project: Path) -> None:
    machine, said = _Unfit("podman"), list[str]()

    assert not _build_anyhow(project, machine, said, local=True).is_builtin

    assert machine.built == ["podman", "buildah"]
    assert "policy.json: no such file\npodman cannot build here: trying another builder" in said[1]


def test_where_none_can_build_the_built_in_one_does_for_the_local_aws_alone(project: Path) -> None:
    assert _build_anyhow(project, _Unfit("podman", "buildah"), [], local=True).is_builtin

    with pytest.raises(BuilderError) as caught:
        _build_anyhow(project, _Unfit("podman", "buildah"), [], local=False)
    assert "podman: open /etc/containers/policy.json: no such file" in caught.value.message
    assert "buildah: open" in caught.value.message


def test_a_dockerfile_that_is_wrong_is_tried_by_no_other_builder(project: Path) -> None:
    machine = _Unfit("podman", words='Error: building at STEP "RUN x": while running runtime: exit status 1')

    with pytest.raises(BuilderError, match="STEP"):
        _build_anyhow(project, machine, [], local=True)

    assert machine.built == ["podman"]


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed app with one local dependency, pinned by hash. Tests copy it and do not change it."""
    folder = tmp_path_factory.mktemp("committed")
    (folder / "app").mkdir()
    (folder / "app" / "__main__.py").write_text("import dependency\nprint(dependency.VALUE)\n")
    wheel = folder / "dependency-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("dependency.py", "VALUE = 'ran'\nNAMES = frozenset({'a', 'b', 'c'})\n")
        archive.writestr(
            "dependency-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: dependency\nVersion: 1.0\n"
        )
        archive.writestr(
            "dependency-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        archive.writestr(
            "dependency-1.0.dist-info/entry_points.txt",
            "[console_scripts]\ndependency = dependency:main\n",
        )
        archive.writestr("dependency-1.0.dist-info/RECORD", "")
    digest = sha256(wheel.read_bytes()).hexdigest()
    (folder / "app" / "requirements.txt").write_text(f"dependency==1.0 --hash=sha256:{digest}\n")
    (folder / ".gitignore").write_text("images*/\n")
    git(folder, "init", "-q", "--template=")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "first")
    (folder / ".git" / "info").mkdir()
    return folder


@pytest.fixture
def project(tmp_path: Path, committed: Path) -> Path:
    return shutil.copytree(committed, tmp_path / "project")


@pytest.fixture(scope="module")
def layers(tmp_path_factory: pytest.TempPathFactory, committed: Path) -> Path:
    """The cache of the built-in builder after a first build of the app."""
    first = shutil.copytree(committed, tmp_path_factory.mktemp("first") / "project")
    make(first)
    return first / "images" / "cache"


@pytest.fixture
def built(project: Path, layers: Path) -> Path:
    """The app with a warm cache, so that tests need not install its dependencies again."""
    shutil.copytree(layers, project / "images" / "cache")
    return project


def make(
    project: Path,
    *,
    images: str = "images",
    tag: str = "v1",
    variables: Mapping[str, str] | None = None,
    builder: str | None = "builtin",
    **env: str,
) -> Image:
    offline = {"PATH": os.environ["PATH"], "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(project), **env}
    return build(
        Inputs(project=project, revision=REVISION, tag=tag, variables=variables or {}),
        images=Images(project / images),
        builder=builder,
        may_use_builtin=True,
        env=offline,
        run=process.run,
        report=lambda _line: None,
    )


def test_the_built_in_image_is_the_same_for_the_same_inputs(project: Path) -> None:
    first = make(project)
    for path in (project / "app").iterdir():
        os.utime(path, (1, 1))
        path.chmod(0o600)
    second = make(project, images="images-elsewhere", PYTHONHASHSEED="7")

    assert first.digest == second.digest
    (project / "app" / "__main__.py").write_text("print('changed')\n")
    third = make(project)
    assert third.digest != first.digest
    assert third.blobs[1] == first.blobs[1], "the dependencies are a layer of their own"


def test_the_built_in_image_is_a_whole_oci_image_and_says_what_it_is(built: Path) -> None:
    image = make(built)

    for blob in (image.manifest, *image.blobs):
        image.verify(blob)
        assert image.path(blob.digest).stat().st_size == blob.size
    config = json.loads(image.path(image.blobs[0].digest).read_bytes())
    assert config["rootfs"]["diff_ids"] == [blob.digest for blob in image.blobs[1:]]
    labels = config["config"]["Labels"]
    assert labels["mclass-tf.builder"] == "builtin"
    assert labels["mclass-tf.host-variable"] == "MCLASS_HOST"
    assert labels["mclass-tf.port-variable"] == "MCLASS_PORT"
    assert f"MCLASS_REVISION={REVISION.name}" in config["config"]["Env"]
    assert image.is_builtin
    assert (image.folder / "oci-layout").is_file()


def environment(image: Image) -> list[str]:
    config = json.loads(image.path(image.blobs[0].digest).read_bytes())
    found: list[str] = config["config"]["Env"]
    return found


def test_variables_are_in_the_built_in_image_and_decide_its_digest(built: Path) -> None:
    plain = make(built)
    bad = make(built, variables={"MCLASS_FAULT_ERROR_RATE": "0.5", "MCLASS_REVISION": "bad"})
    same = make(built, variables={"MCLASS_REVISION": "bad", "MCLASS_FAULT_ERROR_RATE": "0.5"})

    assert environment(bad)[-2:] == ["MCLASS_REVISION=bad", "MCLASS_FAULT_ERROR_RATE=0.5"]
    assert "MCLASS_FAULT_ERROR_RATE=0.5" not in environment(plain)
    assert plain.digest != bad.digest == same.digest
    assert plain.blobs[1:] == bad.blobs[1:]


@pytest.mark.parametrize("other", ["podman", None])
def test_variables_are_refused_by_other_builders(project: Path, other: str | None) -> None:
    with pytest.raises(BuilderError, match="takes no variables") as told:
        make(project, builder=other, variables={"MCLASS_VERSION": "2"})

    assert "--builder builtin" in told.value.hint


@pytest.mark.parametrize("name", ["", "A=B", "1A", "A-B"])
def test_a_variable_needs_the_name_of_one(project: Path, name: str) -> None:
    with pytest.raises(BuilderError, match="cannot be an environment variable"):
        make(project, variables={name: "x"})


def test_the_built_in_image_runs_where_it_is_unpacked(project: Path, tmp_path: Path) -> None:
    image = make(project)
    for layer in image.blobs[1:]:
        subprocess.run(["tar", "-xf", str(image.path(layer.digest)), "-C", str(tmp_path)], check=True)

    argv = [sys.executable, "-m", "app"]
    env = {"PYTHONPATH": str(tmp_path / "srv" / "lib")}
    done = subprocess.run(argv, cwd=tmp_path / "srv", env=env, capture_output=True, text=True, check=True)

    assert done.stdout == "ran\n"
    assert not (tmp_path / "srv" / "lib" / "bin").exists(), "scripts name the builder's Python"
    assert list((tmp_path / "srv" / "lib" / "__pycache__").iterdir()), "compiled ahead"


def test_what_is_not_as_its_hash_says_is_not_installed(project: Path) -> None:
    requirements = project / "app" / "requirements.txt"
    requirements.write_text("dependency==1.0 --hash=sha256:" + "0" * 64 + "\n")

    with pytest.raises(BuilderError, match="pip could not install"):
        make(project)

    assert [path.name for path in (project / "images").iterdir()] == []


def test_an_app_that_does_not_compile_is_no_image(built: Path) -> None:
    (built / "app" / "__main__.py").write_text("def\n")

    with pytest.raises(BuilderError, match="srv/app does not compile"):
        make(built)


def test_the_last_image_and_those_before_it_are_found(built: Path) -> None:
    images = Images(built / "images")
    with pytest.raises(NoImageError, match="there is no image yet"):
        images.latest()
    first = make(built)
    (built / "app" / "__main__.py").write_text("print(2)\n")
    second = make(built)

    assert images.latest() == second
    assert images.read(first.digest) == first
    with pytest.raises(NoImageError, match="not on this machine"):
        images.read("sha256:" + "0" * 64)
    with pytest.raises(NoImageError, match="no digest"):
        images.read(f"sha256:../{images.folder.name}/{first.digest[7:]}")
    assert make(built, tag="v2").tag == "v2", "the same image under another tag"
    assert images.latest().tag == "v2"


def test_old_images_go(built: Path) -> None:
    for number in range(7):
        (built / "app" / "__main__.py").write_text(f"print({number})\n")
        last = make(built)

    kept = [path for path in (built / "images").iterdir() if (path / "oci-layout").is_file()]

    assert len(kept) == 5
    assert last.folder in kept


def test_what_a_killed_build_left_behind_goes_after_a_day(built: Path) -> None:
    for name, age in (("old", 25 * 3600), ("at-work", 60)):
        draft = built / "images" / f".draft-{name}"
        draft.mkdir(parents=True)
        os.utime(draft, (time.time() - age, time.time() - age))

    make(built)

    assert [path.name for path in (built / "images").glob(".draft-*")] == [".draft-at-work"]


def test_a_damaged_blob_is_noticed(built: Path) -> None:
    image = make(built)
    layer = image.blobs[1]
    damaged = image.path(layer.digest)
    data = bytearray(damaged.read_bytes())
    data[100] ^= 1
    damaged.unlink()
    damaged.write_bytes(data)

    with pytest.raises(CorruptedImageError, match="is damaged"):
        image.verify(layer)


def read(folder: Path) -> Revision:
    return read_revision(folder, env=dict(os.environ), run=process.run)


def test_a_revision_says_whether_the_tree_is_dirty(project: Path) -> None:
    clean = read(project)
    (project / "new.py").write_text("")
    dirty = read(project)

    assert len(clean.name) == 40
    assert not clean.is_dirty
    assert dirty.name == f"{clean.name}-dirty"
    assert dirty.is_dirty


def test_a_new_file_that_git_is_told_not_to_show_makes_the_tree_dirty(project: Path) -> None:
    git(project, "config", "status.showUntrackedFiles", "no")
    assert not read(project).is_dirty

    (project / "app" / "new.py").write_text("")
    assert read(project).is_dirty


@pytest.mark.parametrize("name", [".env", "deep/er/.env", "old.pyc"])
def test_an_ignored_file_that_goes_into_the_image_makes_the_tree_dirty(built: Path, name: str) -> None:
    path = built / "app" / name
    before = make(built)
    (built / ".git" / "info" / "exclude").write_text(".env\n*.pyc\n")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")

    assert make(built).digest != before.digest
    assert read(built).is_dirty


def test_an_ignored_file_that_stays_out_of_the_image_leaves_the_tree_clean(project: Path) -> None:
    (project / ".git" / "info" / "exclude").write_text("*.pyc\n.env\n")
    for folder in ("app", "app/deep/er"):
        cache = project / folder / "__pycache__"
        cache.mkdir(parents=True)
        (cache / "x.pyc").write_text("")
    (project / ".env").write_text("")

    assert not read(project).is_dirty


@pytest.mark.parametrize(
    ("remote", "source"),
    [
        (
            "https://user:secret@git.example.com:8443/team/mclass.git",
            "https://git.example.com:8443/team/mclass.git",
        ),
        ("https://github.com/o/r.git?token=secret#secret", "https://github.com/o/r.git"),
        ("ssh://git:secret@github.com/o/r.git", "ssh://github.com/o/r.git"),
        ("git@github.com:o/r.git", "https://github.com/o/r"),
        ("github.com:o/r", "https://github.com/o/r"),
        # git parses the first as a path on the host `user`, the second as one on port 1: the secret is in the path.
        ("user:secret@github.com:o/r.git", ""),
        ("https://user:1/secret@github.com/o/r.git", ""),
        ("ssh://git@host:o/r.git", ""),
        ("https://[host/o/r.git", ""),
        ("codecommit::ap-northeast-2://profile@r", ""),
        ("/srv/git/r.git", ""),
        ("file:///srv/git/r.git", ""),
    ],
)
def test_a_source_is_an_address_without_credentials_or_nothing(
    project: Path, remote: str, source: str
) -> None:
    git(project, "remote", "add", "origin", remote)

    assert read(project).source == source


def test_a_folder_without_revision_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="has no git revision") as told:
        read_revision(
            tmp_path,
            env={**os.environ, "GIT_CEILING_DIRECTORIES": str(tmp_path.parent)},
            run=process.run,
        )

    assert "--tag" in told.value.hint


def test_without_git_there_is_no_revision(tmp_path: Path) -> None:
    with pytest.raises(RevisionError, match="git is not installed"):
        read_revision(tmp_path, env={}, run=Machine().run)
