"""Reconciliation of a service: deployments, events, failures, rollbacks."""

from __future__ import annotations

import pytest

from mclass_tf.local.aws.ecs.scheduler.reconcile import reconcile
from mclass_tf.local.aws.ecs.scheduler.world import Alarm
from tests.local.scheduler_world import GROUP, Stage, make_stage


@pytest.fixture
def stage() -> Stage:
    """A service with two tasks of its first revision, in the steady state."""
    made = make_stage()
    made.come_up()
    return made


# ---- coming up


def test_a_service_starts_and_adds_events() -> None:
    stage = make_stage()
    stage.come_up()
    name = stage.service.name
    assert [
        f"(service {name}) has started 2 tasks: (task t1) (task t2).",
        f"(service {name}) registered 2 targets in (target-group GROUP)",
        f"(service {name}) (deployment t:1) deployment completed.",
        f"(service {name}) has reached a steady state.",
    ] == stage.messages
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert stage.service.records[0].status == "SUCCESSFUL"


def test_tasks_get_the_target_groups_and_the_tags_of_the_service(stage: Stage) -> None:
    launch = stage.live[0].launch
    assert (
        launch.registrations[0].target_group_arn,
        launch.registrations[0].container_name,
        launch.registrations[0].container_port,
    ) == (GROUP, "web", 3000)
    assert launch.group == f"service:{stage.service.name}"
    assert {"team": "mclass", "aws:ecs:clusterName": "c", "aws:ecs:serviceName": stage.service.name} == {
        tag["key"]: tag["value"] for tag in launch.tags
    }


def test_a_deployment_is_in_progress_until_every_target_is_healthy() -> None:
    stage = make_stage()
    stage.run()
    stage.report("healthy", stage.live[0])
    assert stage.rollouts == [("t:1", "PRIMARY", "IN_PROGRESS")]


def test_the_steady_state_event_is_added_once(stage: Stage) -> None:
    stage.wait(1000)
    assert sum("steady state" in message for message in stage.messages) == 1


# ---- rolling


def test_a_rollout_replaces_the_old_tasks_and_completes_when_they_have_drained(stage: Stage) -> None:
    stage.deploy()
    assert stage.rollouts == [("t:2", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]
    stage.run()
    stage.report("healthy")
    assert stage.rollouts == [("t:2", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]
    stage.drain()
    assert stage.rollouts == [("t:2", "PRIMARY", "COMPLETED")]
    told = stage.messages[4:]
    name, old = stage.service.name, stage.world.tasks[0].deployment_id
    assert [
        f"(service {name}) has started 2 tasks: (task t3) (task t4).",
        f"(service {name}) registered 2 targets in (target-group GROUP)",
        f"(service {name}) has stopped 2 running tasks: (task t1) (task t2).",
        f"(service {name}) deregistered 2 targets in (target-group GROUP)",
        f"(service {name}, taskSet {old}) has begun draining connections on 2 tasks.",
        f"(service {name}) (deployment t:2) deployment completed.",
        f"(service {name}) has reached a steady state.",
    ] == told


def test_old_tasks_are_drained_with_a_stopped_reason(stage: Stage) -> None:
    stage.deploy()
    stage.run()
    stage.report("healthy")
    reason = f"Scaling activity initiated by (deployment {stage.service.primary.id})"
    assert [("t1", reason, True), ("t2", reason, True)] == stage.world.stopped


def test_a_forced_deployment_has_a_revision_of_its_own(stage: Stage) -> None:
    before = stage.service.primary.revision.arn
    stage.service.update({}, force=True)
    stage.settle()
    assert before != stage.service.primary.revision.arn
    assert stage.rollouts == [("t:1", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]


def test_a_newer_deployment_stops_the_one_under_way(stage: Stage) -> None:
    stage.deploy("t:2")
    stage.run()
    stage.deploy("t:3")
    assert stage.rollouts == [
        ("t:3", "PRIMARY", "IN_PROGRESS"),
        ("t:2", "ACTIVE", "IN_PROGRESS"),
        ("t:1", "ACTIVE", "COMPLETED"),
    ]
    assert [record.status for record in stage.service.records] == ["IN_PROGRESS", "STOPPED", "SUCCESSFUL"]
    assert {"t3", "t4"} == {task_id for task_id, _, _ in stage.world.stopped}
    stage.come_up()
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]


def test_percentages_that_allow_nothing_add_one_event() -> None:
    stage = make_stage(desired=1, maximum=150)
    stage.come_up()
    stage.deploy()
    stage.wait(100)
    assert sum("was unable to stop or start tasks" in message for message in stage.messages) == 1
    assert stage.rollouts == [("t:2", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]


# ---- scaling, deletion


def test_scaling_starts_no_deployment(stage: Stage) -> None:
    stage.service.update({"desiredCount": 3}, force=False)
    stage.settle()
    stage.come_up()
    assert len(stage.live) == 3
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert len(stage.service.records) == 1
    assert sum("steady state" in message for message in stage.messages) == 2


def test_a_steady_state_does_not_wait_for_tasks_that_drain_after_scaling_in(stage: Stage) -> None:
    stage.service.update({"desiredCount": 1}, force=False)
    stage.settle()
    assert len(stage.live) == 1
    assert "steady state" in stage.messages[-1]


def test_a_deleted_service_drains_and_becomes_inactive(stage: Stage) -> None:
    stage.service.delete()
    stage.settle()
    assert (stage.service.status, stage.live) == ("DRAINING", [])
    stage.drain()
    assert (stage.service.status, stage.service.deployments) == ("INACTIVE", [])
    assert reconcile(stage.service, world=stage.world) is None


def test_deleting_a_service_stops_its_deployment(stage: Stage) -> None:
    stage.deploy()
    stage.service.delete()
    stage.settle()
    stage.drain()
    assert (stage.service.status, stage.live) == ("INACTIVE", [])
    assert stage.service.records[0].status == "STOPPED"


# ---- tasks that fail


def test_a_stopped_task_is_replaced_after_a_delay(stage: Stage) -> None:
    stage.crash(stage.live[0])
    wake = stage.settle()
    assert len(stage.live) == 1
    assert wake == stage.world.time + 10
    stage.wait(10)
    assert len(stage.live) == 2


def test_the_replacement_delay_is_scaled_by_the_clock(stage: Stage) -> None:
    stage.world.clock.speed = 10
    stage.crash(stage.live[0])
    stage.wait(1)
    assert len(stage.live) == 2


def test_a_task_stopped_by_a_user_is_replaced_and_does_not_count_as_failed(stage: Stage) -> None:
    stage.deploy()
    stage.run()
    victim = stage.live[-1]
    stage.crash(victim, code="UserInitiated")
    stage.wait(10)
    assert stage.service.primary.failed_tasks == 0
    assert len(stage.live) == 4


def test_an_unhealthy_target_ends_a_task_after_the_grace_period(stage: Stage) -> None:
    stage.deploy()
    stage.run()
    victim = stage.live[-1]
    stage.report("unhealthy", victim)
    assert stage.world.stopped == []
    assert stage.settle() == stage.world.time + 30
    stage.wait(30)
    assert [
        (victim.id, f"Task failed ELB health checks in (target-group {GROUP})", True)
    ] == stage.world.stopped
    name = stage.service.name
    assert [
        (
            f"(service {name}) (task {victim.id}) (port 3000) is unhealthy in (target-group GROUP) "
            "due to (reason Request timed out)."
        ),
        f"(service {name}) has stopped 1 running tasks: (task {victim.id}).",
        (
            f"(service {name}) has started 1 tasks: (task t5). "
            "Amazon ECS replaced 1 tasks due to an unhealthy status."
        ),
    ] == stage.messages[-3:]
    assert stage.service.primary.failed_tasks == 1


def test_a_healthy_task_resets_the_failure_count(stage: Stage) -> None:
    stage.deploy()
    stage.run()
    stage.crash(stage.live[-1])
    assert stage.service.primary.failed_tasks == 1
    stage.report("healthy")
    assert stage.service.primary.failed_tasks == 0


def test_failures_add_up_without_the_reset() -> None:
    stage = make_stage(
        deploymentCircuitBreaker={"enable": True, "rollback": True, "resetOnHealthyTask": False}
    )
    stage.come_up()
    stage.deploy()
    for _ in range(3):
        stage.run()
        stage.report("healthy", stage.live[-1])
        stage.crash(stage.live[-1])
        stage.wait(10)
    assert "rolling back to deployment" in "".join(stage.messages)


def test_failing_launches_are_throttled_and_add_one_event() -> None:
    stage = make_stage(deploymentCircuitBreaker={"enable": False, "rollback": False})
    for task in stage.live:
        stage.crash(task, code="TaskFailedToStart")
    stage.wait(10)
    assert stage.live == []
    stage.wait(20)
    assert len(stage.live) == 2
    for task in stage.live:
        stage.crash(task, code="TaskFailedToStart")
    stage.wait(119)
    assert stage.live == []
    stage.wait(1)
    assert len(stage.live) == 2
    assert sum("unable to consistently start tasks" in message for message in stage.messages) == 1


# ---- the circuit breaker


def test_the_circuit_breaker_rolls_back_to_the_last_completed_deployment(stage: Stage) -> None:
    good, old = stage.service.primary.id, stage.live
    stage.deploy()
    while stage.service.primary.id != good:
        stage.fail_to_start()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert old == stage.live
    assert stage.service.settings["taskDefinition"] == "t:1"
    record = stage.service.records[0]
    assert record.status == "ROLLBACK_SUCCESSFUL"
    assert (
        record.reason == "Service deployment rolled back because the circuit breaker threshold was exceeded."
    )
    assert (record.breaker.status, record.breaker_threshold) == ("TRIGGERED", 3)
    assert record.failure_count >= 3
    assert record.rollback is not None
    assert record.rollback["serviceRevisionArn"] == stage.service.primary.revision.arn
    name = stage.service.name
    failed = next(message for message in stage.messages if "deployment failed" in message)
    assert failed.endswith("deployment failed: tasks failed to start.")
    assert f"(service {name}) rolling back to deployment t:1." in stage.messages
    assert [
        f"(service {name}) (deployment t:1) deployment completed.",
        f"(service {name}) has reached a steady state.",
    ] == stage.messages[-2:]


def test_a_rollback_skips_a_deployment_that_never_completed(stage: Stage) -> None:
    stage.deploy("t:2")
    stage.run()
    stage.deploy("t:3")
    assert ("t:2", "ACTIVE", "IN_PROGRESS") in stage.rollouts, "its tasks still drain"
    for _ in range(3):
        stage.fail_to_start()
    assert stage.service.settings["taskDefinition"] == "t:1"
    assert stage.service.records[0].status in ("ROLLBACK_IN_PROGRESS", "ROLLBACK_SUCCESSFUL")


def test_a_rollback_is_in_progress_until_the_failed_tasks_have_stopped() -> None:
    stage = make_stage(minimum=50)
    stage.come_up()
    stage.deploy()
    stage.run()
    stage.wait(30)
    for _ in range(3):
        stage.report("unhealthy", *(task for task in stage.live if task.launch.definition.arn == "t:2"))
        stage.wait(30)
        stage.run()
    assert stage.rollouts == [("t:1", "PRIMARY", "IN_PROGRESS"), ("t:2", "ACTIVE", "FAILED")]
    primary, failed = stage.service.deployments
    assert primary.rollout_state_reason == (
        f"ECS deployment circuit breaker: rolling back to deploymentId {primary.id}."
    )
    assert failed.rollout_state_reason == "ECS deployment circuit breaker: tasks failed to start."
    assert stage.service.records[0].status == "ROLLBACK_IN_PROGRESS"
    stage.come_up()
    stage.drain()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]


def test_a_failed_first_deployment_has_no_rollback_candidate() -> None:
    stage = make_stage()
    while stage.service.primary.is_in_progress:
        stage.fail_to_start()
    assert stage.rollouts == [("t:1", "PRIMARY", "FAILED")]
    assert stage.service.records[0].status == "ROLLBACK_FAILED"
    assert stage.service.records[0].reason == "No rollback candidate was found to run the rollback."
    stage.wait(10_000)
    assert stage.live == []


def test_without_the_rollback_option_the_old_tasks_keep_running_and_no_others_start() -> None:
    stage = make_stage(deploymentCircuitBreaker={"enable": True, "rollback": False})
    stage.come_up()
    old = stage.live
    stage.deploy()
    while stage.service.primary.is_in_progress:
        stage.fail_to_start()
    stage.wait(10_000)
    assert old == stage.live
    assert stage.rollouts == [("t:2", "PRIMARY", "FAILED"), ("t:1", "ACTIVE", "COMPLETED")]
    assert stage.service.records[0].status == "STOPPED"
    assert stage.service.records[0].stopped_at is not None


def test_without_the_circuit_breaker_ecs_retries_forever() -> None:
    stage = make_stage(deploymentCircuitBreaker={"enable": False, "rollback": False})
    stage.come_up()
    stage.deploy()
    for _ in range(10):
        stage.fail_to_start()
        stage.wait(2000)
    assert stage.rollouts == [("t:2", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]
    assert stage.service.records[0].breaker.status == "DISABLED"


def test_a_deployment_after_a_rollback_can_be_rolled_back_too(stage: Stage) -> None:
    for definition in ("t:2", "t:3"):
        stage.deploy(definition)
        while stage.service.settings["taskDefinition"] != "t:1":
            stage.fail_to_start()
    assert [record.status for record in stage.service.records] == [
        "ROLLBACK_SUCCESSFUL",
        "ROLLBACK_SUCCESSFUL",
        "SUCCESSFUL",
    ]


def test_a_completed_deployment_cannot_fail(stage: Stage) -> None:
    for _ in range(5):
        stage.crash(stage.live[0])
        stage.wait(10)
        stage.run()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert stage.service.primary.failed_tasks == 0


# ---- alarms, bake time, stop


_ALARMS = {"alarmNames": ["5xx"], "enable": True, "rollback": True}


def test_an_alarm_rolls_back() -> None:
    stage = make_stage(alarms=_ALARMS)
    stage.world.alarm_states["5xx"] = Alarm(state="OK", seconds=60)
    stage.come_up()
    stage.wait(60)
    stage.deploy()
    stage.run()
    stage.world.alarm_states["5xx"] = Alarm(state="ALARM", seconds=60)
    stage.settle()
    assert stage.service.settings["taskDefinition"] == "t:1"
    record = stage.service.records[0]
    assert (record.alarms.status, record.triggered_alarms) == ("TRIGGERED", ["5xx"])
    assert "deployment failed: alarm detected." in "".join(stage.messages)
    stage.drain()
    assert record.status == "ROLLBACK_SUCCESSFUL"


def test_alarms_are_monitored_for_their_period_after_the_rollout() -> None:
    stage = make_stage(alarms=_ALARMS)
    stage.world.alarm_states["5xx"] = Alarm(state="OK", seconds=120)
    stage.come_up()
    stage.wait(120)
    stage.deploy()
    stage.come_up()
    assert stage.rollouts == [("t:2", "PRIMARY", "IN_PROGRESS"), ("t:1", "ACTIVE", "COMPLETED")]
    assert stage.settle() == stage.world.time + 120
    stage.wait(120)
    assert stage.rollouts == [("t:2", "PRIMARY", "COMPLETED")]


def test_an_alarm_from_before_the_deployment_is_ignored() -> None:
    stage = make_stage(alarms=_ALARMS)
    stage.world.alarm_states["5xx"] = Alarm(state="OK", seconds=60)
    stage.come_up()
    stage.wait(60)
    stage.world.alarm_states["5xx"] = Alarm(state="ALARM", seconds=60)
    stage.settle()
    stage.deploy()
    stage.come_up()
    assert stage.rollouts == [("t:2", "PRIMARY", "COMPLETED")]
    assert stage.service.records[0].alarms.status == "DISABLED"


def test_a_configured_bake_time_is_waited_for() -> None:
    stage = make_stage(bakeTimeInMinutes=5)
    stage.come_up()
    assert stage.rollouts == [("t:1", "PRIMARY", "IN_PROGRESS")]
    stage.wait(300)
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]


def test_a_stopped_deployment_rolls_back(stage: Stage) -> None:
    stage.deploy()
    stage.run()
    stage.service.records[0].set_status("ROLLBACK_REQUESTED")
    stage.settle()
    assert stage.rollouts == [("t:1", "PRIMARY", "IN_PROGRESS"), ("t:2", "ACTIVE", "FAILED")]
    stage.drain()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert stage.service.records[0].status == "ROLLBACK_SUCCESSFUL"


# ---- what is described


def test_counts_are_those_of_each_deployment(stage: Stage) -> None:
    stage.deploy()
    found = stage.service.document()
    assert [
        (entry["desiredCount"], entry["runningCount"], entry["pendingCount"])
        for entry in found["deployments"]
    ] == [(2, 0, 2), (2, 2, 0)]
    assert (found["runningCount"], found["pendingCount"]) == (2, 2)
    record = stage.service.records[0].document()
    assert record["targetServiceRevision"]["pendingTaskCount"] == 2
    assert record["sourceServiceRevisions"][0]["runningTaskCount"] == 2
    assert record["sourceServiceRevisions"][0]["arn"] == stage.service.deployments[1].revision.arn


def test_a_revision_describes_its_images_by_digest(stage: Stage) -> None:
    found = stage.service.primary.revision.document()
    assert found["containerImages"] == [
        {"containerName": "web", "image": "repository@sha256:t:1", "imageDigest": "sha256:t:1"}
    ]
    assert found["resolvedConfiguration"]["loadBalancers"] == [{"targetGroupArn": GROUP}]
