"""The processor that tasks run on, and images that are built for another one: Fargate pulls them, and they do not start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from mclass_tf import image, verify
from mclass_tf.environment import Environment
from mclass_tf.environment import load as load_environment
from mclass_tf.environment import names as environment_names
from mclass_tf.errors import Hint, ImageRefusedError, UsageError
from mclass_tf.image import documents, platforms
from mclass_tf.image.architectures import ARCHITECTURES, DEFAULT_ARCHITECTURE, platform_name
from mclass_tf.plan import Plan
from mclass_tf.session import Project, Session, evaluator
from mclass_tf.system import process
from mclass_tf.terraform import find_engine


def architecture_of(environment: Environment) -> str:
    """Return `task.cpu_architecture` of terraform.tfvars, or the module's default. Terraform rejects unknown ones."""
    task = environment.variables.get("task")
    value = task.get("cpu_architecture") if isinstance(task, Mapping) else None
    return str(value) if value in ARCHITECTURES else DEFAULT_ARCHITECTURE


def common_architecture(project: Project, *, env: Mapping[str, str]) -> str:
    """Return the processor of the tasks of all environments, "" without environments; raise UsageError if they differ."""
    evaluate = evaluator(partial(find_engine, env, run=process.run), env)
    by_architecture: dict[str, list[str]] = {}
    for name in environment_names(project.folder):
        loaded = load_environment(project.folder, name, evaluate=evaluate)
        by_architecture.setdefault(architecture_of(loaded), []).append(name)
    if len(by_architecture) > 1:
        uses = "; ".join(f"{', '.join(names)} on {each}" for each, names in by_architecture.items())
        raise UsageError(
            f"the environments run on different processors: {uses}",
            hint=Hint(
                "say which one to build for: ",
                *_alternatives(tuple(by_architecture)),
            ),
        )
    return next(iter(by_architecture), "")


def _alternatives(architectures: tuple[str, ...]) -> Iterator[str | tuple[str, ...]]:
    for each in architectures:
        yield from ("" if each == architectures[0] else " or ", ("build", "--architecture", each))


def planned_architecture(plan: Plan, environment: Environment) -> str:
    """Return the processor of the service's planned task definition."""
    for change in plan.document.get("resource_changes", ()):
        after = change["change"].get("after")
        if change["type"] == "aws_ecs_task_definition" and isinstance(after, Mapping):
            return architecture_in(after.get("runtime_platform"), "cpu_architecture")
    return architecture_of(environment)


def architecture_in(platform: Any, key: str) -> str:
    """Return the processor of a task definition's runtime platform, which Terraform writes as a list."""
    entry = next(iter(platform), None) if isinstance(platform, list) else platform
    value = entry.get(key) if isinstance(entry, Mapping) else None
    return str(value) if value in ARCHITECTURES else DEFAULT_ARCHITECTURE


def require_image_fits(session: Session, outputs: verify.Outputs, *, digest: str, architecture: str) -> None:
    """Raise ImageRefusedError unless the image in the environment's repository, or one of an index, fits the processor."""
    registry = image.Registry(
        image.log_in(session.aws),
        outputs.repository_name,
        environment=session.environment.name,
        report=session.report,
    )
    require_fits(
        platforms.platforms_of(registry, digest),
        digest=digest,
        architecture=architecture,
        environment=session.environment.name,
    )


def require_fits(
    built_for: tuple[documents.Platform, ...], *, digest: str, architecture: str, environment: str
) -> None:
    """Raise ImageRefusedError unless one of the platforms that an image is built for is that of the tasks."""
    if platforms.fits(built_for, architecture):
        return
    names = ", ".join(str(each) for each in built_for) or "no platform"
    what = "is an index of images for" if len(built_for) > 1 else "is built for"
    raise ImageRefusedError(
        f"{digest} {what} {names}; the tasks of {environment} run on {architecture} "
        f"({platform_name(architecture)}) and cannot execute it; nothing was changed",
        hint=Hint(
            "build it for them (",
            ("build", "--architecture", architecture),
            ") and push it (",
            ("push", environment),
            "), or change `cpu_architecture` under `task` in terraform.tfvars",
        ),
    )
