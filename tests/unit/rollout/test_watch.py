"""A rollout is watched by its own service deployment, and each of its possible ends is distinguished."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

import pytest
from botocore.exceptions import ClientError, UnauthorizedSSOTokenError

from mclass_tf.errors import RolloutError
from mclass_tf.rollout import LOCAL, ON_AWS, Cadence, EcsClient, RolloutOutcome, StartedRollout, Watch
from mclass_tf.rollout.client import SIGN_IN_PATIENCE
from mclass_tf.service import Service, ServiceDeployment, Task
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
    task,
    throttled,
)

IN_PROGRESS = service(
    deployment(NEW, status="PRIMARY", running=0, state="IN_PROGRESS"), deployment(OLD, running=2)
)
DONE = service(deployment(NEW, status="PRIMARY", running=2))


def started(*seen: str) -> StartedRollout:
    own = service_deployment().arn
    return StartedRollout(
        service_deployment_arn=own, task_definition_arn=NEW, seen=frozenset(seen), at=1000.0
    )


def watch(ecs: FakeEcs, clock: Clock, *seen: str, stall_after: float = 100.0) -> Watch:
    return Watch(ecs, started(*seen), stall_after=stall_after, clock=clock)


def test_a_view_tells_the_tasks_of_each_revision_and_which_of_them_are_healthy_targets() -> None:
    ecs = FakeEcs(service(deployment(NEW, status="PRIMARY", running=1), deployment(OLD, running=2)))
    ecs.running = [task("a", NEW, address="10.0.0.1"), task("b", OLD, address="10.0.0.2"), task("c", OLD)]
    ecs.states = {"10.0.0.1": "initial", "10.0.0.2": "healthy", "10.0.0.9": "healthy"}

    view = watch(ecs, Clock()).look()

    assert view is not None
    new, old = view.tasks
    assert (new.is_new, new.running, new.desired, new.healthy) == (True, 1, 2, 0)
    assert (old.is_new, old.running, old.healthy) == (False, 2, 1)


@pytest.mark.parametrize(
    ("running", "healthy", "old", "stage"),
    [
        (1, 0, 2, "starting new tasks"),
        (2, 1, 2, "waiting for health"),
        (2, 2, 1, "draining old tasks"),
        (2, 2, 0, "draining old tasks"),
        (2, 2, None, "settling"),
    ],
)
def test_the_stage_of_a_rolling_update_is_shown_in_words(
    running: int, healthy: int, old: int | None, stage: str
) -> None:
    others = [] if old is None else [deployment(OLD, running=old)]
    ecs = FakeEcs(service(deployment(NEW, status="PRIMARY", running=running), *others))
    ecs.running = [task(str(n), NEW, address=f"10.0.0.{n}") for n in range(running)]
    ecs.states = {f"10.0.0.{n}": "healthy" for n in range(healthy)}

    view = watch(ecs, Clock()).look()

    assert view is not None
    assert view.stage == stage


def test_a_stage_of_ecs_is_shown_whether_known_or_not() -> None:
    ecs = FakeEcs(IN_PROGRESS, own=replace(service_deployment(), stage="SOME_NEW_STAGE"))

    view = watch(ecs, Clock()).look()

    assert view is not None
    assert view.stage == "some new stage"


@pytest.mark.parametrize(("production", "stage"), [(None, "starting new tasks"), (0.0, "scale up")])
def test_the_long_stage_of_a_rolling_update_is_derived_from_its_tasks(
    production: float | None, stage: str
) -> None:
    own = replace(service_deployment(), stage="SCALE_UP", production=production)

    view = watch(FakeEcs(IN_PROGRESS, own=own), Clock()).look()

    assert view is not None
    assert view.stage == stage


def test_nothing_is_shown_while_nothing_changes() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock)
    assert watching.look() is not None

    clock.wait(1)
    assert watching.look() is None

    ecs.now = service(deployment(NEW, status="PRIMARY", running=1), deployment(OLD))
    assert watching.look() is not None


def test_each_event_is_shown_once_and_earlier_events_are_not() -> None:
    ecs = FakeEcs(replace(IN_PROGRESS, events=(event(1), event(2))))
    watching = watch(ecs, Clock(), "event-1")

    first = watching.look()
    ecs.now = replace(IN_PROGRESS, events=(event(1), event(2), event(3)))
    second = watching.look()

    assert first is not None
    assert second is not None
    assert [each.id for each in first.events] == ["event-2"]
    assert [each.id for each in second.events] == ["event-3"]
    assert [each.id for each in watching.events] == ["event-2", "event-3"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("SUCCESSFUL", RolloutOutcome.SUCCEEDED),
        ("ROLLBACK_SUCCESSFUL", RolloutOutcome.ROLLED_BACK),
        ("ROLLBACK_FAILED", RolloutOutcome.ROLLBACK_FAILED),
        ("STOPPED", RolloutOutcome.STOPPED),
    ],
)
def test_the_final_statuses_of_ecs_are_distinguished(status: str, outcome: RolloutOutcome) -> None:
    ecs = FakeEcs(DONE, own=service_deployment(status=status))
    watching = watch(ecs, Clock())

    watching.look()

    assert watching.end is not None
    assert watching.end.outcome is outcome


@pytest.mark.parametrize(
    "status",
    ["PENDING", "IN_PROGRESS", "STOP_REQUESTED", "ROLLBACK_REQUESTED", "ROLLBACK_IN_PROGRESS", "UNHEARD_OF"],
)
def test_an_unfinished_deployment_is_still_watched(status: str) -> None:
    watching = watch(FakeEcs(DONE, own=service_deployment(status=status)), Clock())

    watching.look()

    assert watching.end is None


@pytest.mark.parametrize("status", ["IN_PROGRESS", "STOP_REQUESTED", "STOPPED"])
def test_a_later_deployment_of_somebody_else_supersedes(status: str) -> None:
    later = service_deployment("later", seconds=5)
    own = service_deployment(status=status)
    ecs = FakeEcs(service(deployment(OTHER, status="PRIMARY")), own=own, listed=[own, later])
    watching = watch(ecs, Clock())

    watching.look()

    assert watching.end is not None
    assert watching.end.outcome is RolloutOutcome.SUPERSEDED
    assert watching.end.by == later


def test_the_same_revision_deployed_anew_by_somebody_else_supersedes_too() -> None:
    own, later = service_deployment(status="STOPPED"), service_deployment("later", seconds=5)
    watching = watch(FakeEcs(DONE, own=own, listed=[own, later]), Clock())

    watching.look()

    assert watching.end is not None
    assert watching.end.outcome is RolloutOutcome.SUPERSEDED


def test_ecs_returning_to_the_old_revision_is_a_rollback_and_not_somebody_elses_deployment() -> None:
    own = service_deployment(status="ROLLBACK_IN_PROGRESS")
    earlier = service_deployment("earlier", status="SUCCESSFUL", seconds=-60)
    back = service(deployment(OLD, status="PRIMARY", state="IN_PROGRESS"), deployment(NEW, running=0))
    watching = watch(FakeEcs(back, own=own, listed=[own, earlier]), Clock())

    view = watching.look()

    assert view is not None
    assert view.stage == "rolling back"
    assert watching.end is None
    assert watching.is_rolling_back


def test_a_rollout_without_progress_for_too_long_has_stalled() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock, stall_after=60)
    watching.look()

    clock.wait(59)
    watching.look()
    assert watching.end is None

    clock.wait(1)
    watching.look()
    assert watching.end is not None
    assert watching.end.outcome is RolloutOutcome.STALLED


def test_progress_gives_it_time_anew() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock, stall_after=60)
    watching.look()

    clock.wait(59)
    ecs.now = service(deployment(NEW, status="PRIMARY", running=1), deployment(OLD))
    watching.look()
    clock.wait(59)
    watching.look()

    assert watching.end is None


def test_a_task_that_comes_and_goes_is_no_progress() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock, stall_after=60)
    for running in (1, 0, 1, 0, 1):
        ecs.now = service(deployment(NEW, status="PRIMARY", running=running), deployment(OLD))
        watching.look()
        clock.wait(20)

    watching.look()

    assert watching.end is not None
    assert watching.end.outcome is RolloutOutcome.STALLED


def test_failures_that_the_circuit_breaker_counts_are_progress_towards_its_decision() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock, stall_after=60)
    for failures in range(5):
        ecs.becomes("IN_PROGRESS", failures=failures)
        watching.look()
        clock.wait(50)

    assert watching.end is None


def test_throttling_is_reported_once_and_retried_more_slowly() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock)
    watching.look()
    usual = watching.pause

    def refuse() -> None:
        raise throttled()

    ecs.on_read = refuse
    told = watching.look()
    assert told is not None
    assert "Rate exceeded" in told.notice
    assert watching.look() is None
    assert watching.pause > usual

    ecs.on_read = lambda: None
    again = watching.look()
    assert again is not None
    assert not again.notice
    assert watching.pause == usual


def test_after_half_a_minute_without_an_answer_the_watch_ends_and_says_that_ecs_continues() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock)

    def refuse() -> None:
        raise throttled()

    ecs.on_read = refuse
    watching.look()
    clock.wait(29)
    watching.look()
    clock.wait(1)

    with pytest.raises(RolloutError, match="Rate exceeded") as caught:
        watching.look()
    assert "ECS continues the deployment" in caught.value.hint


def test_credentials_that_nobody_can_renew_end_the_watch_and_are_no_error_of_the_configuration() -> None:
    ecs = FakeEcs(IN_PROGRESS)

    def refuse() -> None:
        answer = {"Error": {"Code": "ExpiredTokenException", "Message": "The security token is expired"}}
        raise ClientError(answer, "DescribeServices")  # type: ignore[arg-type]

    ecs.on_read = refuse

    with pytest.raises(RolloutError, match="the credentials have expired") as caught:
        watch(ecs, Clock()).look()
    assert caught.value.exit_code == 6
    assert "ECS continues" in caught.value.message
    assert "sign in again" in caught.value.hint
    assert "release ENV --resume" in caught.value.hint


def test_while_the_user_signs_in_again_the_watch_waits_and_goes_on() -> None:
    """As with `aws sso login` in another shell: botocore reads its new token at the next call."""
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock)

    def refuse() -> None:
        raise UnauthorizedSSOTokenError

    ecs.on_read = refuse
    view = watching.look()
    clock.wait(SIGN_IN_PATIENCE - 1)
    watching.look()
    ecs.on_read = lambda: None

    assert view is not None
    assert "sign in again" in view.notice
    assert watching.look() is not None
    assert watching.end is None


def test_a_user_who_does_not_sign_in_again_is_not_waited_for_forever() -> None:
    ecs, clock = FakeEcs(IN_PROGRESS), Clock()
    watching = watch(ecs, clock)

    def refuse() -> None:
        raise UnauthorizedSSOTokenError

    ecs.on_read = refuse
    watching.look()
    clock.wait(SIGN_IN_PATIENCE)

    with pytest.raises(RolloutError, match="the credentials have expired"):
        watching.look()


def test_a_denied_call_ends_the_watch_at_once() -> None:
    ecs = FakeEcs(IN_PROGRESS)

    def refuse() -> None:
        raise denied()

    ecs.on_read = refuse

    with pytest.raises(ClientError, match="not yours"):
        watch(ecs, Clock()).look()


# ---- the bake time


def at(stage: str, *, production: float = 100.0, status: str = "IN_PROGRESS") -> ServiceDeployment:
    """Return a deployment with 5 minutes of bake time, and 10 for each share of the traffic."""
    return replace(
        service_deployment(status=status),
        stage=stage,
        production=production,
        strategy="LINEAR",
        bake_minutes=5,
        step_minutes=10,
    )


def left(ecs: FakeEcs, seen: Watch, deployment: ServiceDeployment) -> float | None:
    """Look once, and return the remaining seconds if they changed."""
    ecs.own = deployment
    view = seen.look()
    return None if view is None else view.left


@pytest.mark.parametrize(("speed", "after"), [(1.0, 285.0), (10.0, 150.0)])
def test_the_bake_time_that_is_left_is_counted_down_in_seconds_of_awss(speed: float, after: float) -> None:
    ecs, clock = FakeEcs(DONE), Clock()
    seen = Watch(ecs, started(), stall_after=1000, speed=speed, clock=clock)

    assert left(ecs, seen, at("POST_PRODUCTION_TRAFFIC_SHIFT")) is None
    assert left(ecs, seen, at("BAKE_TIME")) == 300
    clock.wait(15)
    assert left(ecs, seen, at("BAKE_TIME")) == after
    clock.wait(1000)
    assert left(ecs, seen, at("BAKE_TIME")) == 0
    assert left(ecs, seen, at("CLEAN_UP")) is None


def test_each_share_of_the_traffic_has_its_own_bake_time() -> None:
    ecs, clock = FakeEcs(DONE), Clock()
    seen = watch(ecs, clock, stall_after=1000)
    shift = "PRODUCTION_TRAFFIC_SHIFT"

    assert left(ecs, seen, at("POST_TEST_TRAFFIC_SHIFT", production=0)) is None
    assert left(ecs, seen, at(shift, production=0)) is None
    assert left(ecs, seen, at(shift, production=10)) == 600
    clock.wait(599)
    assert left(ecs, seen, at(shift, production=10)) == 1
    assert left(ecs, seen, at(shift, production=20)) == 600
    assert left(ecs, seen, at(shift, production=100)) is None


def test_a_bake_time_that_began_before_adoption_or_is_rolling_back_is_not_counted_down() -> None:
    ecs, clock = FakeEcs(DONE), Clock()
    seen = watch(ecs, clock)

    assert left(ecs, seen, at("BAKE_TIME")) is None
    clock.wait(1)
    assert left(ecs, seen, at("BAKE_TIME")) is None
    assert (
        left(ecs, seen, at("PRODUCTION_TRAFFIC_SHIFT", production=10, status="ROLLBACK_IN_PROGRESS")) is None
    )


@pytest.mark.parametrize(
    ("deployment", "stage"),
    [
        (at("BAKE_TIME"), "bake time"),
        (at("PRODUCTION_TRAFFIC_SHIFT", production=10), "bake time of this share"),
        (at("PRODUCTION_TRAFFIC_SHIFT"), "production traffic shift"),
    ],
)
def test_while_it_bakes_the_stage_says_so(deployment: ServiceDeployment, stage: str) -> None:
    view = watch(FakeEcs(DONE, own=deployment), Clock()).look()

    assert view is not None
    assert view.stage == stage


def test_a_view_tells_how_the_versions_compare() -> None:
    seen = watch(FakeEcs(IN_PROGRESS), Clock())
    assert (view := seen.look()) is not None
    assert view.analysis == ""

    seen.analysis = "analysis passed: all well"

    assert (view := seen.look()) is not None
    assert view.analysis == "analysis passed: all well"


@dataclass
class Counted:
    """Counts the calls of the API that each method of `Ecs` makes, for a service with two target groups."""

    ecs: FakeEcs
    calls: Counter[str] = field(default_factory=Counter)

    def service(self) -> Service:
        self.calls["DescribeServices"] += 1
        return self.ecs.service()

    def service_deployment(self, arn: str) -> ServiceDeployment:
        self.calls["DescribeServiceDeployments"] += 1
        return self.ecs.service_deployment(arn)

    def tasks(self) -> Sequence[Task]:
        self.calls.update(["ListTasks", "DescribeTasks"])
        return self.ecs.tasks()

    def target_states(self, arns: Sequence[str]) -> Mapping[str, str]:
        self.calls["DescribeTargetHealth"] += 2
        return self.ecs.target_states(arns)


def _calls_a_minute(cadence: Cadence, deployment: ServiceDeployment, *, minutes: int = 30) -> float:
    clock, ecs = Clock(), FakeEcs(IN_PROGRESS, own=deployment)
    counted = Counted(ecs)
    watched = Watch(cast("EcsClient", counted), started(), stall_after=1e9, cadence=cadence, clock=clock)
    while clock.now < 1000.0 + 60 * minutes:
        watched.look()
        clock.wait(watched.pause)
    return sum(counted.calls.values()) / minutes


def test_a_rollout_on_aws_is_looked_at_rarely_and_with_one_call_where_one_is_enough() -> None:
    """Each look was six calls every half second: 720 calls a minute, for hours."""
    starting = service_deployment()
    baking = replace(starting, stage="BAKE_TIME", bake_minutes=1440)

    assert _calls_a_minute(LOCAL, starting, minutes=1) == 720
    assert _calls_a_minute(ON_AWS, starting) < 60
    assert _calls_a_minute(ON_AWS, baking) < 20


def test_the_looks_of_two_rollouts_do_not_coincide() -> None:
    pauses = {ON_AWS.pause(bakes=False) for _ in range(20)}

    assert len(pauses) > 1
    assert all(2.0 <= pause <= 5.0 for pause in pauses)


def test_every_change_of_the_service_deployment_is_shown_with_its_tasks_at_once() -> None:
    clock, ecs = Clock(), FakeEcs(IN_PROGRESS)
    counted = Counted(ecs)
    watched = Watch(cast("EcsClient", counted), started(), stall_after=1e9, cadence=ON_AWS, clock=clock)
    watched.look()
    clock.wait(2.0)
    watched.look()
    assert counted.calls["DescribeServices"] == 1

    ecs.own, ecs.now = replace(ecs.own, task_counts=(2, 2, 0)), DONE
    view = watched.look()

    assert view is not None
    assert [each.running for each in view.tasks] == [2]
    ecs.becomes("SUCCESSFUL")
    watched.look()
    assert watched.end is not None
    assert watched.end.last.service == DONE
