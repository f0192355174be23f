"""Builds the image with docker, podman, buildah or the built-in builder."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from mclass_tf.errors import BaseImageError, BuilderError, DiskFullError, UnfitBuilderError
from mclass_tf.image.builtin import BuiltinBuilder
from mclass_tf.image.dockerfile import DockerfileBuild, reason_of
from mclass_tf.image.inputs import Inputs
from mclass_tf.image.layout import Image, Images
from mclass_tf.system.process import Command, Completed, Runner

_CONTAINER_BUILDERS = ("docker", "podman", "buildah")
BUILDERS = (*_CONTAINER_BUILDERS, "builtin")
_FULL = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
# Commands that prove that a builder works, not only that it is installed: docker asks its daemon, the others their storage.
_PROBES: Mapping[str, tuple[str, ...]] = {
    "docker": ("docker", "version", "--format", "{{.Server.Version}}"),
    "podman": ("podman", "info", "--format", "{{.Store.GraphDriverName}}"),
    "buildah": ("buildah", "info", "--format", "{{.store.GraphDriverName}}"),
}
_NOT_FOUND = 127  # a shell's exit status for a missing program
_INSTALL = "start Docker, or install podman or buildah"


def build(
    inputs: Inputs,
    *,
    images: Images,
    builder: str | None,
    may_use_builtin: bool,
    env: Mapping[str, str],
    run: Runner,
    report: Callable[[str], None],
) -> Image:
    """Build with `builder`, or with the first builder that works; return the image, stored in `images`."""
    _check_variables(inputs.variables, builder=builder)
    unfit: dict[str, str] = {}
    while True:
        chosen = choose(
            builder, may_use_builtin=may_use_builtin, cwd=inputs.project, env=env, run=run, unfit=unfit
        )
        try:
            return _build_with(chosen, inputs, images=images, env=env, run=run, report=report)
        except UnfitBuilderError as error:
            if builder is not None:
                raise
            # A builder can pass its probe and yet lack what a build needs, such as podman's policy.json.
            unfit[chosen] = error.reason
            report(f"{error}\n{chosen} cannot build here: trying another builder")
        except BaseImageError as error:
            if builder is not None or not may_use_builtin:
                raise
            report(
                f"{error}\nthe built-in builder needs no base image, and its image will do for the local AWS"
            )
            return _build_with("builtin", inputs, images=images, env=env, run=run, report=report)


def _build_with(
    chosen: str,
    inputs: Inputs,
    *,
    images: Images,
    env: Mapping[str, str],
    run: Runner,
    report: Callable[[str], None],
) -> Image:
    report(f"building with {'the built-in builder' if chosen == 'builtin' else chosen}")
    with disk_full_explained(images.folder), images.draft() as draft:
        layout = draft / "layout"
        layout.mkdir()
        if chosen == "builtin":
            maker = BuiltinBuilder(project=inputs.project, images=images, env=env, run=run, report=report)
            maker.write(
                layout,
                revision=inputs.revision.name,
                variables=inputs.variables,
                architecture=inputs.architecture,
            )
        else:
            made = DockerfileBuild(builder=chosen, inputs=inputs, env=env, run=run, report=report)
            made.write(draft)
        return images.keep(layout, tag=inputs.tag, revision=inputs.revision, builder=chosen)


def _check_variables(variables: Mapping[str, str], *, builder: str | None) -> None:
    """Reject variables that the builder would drop or that are malformed."""
    if variables and builder != "builtin":
        raise BuilderError(
            f"{builder or 'a builder that is not named'} takes no variables ({', '.join(sorted(variables))})",
            hint="only the built-in builder puts them into the image: --builder builtin; "
            "elsewhere set them in the Dockerfile or in environment_variables of terraform.tfvars",
        )
    for name, value in variables.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise BuilderError(
                f"{name!r} cannot be an environment variable with the value {value!r}",
                hint="a name is made of letters, digits and _, and begins with no digit: MCLASS_LOG_LEVEL",
            )


def choose(
    requested: str | None,
    *,
    may_use_builtin: bool,
    cwd: Path,
    env: Mapping[str, str],
    run: Runner,
    unfit: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the builder to use; raise BuilderError with a reason per builder.

    `unfit` maps builders that have failed to build on this machine to the reason.
    """
    if requested == "builtin":
        return requested
    problems = {}
    for name in (requested,) if requested else _CONTAINER_BUILDERS:
        problem = unfit.get(name) or _problem(name, cwd=cwd, env=env, run=run)
        if problem is None:
            return name
        problems[name] = problem
    reasons = "; ".join(f"{name}: {problem}" for name, problem in problems.items())
    if requested:
        raise BuilderError(
            f"{requested} cannot build: {problems[requested]}",
            hint=f"{_INSTALL}, or choose another --builder",
        )
    if may_use_builtin:
        return "builtin"
    raise BuilderError(
        f"there is no builder that works ({reasons})",
        hint=f"{_INSTALL}; for the local AWS alone, --local needs neither",
    )


def _problem(name: str, *, cwd: Path, env: Mapping[str, str], run: Runner) -> str | None:
    """Return why the builder cannot be used, or None."""

    def ask(argv: tuple[str, ...]) -> Completed:
        return run(Command(argv=argv, cwd=cwd, env=env))

    try:
        # The package podman-docker installs podman as `docker`: it accepts docker's commands but cannot save an OCI layout.
        if name == "docker" and ask(("docker", "--version")).stdout.startswith("podman"):
            return "it is podman by another name"
        done = ask(_PROBES[name])
    except FileNotFoundError:
        return "not installed"
    if done.status == 0:
        return None
    reason = reason_of(done)
    # The program is a wrapper (a shell script, or that of `local env`) for a program that is missing.
    if done.status == _NOT_FOUND or reason.endswith("command not found"):
        return "not installed"
    return f"its daemon does not answer: {reason}" if name == "docker" else reason


@contextmanager
def disk_full_explained(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk into a DiskFullError that names the disk and its free space."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        path = next((path for path in (folder, *folder.parents) if path.exists()), folder)
        free = shutil.disk_usage(path).free // 2**20
        raise DiskFullError(
            f"no space left for {error.filename or folder}: {error.strerror}, {free} MiB are free",
            hint=f"free some; {folder} itself may be deleted; nothing was kept of this image",
        ) from None
