"""DescribeServices may lag behind UpdateService: an earlier description decides nothing.

https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html (eventual consistency)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.release import _still_in_force
from mclass_tf.flows.rollback import _running_again
from mclass_tf.rollout import RolloutEnd, RolloutOutcome, StartedRollout, Watch
from mclass_tf.rollout.view import RolloutReading
from mclass_tf.service import Service
from tests.unit.fake_service import NEW, OLD, Clock, deployment, service, service_deployment
from tests.unit.flows.deployer.test_deploy import OUTPUTS, RUNNING_OLD, WATCHING, WithImages, deployer
from tests.unit.test_strategy import WIRED
from tests.unit.test_strategy import outputs as wired_outputs

RUNNING_NEW = service(deployment(NEW, status="PRIMARY"))
OURS = StartedRollout(
    service_deployment_arn=service_deployment().arn, task_definition_arn=NEW, seen=frozenset(), at=1000.0
)


class Lagging(WithImages):
    """Describes the service as it was before for some reads."""

    def __init__(self, before: Service, after: Service, *, reads: int = 5, **named: Any) -> None:
        super().__init__(before, **named)
        self._after = after
        self._left = reads

    def service(self) -> Service:
        self._left -= 1
        if self._left < 0:
            self.now = self._after
        return super().service()


def ended(outcome: RolloutOutcome, last: Service) -> RolloutEnd:
    reading = RolloutReading(deployment=service_deployment(), service=last, running=(), target_states={})
    return RolloutEnd(outcome=outcome, last=reading)


def test_a_rollout_that_has_just_begun_is_not_taken_for_superseded() -> None:
    own = service_deployment()
    watch = Watch(
        Lagging(RUNNING_OLD, RUNNING_NEW, own=own, listed=[own]), OURS, stall_after=100.0, clock=Clock()
    )

    for _ in range(10):
        watch.look()

    assert watch.end is None


def test_a_rollout_that_has_just_succeeded_is_not_taken_for_superseded() -> None:
    own = service_deployment(status="SUCCESSFUL")
    made = deployer(Lagging(RUNNING_OLD, RUNNING_NEW, own=own, listed=[own]))

    end = _still_in_force(made, ended(RolloutOutcome.SUCCEEDED, RUNNING_OLD), OURS)

    assert end.outcome is RolloutOutcome.SUCCEEDED


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_rollout_that_another_version_followed_is_superseded(*, is_listed: bool) -> None:
    """It is, even if ECS has forgotten the other deployment."""
    own, later = service_deployment(status="SUCCESSFUL"), service_deployment("later", seconds=5)
    made = deployer(WithImages(RUNNING_OLD, own=own, listed=[own, later] if is_listed else [own]))

    end = _still_in_force(made, ended(RolloutOutcome.SUCCEEDED, RUNNING_OLD), OURS)

    assert (end.outcome, end.by) == (RolloutOutcome.SUPERSEDED, later if is_listed else None)


def test_what_runs_again_after_a_rollback_is_what_ran_before() -> None:
    end = ended(RolloutOutcome.ROLLED_BACK, RUNNING_NEW)
    made = deployer(Lagging(RUNNING_NEW, RUNNING_OLD))

    assert _running_again(made, end, (OLD,)) == OLD
    assert _running_again(made, end, ()) == NEW, "ECS has not said what ran before"


def test_a_service_that_was_just_wired_is_not_wired_again(monkeypatch: pytest.MonkeyPatch) -> None:
    unwired = replace(WIRED, load_balancers=())
    made = deployer(Lagging(unwired, WIRED, listed=[service_deployment(status="SUCCESSFUL")]))
    outputs = wired_outputs(**vars(OUTPUTS))
    made = replace(made, outputs=outputs)
    monkeypatch.setattr("mclass_tf.rollout.start", lambda *_, **__: OURS)
    monkeypatch.setattr(Deployer, "follow", lambda *_, **__: ended(RolloutOutcome.SUCCEEDED, unwired))
    monkeypatch.setattr("mclass_tf.flows.deployer.deploy.wiring_settings", lambda *_, **__: {})

    found = made.wire(unwired, WATCHING, None)  # type: ignore[arg-type]

    assert found.load_balancers == WIRED.load_balancers
