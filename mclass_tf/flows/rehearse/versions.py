"""The versions that a rehearsal releases: the app in the work tree, built twice and pushed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mclass_tf import image
from mclass_tf.errors import RevisionError
from mclass_tf.flows.architecture import architecture_of
from mclass_tf.flows.environments import applied_state
from mclass_tf.session import Session
from mclass_tf.system import process


@dataclass(frozen=True, kw_only=True)
class BuiltVersion:
    """An image of the service in the environment's repository. `name` is the revision that the service answers."""

    name: str
    digest: str
    variables: Mapping[str, str]


def revision_of(session: Session) -> image.Revision:
    try:
        return image.read_revision(session.project.folder, env=session.env, run=process.run)
    except RevisionError:
        return image.UNKNOWN


def make_version(
    session: Session, revision: image.Revision, letter: str, variables: Mapping[str, str]
) -> BuiltVersion:
    """Build and push the app with its own revision name, separate from the images of `build`."""
    project = session.project
    commit, _, dirty = revision.name.partition("-")
    name = "-".join(part for part in (commit[:7], dirty, letter) if part)
    inputs = image.Inputs(
        project=project.folder,
        revision=dataclasses.replace(revision, name=name),
        tag=f"rehearsal-{letter}",
        variables=variables,
        architecture=architecture_of(session.environment),
    )
    built = image.build(
        inputs,
        images=_images(project.home),
        builder="builtin",
        may_use_builtin=True,
        env=session.env,
        run=process.run,
        report=session.report,
    )
    version = BuiltVersion(name=name, digest=built.digest, variables=variables)
    push_version(session, version)
    return version


def push_version(session: Session, version: BuiltVersion) -> None:
    """Push a built version to the environment's repository."""
    registry = image.Registry(
        image.log_in(session.aws),
        applied_state(session).outputs["repository_name"],
        environment=session.environment.name,
        report=session.report,
    )
    built = _images(session.project.home).read(version.digest)
    registry.push(built, tag=f"rehearsal-{version.digest.removeprefix('sha256:')[:16]}")


def _images(home: Path) -> image.Images:
    """Return the image store of rehearsals, so that `build`'s latest image stays the latest. Layers are shared."""
    own, cache = home / "rehearsal" / "images", home / "images" / "cache"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    link = own / "cache"
    if not link.is_symlink():
        link.symlink_to(cache, target_is_directory=True)
    return image.Images(own)
