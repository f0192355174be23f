"""`promote`: releases an image that another environment has proven, by digest, without a new build."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from mclass_tf import image, verify
from mclass_tf.errors import Hint, InterruptedByUserError, PromotionRefusedError
from mclass_tf.flows.attempt import new_record, recorded
from mclass_tf.flows.deployer.deploy import Deployer, OnInterrupt, Show, WatchOptions
from mclass_tf.flows.differences import Difference, EnvironmentSide, differences
from mclass_tf.flows.environments import Confirm, Planned, applied_state, find_terraform_in_background
from mclass_tf.flows.proof import ProvenImage, require_proven_image, serving_digest
from mclass_tf.flows.release import (
    UNCHANGED,
    Released,
    ReleaseRequest,
    detach_on_interrupt,
    ignore_plan,
    plan_apply_and_roll_out,
    require_free,
    require_not_worse,
    result,
    runs,
)
from mclass_tf.flows.scans import ScanReport
from mclass_tf.ledger import Origin
from mclass_tf.rollout import BeforeUpdate
from mclass_tf.session import Session
from mclass_tf.terraform_state import State


def _ignore_differences(_: Sequence[Difference]) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class PromotionDisplay:
    """Callbacks that show the differences of the environments, the plan, and each change of the rollout."""

    rollout: Show
    plan: Callable[[Planned], None] = ignore_plan
    differences: Callable[[Sequence[Difference]], None] = _ignore_differences


@dataclass(frozen=True, kw_only=True)
class Promoted:
    """The result of a promotion: the release, its origin, the bytes of blobs sent, and the findings of the scan that count."""

    released: Released
    origin: Origin | None
    sent: int
    scan: ScanReport = field(default_factory=ScanReport)


def promote(
    source: Session,
    session: Session,
    *,
    confirm: Confirm,
    shown: PromotionDisplay,
    on_interrupt: OnInterrupt = detach_on_interrupt,
    stall_after: float | None = None,
    pause_at: tuple[str, ...] = (),
    before_update: BeforeUpdate = dict,
) -> Promoted:
    """Release the image that serves in `source`'s environment in `session`'s, and return when it serves.

    Raises PromotionRefusedError (exit 5) if it is not proven or must not be promoted there, LeaseHeldError (5) if another
    command is at work there, NoImageError (3) if the image is gone, and what `release` raises. After any failure the old
    version still serves.
    """
    require_path(source, session)
    find_terraform_in_background(session)
    states = applied_state(source), applied_state(session)
    origin = Deployer.of(source, verify.Outputs.parse(states[0].outputs))
    outputs = verify.Outputs.parse(states[1].outputs)
    deployer = Deployer.of(session, outputs, before_update=before_update)
    source.aws.warm()
    session.aws.warm()
    digest = serving_digest(origin)
    watching = WatchOptions(
        show=shown.rollout, on_interrupt=on_interrupt, stall_after=stall_after, pause_at=pause_at
    )
    with deployer.holding_lease(command="promote", digest=digest) as deployer:
        if arn := _serving_task_definition(deployer, digest):
            return _unchanged(deployer, digest, task_definition_arn=arn)
        require_free(deployer, digest)
        source_image = require_proven_image(origin, session.environment, digest=digest)
        sides = _side(origin, states[0]), _side(deployer, states[1])
        shown.differences(differences(*sides, root=session.workspace.root))
        request = ReleaseRequest(
            command="promote",
            digest=digest,
            revision=source_image.revision,
            promoted_from=source_image.origin,
        )
        with _copying(origin, deployer, source_image) as copied:  # while Terraform plans
            released = plan_apply_and_roll_out(
                deployer, request, watching, confirm=confirm, show_plan=shown.plan, arrive=copied.result
            )
    return Promoted(
        released=released,
        origin=source_image.origin,
        sent=copied.result().sent,
        scan=source_image.scan,
    )


def require_path(source: Session, session: Session) -> None:
    """Raise PromotionRefusedError unless the environment's `promotes_from` names the source."""
    origin, name = source.environment.name, session.environment.name
    allowed = session.environment.promotes_from
    if allowed == origin:
        return
    takes = f"takes its releases from {allowed}" if allowed else "takes releases from no environment"
    usual = Hint("promote from there: ", ("promote", allowed, name), "; ") if allowed else ""
    raise PromotionRefusedError(
        f"{name} {takes}, not from {origin}; nothing was changed",
        hint=Hint(usual, f'promotes_from = "{origin}" in environments/{name}/environment.toml lets it'),
    )


def _serving_task_definition(deployer: Deployer, digest: str) -> str:
    """Return the task definition in which the image already serves; "" if it does not, or a deployment is under way."""
    arn = deployer.service().task_definition_arn
    if deployer.image_of(arn).rpartition("@")[2] != digest or deployer.ongoing() is not None:
        return ""
    return arn if runs(deployer.service(), arn) else ""


def _unchanged(deployer: Deployer, digest: str, *, task_definition_arn: str) -> Promoted:
    session = deployer.session
    with recorded(session, new_record(session, command="promote", digest=digest)) as attempt:
        attempt.task_definition_arn = task_definition_arn
        attempt.outcome = UNCHANGED
        require_not_worse(deployer, task_definition_arn)
        report = deployer.prove(attempt, digest=digest)
    return Promoted(released=result(session, attempt, report), origin=None, sent=0)


@contextmanager
def _copying(
    origin: Deployer, deployer: Deployer, source_image: ProvenImage
) -> Iterator[Future[image.CopyResult]]:
    """Copy the image in the background. An error in this context stops the copy before its next blob."""
    session = deployer.session
    session.report(
        f"copying {source_image.digest} from {source_image.origin.environment} to {session.environment.name}"
    )
    over = threading.Event()

    def before_blob() -> None:
        if over.is_set():
            raise InterruptedByUserError("the image was not copied", hint="promote again")

    def copy() -> image.CopyResult:
        return image.copy(
            _registry(origin),
            _registry(deployer),
            digest=source_image.digest,
            tags=source_image.tags,
            folder=session.project.home,
            before_blob=before_blob,
        )

    with ThreadPoolExecutor(1, thread_name_prefix="copy") as pool:
        try:
            yield pool.submit(copy)
        finally:
            over.set()


def _registry(deployer: Deployer) -> image.Registry:
    session = deployer.session
    return image.Registry(
        image.log_in(session.aws),
        deployer.outputs.repository_name,
        environment=session.environment.name,
        report=session.report,
    )


def _side(deployer: Deployer, state: State) -> EnvironmentSide:
    """Return the inputs and outputs of an environment. Its image is the one that serves, not the one applied last."""
    serves = deployer.image_of(deployer.service().task_definition_arn).rpartition("@")[2]
    image = {} if serves == verify.PLACEHOLDER else {"image_digest": serves}
    outputs = {name: value for name, value in state.shown.items() if name != "image_digest"}
    return EnvironmentSide(environment=deployer.session.environment, outputs={**outputs, **image})
