"""`build` and `push`: the commands on images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mclass_tf import image
from mclass_tf.errors import Hint, ImageRefusedError, RevisionError
from mclass_tf.flows.architecture import architecture_of, common_architecture, require_fits
from mclass_tf.flows.environments import applied_state
from mclass_tf.session import Project, Report, Session
from mclass_tf.system import process


@dataclass(frozen=True, kw_only=True)
class BuildRequest:
    """How to build an image. `builder` None: with the first builder that works.

    `architecture` is the processor to build for, as ECS names it; "" for that of the environments' tasks. `variables` are set in the image's environment variables, and override them; only the built-in builder supports them.
    """

    tag: str | None
    builder: str | None
    may_use_builtin: bool
    arguments: tuple[str, ...] = ()
    contexts: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    architecture: str = ""


def build_image(
    project: Project, *, request: BuildRequest, report: Report, env: Mapping[str, str]
) -> image.Image:
    """Build the service's image from the work tree and store it on this machine. Its default tag is the git revision."""
    try:
        revision = image.read_revision(project.folder, env=env, run=process.run)
    except RevisionError:
        if request.tag is None:
            raise
        revision = image.UNKNOWN
    if revision.is_dirty:
        report("the work tree differs from its last commit: the revision is marked -dirty")
    inputs = image.Inputs(
        project=project.folder,
        revision=revision,
        tag=request.tag,
        arguments=request.arguments,
        contexts=request.contexts,
        variables=request.variables,
        architecture=request.architecture or common_architecture(project, env=env),
    )
    return image.build(
        inputs,
        images=image.Images(project.home / "images"),
        builder=request.builder,
        may_use_builtin=request.may_use_builtin,
        env=env,
        run=process.run,
        report=report,
    )


def push_image(session: Session, *, digest: str | None = None, tag: str | None = None) -> image.PushResult:
    """Push an image built here, by default the latest, to the environment's repository."""
    images = image.Images(session.project.home / "images")
    built = images.latest() if digest is None else images.read(digest)
    if built.is_builtin and not session.cloud.is_local:
        raise ImageRefusedError(
            f"{built.digest} was made by the built-in builder, for the local AWS of this machine: it has no operating "
            f"system and no Python, and cannot run on {session.cloud.label}",
            hint=Hint(
                "build it with docker, podman or buildah: ",
                ("build", "--builder", "podman"),
                "; or push to the local AWS: --local",
            ),
        )
    require_fits(
        (built.platform,),
        digest=built.digest,
        architecture=architecture_of(session.environment),
        environment=session.environment.name,
    )
    registry = image.Registry(
        image.log_in(session.aws),
        applied_state(session).outputs["repository_name"],
        environment=session.environment.name,
        report=session.report,
    )
    return registry.push(built, tag=tag or built.tag)
