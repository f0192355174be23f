"""The image in force, which a new task definition or service must run: the one proven last, not the one applied last.

After a rollback or a failed release, the state still names the withdrawn image, and so does each task definition and service
that Terraform creates from it. The ledger names the right one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from mclass_tf.aws import error_code
from mclass_tf.errors import ConfigurationError, ServiceGoneError
from mclass_tf.flows.attempt import ledger_of
from mclass_tf.ledger import APPLYING, Record, proven_releases
from mclass_tf.plan import Action, Plan
from mclass_tf.service import Ecs, serving_container
from mclass_tf.session import Session
from mclass_tf.terraform_state import State

_LOOKED_BACK = 200  # attempts; many of them may have been refused
_FORWARD = ("release", "promote", "continue")
# Outcomes after which the image serves, even if the verification failed.
_SERVES = ("released", "unchanged")
# The resources that contain the image, or start it.
_STARTING = ("aws_ecs_task_definition", "aws_ecs_service")


@dataclass(frozen=True, kw_only=True)
class ImageInForce:
    """`digest` None: there is none; the service gets 0 tasks. `applied` is the digest in the state, `reason` explains the choice."""

    digest: str | None
    applied: str | None
    reason: str

    @property
    def differs(self) -> bool:
        return self.digest != self.applied

    def __str__(self) -> str:
        return f"{self.digest or 'none'}, {self.reason}"


def image_in_force(session: Session, state: State) -> ImageInForce:
    """Return the image in force, according to the latest `_LOOKED_BACK` attempts."""
    applied = state.outputs.get("image_digest")
    if not isinstance(applied, str):
        return ImageInForce(digest=None, applied=None, reason="no image was applied yet")
    ledger = ledger_of(session)
    return decide(
        _as_needed(ledger.latest_first(most=_LOOKED_BACK), applied),
        applied=applied,
        url=ledger.url,
        is_pushed=partial(_is_pushed, session, state),
        serving=partial(_serving_digest, session, state),
    )


def _as_needed(records: Iterable[Record], applied: str) -> list[Record]:
    """Return all records; only those up to the last proven one if that is of the applied image."""
    read: list[Record] = []
    remaining = iter(records)
    for record in remaining:
        read.append(record)
        if record.is_proven:
            break
    is_settled = bool(read) and read[-1].is_proven and read[-1].begun.digest == applied
    return read if is_settled else [*read, *remaining]


def decide(
    records: Sequence[Record],
    *,
    applied: str,
    url: Callable[[str], str],
    is_pushed: Callable[[str], bool],
    serving: Callable[[], str],
) -> ImageInForce:
    """Return the image in force from `records`, latest first. `serving` returns the digest that the service runs, "" for none.

    It is the image proven last that the repository still contains. The image of the state stays if it is that one, if none
    was proven and it has not failed, or if somebody released it by other means, so that it serves.
    """
    stack = proven_releases(records[::-1])
    if stack and stack[-1].begun.digest == applied:
        return _unchanged(applied, "which the state names, and which was proven last")
    last = next((record for record in records if _has_applied(record)), None)
    if last is None or (last.begun.digest != applied and serving() == applied):
        return _unchanged(applied, "which the state names; the ledger records no release of it")
    bad = f"the state names {applied}, {_end_of(last) if last.begun.digest == applied else 'which no release has applied'}"
    for record in reversed(stack):
        if is_pushed(record.begun.digest):
            proof = f"proven by the {record.begun.command} {url(record.name)}"
            return ImageInForce(
                digest=record.begun.digest, applied=applied, reason=f"which was proven last ({proof}); {bad}"
            )
    if last.begun.digest != applied or last.ended is None or last.ended.outcome in _SERVES:
        return _unchanged(applied, "which the state names; none was proven that the repository still has")
    return ImageInForce(
        digest=None, applied=applied, reason=f"since none was proven that the repository still has; {bad}"
    )


def is_service_gone(session: Session, state: State) -> bool:
    """Return whether somebody deleted the applied service; False if ECS cannot be asked."""
    try:
        _ecs(session, state).service()
    except ServiceGoneError:
        return True
    except KeyError:  # no outputs of ours
        return False
    except Exception as error:
        if not error_code(error):
            raise
    return False


def starts_an_image(plan: Plan) -> bool:
    """Return whether a plan creates or replaces a task definition or service, which then runs the planned image."""
    return any(
        change.type in _STARTING and change.action in (Action.CREATE, Action.REPLACE)
        for change in plan.resources
    )


def _unchanged(applied: str, reason: str) -> ImageInForce:
    return ImageInForce(digest=applied, applied=applied, reason=reason)


def _has_applied(record: Record) -> bool:
    """Return whether an attempt put its image into the state. Old records have no steps."""
    if record.begun.command not in _FORWARD or record.is_harmless:
        return False
    return not record.steps or record.begun.command == "continue" or record.last(APPLYING) is not None


def _end_of(record: Record) -> str:
    """Return why the image that an attempt applied is not in force."""
    command, ended = record.begun.command, record.ended
    if ended is None:
        return f"whose {command} has not ended"
    if record.is_proven:
        return "which was rolled back since it was proven"
    if ended.outcome in _SERVES:
        return f"which was not verified after its {command}"
    cause = f": {ended.cause}" if ended.cause else ""
    return f"whose {command} ended with {ended.outcome!r}{cause}"


def _serving_digest(session: Session, state: State) -> str:
    """Return the digest of the image that the service runs, "" without a service."""
    try:
        ecs = _ecs(session, state)
        runs = ecs.task_definition(ecs.service().task_definition_arn)
    except (KeyError, ConfigurationError):  # no outputs of ours, or nothing there any more
        return ""
    own = serving_container(runs, str(state.outputs.get("container_name")))
    return "" if own is None else str(own["image"]).rpartition("@")[2]


def _ecs(session: Session, state: State) -> Ecs:
    """Return the applied service; raise KeyError if the outputs name none."""
    return Ecs(
        session.aws, cluster=str(state.outputs["cluster_name"]), name=str(state.outputs["service_name"])
    )


def _is_pushed(session: Session, state: State, digest: str) -> bool:
    repository = state.outputs.get("repository_name")
    if not isinstance(repository, str):
        return True
    try:
        session.aws.ecr.describe_images(repositoryName=repository, imageIds=[{"imageDigest": digest}])
    except Exception as error:
        if error_code(error) not in ("ImageNotFoundException", "RepositoryNotFoundException"):
            raise
        return False
    return True
