"""Builds the image from the Dockerfile with docker, podman or buildah, into an OCI layout."""

from __future__ import annotations

import re
import shutil
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf.errors import BaseImageError, BuilderError, DiskFullError, Hint, UnfitBuilderError
from mclass_tf.image import documents
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import REVISION, configuration
from mclass_tf.system.process import Command, Completed, Runner

_REASON_LINES = 5
# The timestamp of everything in the image. With the commit's time, every commit would change the layers of an unchanged app, and
# cached layers would have the time of another commit.
_EPOCH = "0"
# Messages of podman, buildah and docker when they cannot reach the registry of the base image.
_UNREACHABLE = re.compile(
    r"pinging container registry|failed to resolve source metadata|failed to do request"
)
# Messages of podman and buildah about a faulty Dockerfile. All other failures are the machine's.
_OF_THE_DOCKERFILE = re.compile(r"building at STEP|no FROM statement found|no stages to build")
# Messages of docker about its daemon, which answered before. All other failures are the Dockerfile's.
_OF_THE_DAEMON = re.compile(
    r"Cannot connect to the Docker daemon|error during connect|permission denied while trying"
)


@dataclass(frozen=True, kw_only=True)
class DockerfileBuild:
    """A build with one builder. `env` is the environment of its commands."""

    builder: str
    inputs: Inputs
    env: Mapping[str, str]
    run: Runner
    report: Callable[[str], None]

    def write(self, draft: Path) -> None:
        """Write the layout into `draft`/layout, an empty folder, and temporary files into `draft`."""
        dockerfile = self.inputs.project / "Dockerfile"
        if not dockerfile.is_file():
            raise BuilderError(f"there is no {dockerfile}", hint=f"{self.builder} builds from it")
        self._build(draft, use_cache=True)
        if self._is_stale(draft / "layout"):
            self.report(f"{self.builder} took another image out of its cache: building without it")
            shutil.rmtree(draft / "layout")
            (draft / "layout").mkdir()
            self._build(draft, use_cache=False)
        self._require_platform(draft / "layout")

    def _require_platform(self, layout: Path) -> None:
        """Raise BuilderError if the image is for another platform: a base image that has one platform alone is used anyway.

        https://github.com/docker/cli/issues/3199 , https://github.com/containers/buildah/issues/3658
        """
        built = configuration(layout).platform
        if self._is_for_another_platform(built):
            raise BuilderError(
                f"{self.builder} built for {built}, not for {self.inputs.platform}",
                hint="is the base image one of that platform? its digest must be that of an index, or of the platform's image",
            )

    def _build(self, draft: Path, *, use_cache: bool) -> None:
        id_file, layout = draft / "id", draft / "layout"
        self._must(build_command(self.builder, self.inputs, id_file=id_file, use_cache=use_cache))
        image_id = id_file.read_text(encoding="ascii").strip()
        self._must(export_command(self.builder, image_id, layout=layout))
        if self.builder == "docker":
            archive = layout.with_suffix(".tar")
            with tarfile.open(archive) as content:
                content.extractall(layout, filter="data")
            archive.unlink()
        if not (layout / "oci-layout").is_file():
            raise BuilderError(
                f"{self.builder} did not write an OCI layout",
                hint="it takes Docker 25 or later, or podman or buildah",
            )

    def _is_stale(self, layout: Path) -> bool:
        """Whether the image has another revision or platform: podman's cache ignores a changed build argument, and the platform.

        https://github.com/containers/buildah/issues/5501
        """
        built = configuration(layout)
        config = built.config or documents.RuntimeConfig()
        if self._is_for_another_platform(built.platform):
            return True
        variables = dict(entry.partition("=")[::2] for entry in config.env or ())
        revisions = ((config.labels or {}).get(REVISION), variables.get("MCLASS_REVISION"))
        return any(revision not in {None, self.inputs.revision.name} for revision in revisions)

    def _is_for_another_platform(self, built: documents.Platform) -> bool:
        wanted = self.inputs.platform
        return bool(wanted) and wanted != f"{built.os}/{built.architecture}"

    def _must(self, argv: tuple[str, ...]) -> None:
        # Attestations would turn the image into an index that contains the time of the build.
        env = {**self.env, "BUILDX_NO_DEFAULT_ATTESTATIONS": "1", "SOURCE_DATE_EPOCH": _EPOCH}
        done = self.run(Command(argv=argv, cwd=self.inputs.project, env=env), on_stdout=self.report)
        if done.status != 0:
            raise _failure(self.builder, argv, reason_of(done))


def build_command(name: str, inputs: Inputs, *, id_file: Path, use_cache: bool = True) -> tuple[str, ...]:
    """Return the command that builds from the Dockerfile and writes the image id to `id_file`."""
    revision = inputs.revision
    arguments = (
        f"REVISION={revision.name}",
        f"SOURCE={revision.source}",
        f"SOURCE_DATE_EPOCH={_EPOCH}",
        *inputs.arguments,
    )
    own: tuple[str, ...] = ()
    if name != "docker":
        # The default is Docker's format. OCI lacks HEALTHCHECK, but ECS takes health checks from the task definition.
        own = ("--format", "oci", "--layers", "--timestamp", _EPOCH)
    return (
        *(name, "build", *own, *(() if use_cache else ("--no-cache",))),
        *(("--platform", inputs.platform) if inputs.platform else ()),
        *("--iidfile", str(id_file), "--file", "Dockerfile"),
        *(word for argument in arguments for word in ("--build-arg", argument)),
        *(word for context in inputs.contexts for word in ("--build-context", context)),
        ".",
    )


def export_command(name: str, image_id: str, *, layout: Path) -> tuple[str, ...]:
    """Return the command that exports the OCI layout: docker to the archive `layout`.tar, the others to the folder."""
    match name:
        case "docker":
            return ("docker", "save", "--output", f"{layout}.tar", image_id)
        case "podman":
            return ("podman", "save", "--quiet", "--format", "oci-dir", "--output", str(layout), image_id)
        case _:
            return ("buildah", "push", "--quiet", image_id, f"oci:{layout}")


def reason_of(done: Completed) -> str:
    """Return the last lines of output of a failed program."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return " ".join(lines[-_REASON_LINES:]) or f"exit status {done.status}"


def _failure(builder: str, argv: tuple[str, ...], reason: str) -> BuilderError | DiskFullError:
    if "no space left on device" in reason.lower():
        return DiskFullError(
            f"{builder} has no space left: {reason}", hint=f"free some: {builder} system prune"
        )
    if _UNREACHABLE.search(reason):
        return BaseImageError(
            f"{builder} cannot get the base image: {reason}",
            hint=Hint(
                "is its registry reachable? ", ("build", "--build-arg", "BASE=IMAGE"), " uses another one"
            ),
        )
    failed = f"{' '.join(argv[:2])} failed: {reason}"
    if "exec format error" in reason.lower():
        return BuilderError(
            failed,
            hint="this machine cannot execute programs of the image's platform: build on a machine of that architecture, or "
            "install QEMU (`docker run --privileged --rm tonistiigi/binfmt --install all`, or your system's qemu-user-static)",
        )
    if _OF_THE_DAEMON.search(reason) if builder == "docker" else not _OF_THE_DOCKERFILE.search(reason):
        hint = "fix the problem that it names, or choose another builder: --builder docker, podman, buildah or, for the local AWS, builtin"
        return UnfitBuilderError(failed, reason=reason, hint=hint)
    return BuilderError(failed, hint="the full output is above; nothing was kept")
