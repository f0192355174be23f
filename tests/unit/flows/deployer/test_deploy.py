"""The decisions of a release: what it starts, adopts or refuses, and the errors of unsuccessful rollouts."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf import flows, rollout, verify
from mclass_tf.analysis import FAILED
from mclass_tf.aws import Aws
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import (
    DeploymentInProgressError,
    RevisionGoneError,
    RolledBackError,
    RolloutError,
    RolloutStoppedError,
    ServesWorseError,
    StalledError,
    SupersededError,
)
from mclass_tf.flows.attempt import Attempt, recorded
from mclass_tf.flows.deployer.deploy import Deployer, WatchOptions
from mclass_tf.flows.deployer.scaling import set_scaling_minimum
from mclass_tf.flows.release import require_free, require_not_worse, runs, start_or_adopt
from mclass_tf.ledger import AnalysisResult, VersionCounts
from mclass_tf.rollout import Patience, RolloutEnd, RolloutOutcome
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import Ecs
from tests.unit.fake_service import (
    BEGAN,
    DIGEST,
    NEW,
    OLD,
    OTHER,
    Clock,
    FakeEcs,
    deployment,
    service,
    service_deployment,
    task,
)
from tests.unit.flows.test_resume import Book, record

OUTPUTS = cast(
    "verify.Outputs",
    SimpleNamespace(
        autoscaling={"min": 1, "max": 3},
        cluster_name="mclass-cluster",
        container_name="mclass-server",
        container_port=3000,
        desired_count=2,
        image_digest=DIGEST,
        log_group_name="/ecs/mclass-task",
        service_name="mclass-service",
        task_definition_arn=NEW,
    ),
)
WATCHING = WatchOptions(show=lambda _: None, on_interrupt=flows.detach_on_interrupt, stall_after=60.0)
RUNNING_OLD = service(deployment(OLD, status="PRIMARY"))
EMPTY = replace(service(deployment(OLD, status="PRIMARY", desired=0, running=0)), desired=0)


class FakeScaling:
    def __init__(self, minimum: int) -> None:
        self.minimum = minimum
        self.registered: list[Mapping[str, Any]] = []

    def describe_scalable_targets(self, **_: Any) -> Mapping[str, Any]:
        return {"ScalableTargets": [{"MinCapacity": self.minimum}]}

    def register_scalable_target(self, **request: Any) -> None:
        self.registered.append(request)


class WithImages(FakeEcs):
    """A fake ECS with the images of task definitions; the old one has the placeholder."""

    def task_definition(self, reference: str) -> Mapping[str, Any]:
        digest = verify.PLACEHOLDER if reference == OLD else DIGEST
        return {"containerDefinitions": [{"name": "mclass-server", "image": f"repository@{digest}"}]}


@dataclass
class Forgetful(WithImages):
    """A fake ECS that no longer has one service revision."""

    gone: str = ""

    def revision_task_definition(self, arn: str, /) -> str:
        if arn == self.gone:
            raise RevisionGoneError(f"ECS no longer has {arn}")
        return super().revision_task_definition(arn)


def deployer(ecs: FakeEcs, *, scaling: FakeScaling | None = None) -> Deployer:
    clock = Clock()
    session = SimpleNamespace(
        environment=SimpleNamespace(name="dev", release=ReleaseSettings()),
        aws=cast("Aws", SimpleNamespace(autoscaling=scaling)),
        report=lambda _: None,
    )
    return Deployer(
        session=cast("Any", session),
        outputs=OUTPUTS,
        ecs=cast("Ecs", ecs),
        patience=Patience(report=lambda _: None, clock=clock, wait=clock.wait),
    )


def end(outcome: RolloutOutcome, *, by: Any = None) -> RolloutEnd:
    last = RolloutReading(deployment=service_deployment(), service=RUNNING_OLD, running=(), target_states={})
    return RolloutEnd(outcome=outcome, last=last, by=by)


def failed(
    ecs: FakeEcs, outcome: RolloutOutcome, *, reset_to: int | None = None, by: Any = None
) -> RolloutError:
    with pytest.raises(RolloutError) as caught:
        deployer(ecs).require_success(
            end(outcome, by=by), WATCHING, task_definition_arn=NEW, reset_to=reset_to
        )
    assert caught.value.exit_code == 6
    assert caught.value.cause
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("outcome", "kind", "told"),
    [
        (RolloutOutcome.ROLLED_BACK, RolledBackError, "the release to dev failed; ECS rolled it back"),
        (RolloutOutcome.ROLLBACK_FAILED, RolledBackError, "could not go back to what ran before"),
        (RolloutOutcome.STOPPED, RolloutStoppedError, "was stopped"),
        (RolloutOutcome.STALLED, StalledError, "nothing has moved in dev for 60 s"),
    ],
)
def test_each_unsuccessful_end_is_its_own_error_with_cause_and_next_step(
    outcome: RolloutOutcome, kind: type[RolloutError], told: str
) -> None:
    ecs = FakeEcs(RUNNING_OLD)
    ecs.stopped = [
        task("a", stopped_reason="Essential container in task exited", exit_code=3),
        task("b", OLD, stopped_reason="Essential container in task exited", exit_code=9),
    ]

    error = failed(ecs, outcome)

    assert type(error) is kind
    assert told in error.message
    assert "1 task failed: the container mclass-server exited with 3" in error.cause
    assert ecs.calls == []


def test_the_superseding_deployment_is_named() -> None:
    ecs = FakeEcs(RUNNING_OLD, revisions={"revision/later": OTHER})

    error = failed(ecs, RolloutOutcome.SUPERSEDED, reset_to=0, by=service_deployment("later", seconds=5))

    assert type(error) is SupersededError
    assert "mclass-task:3 was deployed meanwhile" in error.cause
    assert ecs.calls == [], "the service is theirs now"


def test_somebody_elses_deployment_that_inherits_our_pause_is_reported() -> None:
    paused = {"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}]}
    ecs = FakeEcs(replace(RUNNING_OLD, configuration=paused), revisions={"revision/later": OTHER})

    error = failed(ecs, RolloutOutcome.SUPERSEDED, by=service_deployment("later", seconds=5))

    assert "`continue dev` lets it go on" in error.hint


def test_a_first_release_that_fails_puts_the_service_back_and_says_so() -> None:
    ecs = FakeEcs(RUNNING_OLD)

    error = failed(ecs, RolloutOutcome.STALLED, reset_to=0)

    assert error.message.endswith("; the service is back at 0 tasks")
    assert ecs.calls == [("update", None, 0, False)]


def test_what_serves_though_it_did_worse_is_an_error_and_not_proven() -> None:
    attempt = Attempt(record="", digest=DIGEST, revision="", started_at=BEGAN)
    nothing = VersionCounts(requests=0, errors=0)
    attempt.analysis = AnalysisResult(verdict=FAILED, reason="new 20.0 % failed", new=nothing, old=nothing)

    with pytest.raises(ServesWorseError, match=r"new version serves.* new 20.0 % failed") as caught:
        deployer(FakeEcs(RUNNING_OLD)).require_success(
            end(RolloutOutcome.SUCCEEDED),
            WATCHING,
            task_definition_arn=NEW,
            reset_to=None,
            attempt=attempt,
        )
    attempt.failed(caught.value)

    assert caught.value.exit_code == 6
    assert "`rollback dev`" in caught.value.hint
    assert (attempt.outcome, attempt.is_verified) == ("worse", False)


def test_a_throttled_question_about_a_task_definition_is_asked_again() -> None:
    class Throttled(WithImages):
        refusals = 2

        def task_definition(self, reference: str) -> Mapping[str, Any]:
            self.refusals -= 1
            if self.refusals >= 0:
                raise ClientError({"Error": {"Code": "ThrottlingException"}}, "DescribeTaskDefinition")
            return super().task_definition(reference)

    assert deployer(Throttled(RUNNING_OLD)).image_of(NEW) == f"repository@{DIGEST}"


def test_success_is_no_error() -> None:
    deployer(FakeEcs(RUNNING_OLD)).require_success(
        end(RolloutOutcome.SUCCEEDED), WATCHING, task_definition_arn=NEW, reset_to=0
    )


@pytest.mark.parametrize(("minimum", "changes"), [(0, True), (1, False)])
def test_the_scalings_minimum_is_registered_where_it_differs(*, minimum: int, changes: bool) -> None:
    scaling = FakeScaling(minimum)

    set_scaling_minimum(deployer(FakeEcs(RUNNING_OLD), scaling=scaling))

    assert [request["MinCapacity"] for request in scaling.registered] == ([1] if changes else [])


def test_a_service_at_rest_is_free() -> None:
    require_free(deployer(FakeEcs(RUNNING_OLD)), DIGEST)


@pytest.mark.parametrize(
    ("revision", "status", "digest"),
    [
        (OTHER, "IN_PROGRESS", DIGEST),
        (NEW, "ROLLBACK_IN_PROGRESS", DIGEST),
        (NEW, "IN_PROGRESS", "sha256:" + "b" * 64),
    ],
)
def test_somebody_elses_deployment_is_refused(revision: str, status: str, digest: str) -> None:
    current = service_deployment(status=status)
    ecs = FakeEcs(RUNNING_OLD, own=current, listed=[current], revisions={"revision/own": revision})

    with pytest.raises(DeploymentInProgressError, match="in dev since 2026-11-23") as caught:
        require_free(deployer(ecs), digest)

    assert caught.value.exit_code == 5
    assert "`rollback dev`" in caught.value.hint


def test_a_deployment_of_the_same_image_may_be_adopted() -> None:
    current = service_deployment()
    require_free(deployer(FakeEcs(RUNNING_OLD, own=current, listed=[current])), DIGEST)


def test_a_deployment_of_what_was_applied_is_adopted_and_not_started_again() -> None:
    current = replace(service_deployment(), source_revision_arns=("revision/old",))
    ecs = WithImages(RUNNING_OLD, own=current, listed=[current])
    ecs.revisions["revision/old"] = OLD

    begun, reset_to = start_or_adopt(deployer(ecs), current, service=RUNNING_OLD, before=RUNNING_OLD)

    assert begun.service_deployment_arn == current.arn
    assert ecs.calls == []
    assert reset_to == 0, "it came from nothing that could run"


@pytest.mark.parametrize(
    ("sources", "is_known"),
    [((), False), (("revision/placeholder",), True), (("revision/placeholder", "revision/own"), False)],
)
def test_only_known_placeholders_count_as_nothing_ran_before(
    *, sources: tuple[str, ...], is_known: bool
) -> None:
    current = replace(service_deployment(), source_revision_arns=sources)
    revisions = {"revision/own": NEW, "revision/placeholder": OLD}
    ecs = WithImages(RUNNING_OLD, own=current, listed=[current], revisions=revisions)

    assert deployer(ecs).replaces_only_placeholder(current) is is_known


@pytest.mark.parametrize("gone", ["revision/placeholder", "revision/before"])
def test_a_source_that_ecs_no_longer_has_leaves_unknown_what_ran_before(gone: str) -> None:
    """Otherwise the rest, a placeholder, would be taken for all that ran, and the service be scaled to 0."""
    current = replace(service_deployment(), source_revision_arns=("revision/placeholder", "revision/before"))
    revisions = {"revision/own": NEW, "revision/before": OTHER, "revision/placeholder": OLD}
    ecs = Forgetful(RUNNING_OLD, own=current, listed=[current], revisions=revisions, gone=gone)

    assert deployer(ecs).sources_of(current) == ()
    assert not deployer(ecs).replaces_only_placeholder(current)
    assert start_or_adopt(deployer(ecs), current, service=RUNNING_OLD, before=RUNNING_OLD)[1] is None


def test_nothing_is_started_over_a_redeployment_of_what_ran_before() -> None:
    own = service_deployment("apply", status="IN_PROGRESS")
    ecs = WithImages(RUNNING_OLD, listed=[own], revisions={"revision/apply": OLD})

    with pytest.raises(DeploymentInProgressError):
        start_or_adopt(deployer(ecs), own, service=RUNNING_OLD, before=RUNNING_OLD)

    assert ecs.calls == []


def test_a_deployment_that_somebody_began_during_the_apply_is_refused() -> None:
    current = service_deployment()
    ecs = WithImages(RUNNING_OLD, listed=[current], revisions={"revision/own": OTHER})

    with pytest.raises(DeploymentInProgressError):
        start_or_adopt(deployer(ecs), current, service=RUNNING_OLD, before=RUNNING_OLD)

    assert ecs.calls == []


def test_a_service_at_0_is_raised_and_goes_back_to_0_should_it_fail() -> None:
    ecs = WithImages(EMPTY)
    ecs.on_change = lambda: ecs.listed.append(service_deployment())

    _, reset_to = start_or_adopt(deployer(ecs), None, service=EMPTY, before=EMPTY)

    assert ecs.calls == [("update", NEW, 2, False)]
    assert reset_to == 0


@pytest.mark.parametrize(
    ("found", "is_running"),
    [
        (service(deployment(NEW, status="PRIMARY")), True),
        (service(deployment(OLD, status="PRIMARY")), False),
        (service(deployment(NEW, status="PRIMARY", state="IN_PROGRESS")), False),
        (service(deployment(NEW, status="PRIMARY", state="FAILED")), False),
        (service(deployment(NEW, status="PRIMARY"), desired=0), False),
        (service(deployment(NEW)), False),
    ],
)
def test_a_service_runs_what_its_primary_deployment_has_completed(*, found: Any, is_running: bool) -> None:
    assert runs(found, NEW) is is_running


def test_the_rollouts_package_gives_what_callers_need() -> None:
    assert rollout.Choice.DETACH is flows.Choice.DETACH


def test_what_did_worse_is_no_better_for_being_released_again() -> None:
    book = Book()
    made = replace(deployer(FakeEcs(RUNNING_OLD)), session=book.session)
    attempted(book, "worse", minute=0)
    with pytest.raises(ServesWorseError, match=r"new version serves.*because of it"):
        require_not_worse(made, NEW)

    attempted(book, "refused", minute=1, arn="")
    with pytest.raises(ServesWorseError):
        require_not_worse(made, NEW)

    attempted(book, "released", minute=2)  # after a rollback, and compared again
    require_not_worse(made, NEW)


def attempted(book: Book, outcome: str, *, minute: int, arn: str = NEW) -> None:
    at = (BEGAN + dt.timedelta(minutes=minute)).isoformat()
    with recorded(book.session, replace(record().begun, at=at)) as attempt:
        attempt.outcome, attempt.cause, attempt.task_definition_arn = outcome, "because of it", arn
