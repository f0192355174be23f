"""The redeployment that an apply starts: when one is due, and that a release waits for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mclass_tf.errors import DeploymentInProgressError, RolledBackError
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.deployer.redeployment import await_listing, known_deployments, redeploys
from mclass_tf.flows.release import _settled
from mclass_tf.plan import Action, AttributeChange, Plan, ResourceChange
from mclass_tf.rollout import RolloutEnd, RolloutOutcome, StartedRollout
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import ServiceDeployment
from tests.unit.fake_service import NEW, OLD, OTHER, service_deployment
from tests.unit.flows.deployer.test_deploy import RUNNING_OLD, WATCHING, WithImages, deployer

APPLY = service_deployment("apply")


def plan(*paths: str, kind: str = "aws_ecs_service", action: Action = Action.UPDATE) -> Plan:
    attributes = tuple(
        AttributeChange(path=path, before="1", after="2", forces_replacement=False) for path in paths
    )
    change = ResourceChange(address="a", type=kind, action=action, create_first=False, attributes=attributes)
    return Plan(document={}, resources=(change,), outputs=())


@pytest.mark.parametrize(
    "path", ["health_check_grace_period_seconds", "deployment_circuit_breaker[0].enable", "propagate_tags"]
)
def test_a_change_of_the_service_in_place_redeploys_what_runs(path: str) -> None:
    assert redeploys(plan(path))
    assert redeploys(plan("tags.team", path))


@pytest.mark.parametrize(
    "unchanged",
    [
        plan("tags.team", "tags_all.team"),
        plan("cpu", kind="aws_ecs_task_definition", action=Action.REPLACE),
        plan("name", action=Action.CREATE),
        Plan(document={}, resources=(), outputs=()),
    ],
)
def test_other_changes_redeploy_nothing(unchanged: Plan) -> None:
    assert not redeploys(unchanged)


def test_a_redeployment_that_ecs_lists_late_is_waited_for() -> None:
    ecs = WithImages(RUNNING_OLD)
    made = deployer(ecs)
    known = known_deployments(made)
    reads = iter(range(100))

    def list_it() -> None:
        if next(reads) == 5:
            ecs.listed.append(APPLY)

    ecs.on_read = list_it
    await_listing(made, known=known)

    assert made.ongoing() == APPLY


def test_the_wait_for_a_redeployment_has_an_end() -> None:
    made = deployer(WithImages(RUNNING_OLD))
    await_listing(made, known=known_deployments(made))

    assert 60 <= made.patience.clock() - 1000 < 70


def end_when_followed(
    monkeypatch: pytest.MonkeyPatch, ecs: WithImages, outcome: RolloutOutcome = RolloutOutcome.SUCCEEDED
) -> list[str]:
    """End a deployment as soon as it is followed; return the ARNs of those that were."""
    arns: list[str] = []

    def follow(
        _: Deployer, started: StartedRollout, *__: Any, reset_to: int | None, **___: Any
    ) -> RolloutEnd:
        assert reset_to is None
        arns.append(started.service_deployment_arn)
        ecs.listed = [replace(each, status="SUCCESSFUL") for each in ecs.listed]
        last = RolloutReading(deployment=APPLY, service=RUNNING_OLD, running=(), target_states={})
        return RolloutEnd(outcome=outcome, last=last)

    monkeypatch.setattr(Deployer, "follow", follow)
    return arns


def under_way(revision: str, *, status: str = "IN_PROGRESS") -> WithImages:
    current: ServiceDeployment = replace(APPLY, status=status)
    return WithImages(RUNNING_OLD, listed=[current], revisions={APPLY.target_revision_arn: revision})


def settled(ecs: WithImages) -> ServiceDeployment | None:
    made = deployer(ecs)
    made.session.aws.now = lambda: APPLY.created_at  # type: ignore[method-assign]
    return _settled(made, WATCHING, before=RUNNING_OLD)[1]


def test_a_release_waits_for_the_redeployment_of_its_own_apply(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = under_way(OLD)
    followed = end_when_followed(monkeypatch, ecs)

    assert settled(ecs) is None
    assert followed == [APPLY.arn]
    assert ecs.calls == []


def test_a_redeployment_that_fails_ends_the_release(monkeypatch: pytest.MonkeyPatch) -> None:
    ecs = under_way(OLD)
    end_when_followed(monkeypatch, ecs, RolloutOutcome.ROLLED_BACK)

    with pytest.raises(RolledBackError):
        settled(ecs)
    assert ecs.calls == []


def test_a_deployment_of_what_was_applied_is_adopted_and_not_waited_for() -> None:
    assert settled(under_way(NEW)) == APPLY


def test_somebody_elses_deployment_is_refused() -> None:
    with pytest.raises(DeploymentInProgressError):
        settled(under_way(OTHER))
