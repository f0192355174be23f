"""The started deployment is identified among all deployments of the service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.errors import RolloutError
from mclass_tf.rollout import Patience, ServiceUpdate, StartedRollout, ongoing, start
from tests.unit.fake_service import (
    NEW,
    OLD,
    OTHER,
    Clock,
    FakeEcs,
    denied,
    deployment,
    event,
    service,
    service_deployment,
    throttled,
)

RUNNING_OLD = service(deployment(OLD, status="PRIMARY"), events=[event(1)])


def started(ecs: FakeEcs, clock: Clock, *, desired: int | None = None) -> StartedRollout:
    told: list[str] = []
    patience = Patience(report=told.append, clock=clock, wait=clock.wait)
    order = ServiceUpdate(task_definition_arn=NEW, desired=desired)
    return start(ecs, order, patience=patience, clock=clock, wait=clock.wait)


def test_the_deployment_is_the_one_that_was_not_there_before() -> None:
    earlier = service_deployment("earlier", status="SUCCESSFUL", seconds=-60)
    ecs = FakeEcs(RUNNING_OLD, listed=[earlier], revisions={"revision/own": NEW, "revision/earlier": NEW})
    ecs.on_change = lambda: ecs.listed.append(service_deployment())

    found = started(ecs, Clock())

    assert found.service_deployment_arn == service_deployment().arn
    assert found.seen == {"event-1"}
    assert ecs.calls == [("update", NEW, None, False)]


def test_somebody_elses_that_began_at_the_same_moment_is_not_ours() -> None:
    ecs = FakeEcs(RUNNING_OLD, revisions={"revision/own": NEW, "revision/theirs": OTHER})
    ecs.on_change = lambda: ecs.listed.extend([service_deployment(), service_deployment("theirs", seconds=1)])

    assert started(ecs, Clock()).service_deployment_arn == service_deployment().arn


def test_a_first_release_raises_the_desired_count() -> None:
    ecs = FakeEcs(RUNNING_OLD)
    ecs.on_change = lambda: ecs.listed.append(service_deployment())

    started(ecs, Clock(), desired=2)

    assert ecs.calls == [("update", NEW, 2, False)]


def test_a_deployment_of_the_same_task_definition_is_forced() -> None:
    ecs = FakeEcs(service(deployment(NEW, status="PRIMARY", state="FAILED")))
    ecs.on_change = lambda: ecs.listed.append(service_deployment())

    started(ecs, Clock())

    assert ecs.calls == [("update", NEW, None, True)]


def test_settings_added_just_before_the_update_override_the_others() -> None:
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()
    ecs.on_change = lambda: ecs.listed.append(service_deployment())
    own = {"deploymentConfiguration": {"strategy": "ROLLING", "maximumPercent": 200}}
    added = {"deploymentConfiguration": {"maximumPercent": 100}, "healthCheckGracePeriodSeconds": 300}
    calls_before: list[int] = []

    def before_update() -> Mapping[str, Any]:
        calls_before.append(len(ecs.calls))
        return added

    start(
        ecs,
        ServiceUpdate(task_definition_arn=NEW, desired=None, settings=own),
        patience=Patience(report=print, clock=clock, wait=clock.wait),
        before_update=before_update,
        clock=clock,
        wait=clock.wait,
    )

    settings = {
        "deploymentConfiguration": {"strategy": "ROLLING", "maximumPercent": 100},
        "healthCheckGracePeriodSeconds": 300,
    }
    assert ecs.calls == [("update", NEW, None, False, settings)]
    assert calls_before == [0]


def test_a_deployment_that_is_never_listed_is_an_error_after_a_minute() -> None:
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()
    began = clock.now

    with pytest.raises(RolloutError, match="no service deployment"):
        started(ecs, clock)

    assert 60 <= clock.now - began < 70


def test_throttling_at_the_start_is_survived() -> None:
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()
    refusals = [throttled(), throttled(), throttled()]

    def refuse() -> None:
        if refusals:
            raise refusals.pop()
        if not ecs.listed:
            ecs.listed.append(service_deployment())

    ecs.on_change = refuse

    assert started(ecs, clock).service_deployment_arn == service_deployment().arn
    assert len(ecs.calls) == 4


def test_the_watch_ends_if_aws_does_not_answer_for_half_a_minute() -> None:
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()

    def refuse() -> None:
        raise throttled()

    ecs.on_read = refuse
    began = clock.now

    with pytest.raises(RolloutError, match="has not answered"):
        started(ecs, clock)

    assert 30 <= clock.now - began < 40


def test_without_the_permission_to_list_deployments_nothing_is_started() -> None:
    ecs = FakeEcs(RUNNING_OLD)
    reads = iter([False, True])

    def refuse() -> None:
        if next(reads):
            raise denied("ListServiceDeployments")

    ecs.on_read = refuse

    with pytest.raises(ClientError):
        started(ecs, Clock())

    assert ecs.calls == []


@pytest.mark.parametrize("status", ["PENDING", "IN_PROGRESS", "ROLLBACK_IN_PROGRESS", "STOP_REQUESTED"])
def test_a_deployment_under_way_is_found(status: str) -> None:
    current = service_deployment(status=status)
    ecs = FakeEcs(RUNNING_OLD, listed=[service_deployment("a", status="SUCCESSFUL"), current])

    assert ongoing(ecs) == current


def test_a_service_at_rest_has_none() -> None:
    listed = [service_deployment(str(n), status=s) for n, s in enumerate(("SUCCESSFUL", "STOPPED"))]

    assert ongoing(FakeEcs(RUNNING_OLD, listed=listed)) is None


def _unassumable() -> ClientError:
    words = "ECS was unable to assume the role 'arn:aws:iam::1:role/new' that was provided for this service"
    answer: Any = {"Error": {"Code": "InvalidParameterException", "Message": words}}
    return ClientError(answer, "UpdateService")


def test_a_role_that_ecs_does_not_know_yet_is_waited_for() -> None:
    """A role that the apply has just made is unknown to ECS for some seconds."""
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()
    began = clock()

    def unknown_for_20_seconds() -> None:
        if clock() - began < 20:
            raise _unassumable()
        ecs.listed.append(service_deployment())

    ecs.on_change = unknown_for_20_seconds

    assert started(ecs, clock).service_deployment_arn == service_deployment().arn


def test_a_role_that_ecs_can_never_assume_is_reported_in_its_words_after_a_minute() -> None:
    ecs, clock = FakeEcs(RUNNING_OLD), Clock()
    began = clock()

    def never() -> None:
        raise _unassumable()

    ecs.on_change = never

    with pytest.raises(ClientError, match="unable to assume the role"):
        started(ecs, clock)
    assert 60 <= clock() - began <= 70
