"""The strategies that shift traffic: BLUE_GREEN, CANARY and LINEAR, stage by stage, and their rollbacks."""

from __future__ import annotations

from typing import Any

import pytest

from mclass_tf.local.aws.ecs.model.stages import (
    LifecycleHook,
    Need,
    Progress,
    StageContext,
    deployment_progress,
)
from mclass_tf.local.aws.ecs.scheduler.traffic import weights_for
from mclass_tf.local.aws.ecs.scheduler.world import Alarm
from tests.local.scheduler_world import ALTERNATE, GROUP, PRODUCTION, TEST, Stage, make_stage

_ADVANCED = {
    "alternateTargetGroupArn": ALTERNATE,
    "productionListenerRule": PRODUCTION,
    "testListenerRule": TEST,
    "roleArn": "arn:aws:iam::111111111111:role/infrastructure",
}
_ALARMS = {"alarmNames": ["5xx"], "enable": True, "rollback": True}
_STRATEGIES: dict[str, dict[str, Any]] = {
    "BLUE_GREEN": {},
    "CANARY": {"canaryConfiguration": {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 2}},
    "LINEAR": {"linearConfiguration": {"stepPercent": 40.0, "stepBakeTimeInMinutes": 2}},
}
_PAUSES = (
    "PRE_SCALE_UP",
    "POST_SCALE_UP",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
)


def _paused_at(*stages: str, action: str = "ROLLBACK") -> dict[str, Any]:
    return {
        "targetType": "PAUSE",
        "lifecycleStages": list(stages),
        "timeoutConfiguration": {"timeoutInMinutes": 10, "action": action},
    }


def _made(strategy: str = "BLUE_GREEN", *, desired: int = 2, bake: int = 0, **configuration: Any) -> Stage:
    """Two tasks run the first revision, deployed by the strategy. Hooks and bake time apply to later deployments."""
    stage = make_stage(
        desired=desired, advanced=_ADVANCED, strategy=strategy, **_STRATEGIES.get(strategy, {})
    )
    stage.world.rules.update({rule: {GROUP: 100, ALTERNATE: 0} for rule in (PRODUCTION, TEST)})
    stage.world.alarm_states["5xx"] = Alarm(state="OK", seconds=60)
    for _ in range(4):
        stage.come_up()
        stage.wait(120)
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    stage.world.shifts.clear()
    settings = stage.service.settings["deploymentConfiguration"]
    stage.service.settings["deploymentConfiguration"] = {
        **settings,
        "bakeTimeInMinutes": bake,
        **configuration,
    }
    return stage


def _record(stage: Stage) -> dict[str, Any]:
    return stage.service.records[0].document()


def _where(stage: Stage) -> str:
    return str(_record(stage)["lifecycleStage"])


def _hook(stage: Stage) -> LifecycleHook:
    return next(hook for hook in stage.service.records[0].progress.pauses if hook.is_awaiting)


def _go_on(stage: Stage) -> None:
    _hook(stage).answer("CONTINUE")
    stage.settle()


def _running(stage: Stage, definition: str) -> int:
    return sum(
        1 for task in stage.live if task.launch.definition.arn == definition and task.last_status == "RUNNING"
    )


def _production(stage: Stage) -> int:
    return stage.world.rules[PRODUCTION][ALTERNATE]


# ---- the steps


_SHARES = {
    "BLUE_GREEN": [(100.0, 0.0)],
    "CANARY": [(5.0, 2.0), (100.0, 0.0)],
    "LINEAR": [(40.0, 2.0), (80.0, 2.0), (100.0, 0.0)],
}


@pytest.mark.parametrize("strategy", _SHARES)
def test_production_is_shifted_in_the_strategy_s_steps(strategy: str) -> None:
    progress = deployment_progress(
        {"strategy": strategy, **_STRATEGIES[strategy]},
        is_reconciling=False,
        has_blue=True,
        has_shifted=False,
    )
    steps = [step for step in progress.steps if step.stage == "PRODUCTION_TRAFFIC_SHIFT"]
    assert _SHARES[strategy] == [(step.production, step.minutes) for step in steps]


def test_the_stages_come_in_the_order_that_ecs_documents() -> None:
    progress = deployment_progress(
        {"strategy": "BLUE_GREEN"}, is_reconciling=True, has_blue=True, has_shifted=True
    )
    assert [step.stage for step in progress.steps] == [
        "RECONCILE_SERVICE",
        "PRE_SCALE_UP",
        "SCALE_UP",
        "POST_SCALE_UP",
        "TEST_TRAFFIC_SHIFT",
        "POST_TEST_TRAFFIC_SHIFT",
        "PRE_PRODUCTION_TRAFFIC_SHIFT",
        "PRODUCTION_TRAFFIC_SHIFT",
        "POST_PRODUCTION_TRAFFIC_SHIFT",
        "BAKE_TIME",
        "CLEAN_UP",
    ]


@pytest.mark.parametrize(
    ("percent", "weights"),
    [(100.0, (100, 0)), (0.0, (0, 100)), (5.0, (5, 95)), (2.5, (25, 975)), (0.1, (1, 999))],
)
def test_a_share_becomes_weights(percent: float, weights: tuple[int, int]) -> None:
    assert weights == tuple(weights_for(percent, own="a", other="b").values())


def _advance(progress: Progress, now: float, *, is_met: bool = True) -> float | None:
    return progress.advance(
        StageContext(
            now=now,
            real=lambda seconds: seconds / 10,
            is_met=lambda need: is_met or need is Need.NOTHING,
            shift=lambda _step: None,
        )
    )


def test_a_stage_waits_for_its_condition_and_for_its_time_on_the_clock() -> None:
    progress = deployment_progress(
        {"strategy": "BLUE_GREEN", "bakeTimeInMinutes": 1},
        is_reconciling=False,
        has_blue=True,
        has_shifted=False,
    )
    assert _advance(progress, 0, is_met=False) is None
    assert progress.stage == "SCALE_UP"
    assert _advance(progress, 1) == 7
    assert progress.stage == "BAKE_TIME"
    assert _advance(progress, 6.9) == 7
    assert _advance(progress, 7) is None
    assert progress.stage == "CLEAN_UP"


# ---- forward


def test_green_starts_in_the_alternate_group_and_blue_keeps_its_size_until_clean_up() -> None:
    stage = _made(bake=5)
    stage.deploy()
    assert _where(stage) == "SCALE_UP"
    assert {ALTERNATE} == {
        entry.target_group_arn for task in stage.world.tasks[2:] for entry in task.launch.registrations
    }
    stage.run()
    stage.report("healthy")
    assert _where(stage) == "BAKE_TIME"
    assert stage.world.shifts == [(TEST, 100), (PRODUCTION, 100)]
    assert (_running(stage, "t:1"), _running(stage, "t:2")) == (2, 2)
    stage.wait(300)
    assert _where(stage) == "CLEAN_UP"
    assert (_running(stage, "t:1"), _running(stage, "t:2")) == (0, 2)
    stage.drain()
    assert stage.rollouts == [("t:2", "PRIMARY", "COMPLETED")]
    assert _record(stage)["status"] == "SUCCESSFUL"


def test_the_groups_alternate_from_deployment_to_deployment() -> None:
    stage = _made()
    groups = []
    for definition in ("t:2", "t:3", "t:4"):
        stage.deploy(definition)
        groups.append(stage.service.primary.revision.target_groups)
        stage.come_up()
        stage.drain()
        assert stage.rollouts == [(definition, "PRIMARY", "COMPLETED")]
    assert groups == [(ALTERNATE,), (GROUP,), (ALTERNATE,)]
    assert _production(stage) == 100


@pytest.mark.parametrize("strategy", ["CANARY", "LINEAR"])
def test_traffic_moves_step_by_step_on_the_clock(strategy: str) -> None:
    stage = _made(strategy)
    stage.deploy()
    stage.run()
    stage.report("healthy")
    seen = [_production(stage)]
    while seen[-1] < 100:
        assert _where(stage) == "PRODUCTION_TRAFFIC_SHIFT"
        stage.wait(119)
        assert seen[-1] == _production(stage)
        stage.wait(1)
        seen.append(_production(stage))
    assert [share for share, _ in _SHARES[strategy]] == seen


def test_revisions_are_described_with_their_shares_and_task_counts() -> None:
    stage = _made("CANARY")
    stage.deploy()
    stage.run()
    stage.report("healthy")
    found = _record(stage)
    assert found["targetServiceRevision"]["requestedProductionTrafficWeight"] == 5.0
    assert found["targetServiceRevision"]["requestedTestTrafficWeight"] == 100.0
    assert found["sourceServiceRevisions"] == [
        {
            "arn": stage.service.deployments[1].revision.arn,
            "requestedTaskCount": 2,
            "runningTaskCount": 2,
            "pendingTaskCount": 0,
            "requestedProductionTrafficWeight": 95.0,
            "requestedTestTrafficWeight": 0.0,
        }
    ]
    resolved = stage.service.primary.revision.document()["resolvedConfiguration"]["loadBalancers"]
    assert resolved == [{"targetGroupArn": ALTERNATE, "productionListenerRule": PRODUCTION}]


def test_a_rule_that_names_one_group_gets_both_before_traffic_moves() -> None:
    stage = _made(lifecycleHooks=[_paused_at("POST_SCALE_UP")])
    stage.world.rules[PRODUCTION] = {GROUP: 1}
    stage.deploy()
    assert stage.world.rules[PRODUCTION] == {GROUP: 1}
    stage.run()
    stage.report("healthy")
    assert stage.world.rules[PRODUCTION] == {ALTERNATE: 0, GROUP: 100}


def test_a_blue_task_that_dies_during_the_deployment_is_replaced() -> None:
    stage = _made(lifecycleHooks=[_paused_at("POST_SCALE_UP")])
    stage.deploy()
    stage.run()
    stage.report("healthy")
    stage.crash(stage.live[0])
    stage.wait(10)
    stage.run()
    assert (_running(stage, "t:1"), _running(stage, "t:2")) == (2, 2)
    assert stage.live[-1].launch.registrations[0].target_group_arn == GROUP


def test_scaling_during_the_deployment_scales_blue_and_green() -> None:
    stage = _made(lifecycleHooks=[_paused_at("POST_SCALE_UP")])
    stage.deploy()
    stage.run()
    stage.service.update({"desiredCount": 3}, force=False)
    stage.settle()
    stage.run()
    assert (_running(stage, "t:1"), _running(stage, "t:2")) == (3, 3)


def test_a_service_of_no_tasks_goes_through_all_stages() -> None:
    stage = _made(desired=0, bake=1)
    stage.deploy()
    assert (_where(stage), _production(stage)) == ("BAKE_TIME", 100)
    stage.wait(60)
    assert _record(stage)["status"] == "SUCCESSFUL"


# ---- hooks


def test_a_pause_waits_for_its_answer_and_green_has_no_tasks_before_scale_up() -> None:
    stage = _made(lifecycleHooks=[_paused_at(*_PAUSES)])
    stage.deploy()
    assert len(stage.live) == 2
    seen = []
    while _record(stage)["status"] == "IN_PROGRESS":
        found = _record(stage)["lifecycleHookDetails"][-1]
        assert (found["targetType"], found["status"], found["timeoutAction"]) == (
            "PAUSE",
            "AWAITING_ACTION",
            "ROLLBACK",
        )
        assert found["expiresAt"] == stage.world.time + 600
        seen.append(_where(stage))
        _go_on(stage)
        stage.come_up()
        stage.drain()
    assert list(_PAUSES) == seen
    assert _record(stage)["status"] == "SUCCESSFUL"
    assert {entry["status"] for entry in _record(stage)["lifecycleHookDetails"]} == {"SUCCEEDED"}


def test_the_hook_before_production_runs_at_every_step() -> None:
    stage = _made("LINEAR", lifecycleHooks=[_paused_at("PRE_PRODUCTION_TRAFFIC_SHIFT")])
    stage.deploy()
    stage.run()
    stage.report("healthy")
    shares = []
    for _ in range(3):
        shares.append(_production(stage))
        _go_on(stage)
        stage.wait(120)
    assert shares == [0, 40, 80]
    assert _production(stage) == 100


@pytest.mark.parametrize(
    ("action", "status"), [("CONTINUE", "SUCCESSFUL"), ("ROLLBACK", "ROLLBACK_SUCCESSFUL")]
)
def test_an_unanswered_pause_times_out(action: str, status: str) -> None:
    stage = _made(lifecycleHooks=[_paused_at("POST_TEST_TRAFFIC_SHIFT", action=action)])
    stage.deploy()
    stage.run()
    stage.report("healthy")
    stage.wait(599)
    assert _where(stage) == "POST_TEST_TRAFFIC_SHIFT"
    stage.wait(1)
    stage.drain()
    assert _record(stage)["status"] == status
    assert _record(stage)["lifecycleHookDetails"][0]["status"] == "TIMED_OUT"


def test_a_rolling_update_pauses_before_it_scales_and_after() -> None:
    stage = make_stage()
    stage.come_up()
    hooks = {"lifecycleHooks": [_paused_at("PRE_SCALE_UP", "POST_SCALE_UP")]}
    stage.service.settings["deploymentConfiguration"].update(hooks)
    stage.deploy()
    assert (len(stage.live), _where(stage)) == (2, "PRE_SCALE_UP")
    stage.crash(stage.live[0])
    stage.wait(10)
    assert [task.launch.definition.arn for task in stage.live] == ["t:1", "t:1"]
    stage.come_up()
    _go_on(stage)
    stage.come_up()
    assert (_where(stage), _record(stage)["status"]) == ("POST_SCALE_UP", "IN_PROGRESS")
    _go_on(stage)
    assert _record(stage)["status"] == "SUCCESSFUL"


# ---- rollback


def _stop(stage: Stage) -> None:
    stage.service.records[0].set_status("ROLLBACK_REQUESTED")
    stage.settle()


def _answer_rollback(stage: Stage) -> None:
    _hook(stage).answer("ROLLBACK")
    stage.settle()


def _alarm(stage: Stage) -> None:
    stage.world.alarm_states["5xx"] = Alarm(state="ALARM", seconds=60)
    stage.settle()


_CAUSES = {"stop": _stop, "hook": _answer_rollback, "alarm": _alarm}


def _bring_to(stage: Stage, where: str) -> None:
    stage.deploy()
    if where == "PRE_SCALE_UP":
        return
    stage.run()
    stage.report("healthy")
    while _where(stage) != where:
        assert _where(stage) == "PRODUCTION_TRAFFIC_SHIFT"
        stage.wait(120)


@pytest.mark.parametrize("cause", _CAUSES)
@pytest.mark.parametrize("where", _PAUSES)
@pytest.mark.parametrize("strategy", _STRATEGIES)
def test_a_rollback_at_any_stage_returns_the_traffic_to_blue_and_stops_green(
    strategy: str, where: str, cause: str
) -> None:
    stage = _made(strategy, lifecycleHooks=[_paused_at(where)], alarms=_ALARMS)
    blue = stage.live
    _bring_to(stage, where)
    _CAUSES[cause](stage)
    assert [stage.world.rules[rule] for rule in (PRODUCTION, TEST)] == [{GROUP: 100, ALTERNATE: 0}] * 2
    stage.drain()
    assert blue == stage.live
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]
    assert _record(stage)["status"] == "ROLLBACK_SUCCESSFUL"
    assert stage.service.primary.revision.target_groups == (GROUP,)


def test_a_rollback_shifts_production_first_then_test_and_stops_green_last() -> None:
    stage = _made(bake=5)
    stage.deploy()
    stage.run()
    stage.report("healthy")
    stage.world.shifts.clear()
    _stop(stage)
    assert stage.world.shifts == [(PRODUCTION, 0), (TEST, 0)]
    assert _record(stage)["status"] == "ROLLBACK_IN_PROGRESS"
    assert _where(stage) == "CLEAN_UP"
    stage.drain()
    assert _record(stage)["status"] == "ROLLBACK_SUCCESSFUL"


def test_a_rollback_during_clean_up_starts_blue_before_it_shifts_traffic() -> None:
    stage = _made()
    stage.deploy()
    stage.run()
    stage.report("healthy")
    assert _where(stage) == "CLEAN_UP"
    _stop(stage)
    assert _production(stage) == 100
    stage.come_up()
    assert _production(stage) == 0
    stage.drain()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]


def test_the_circuit_breaker_rolls_back_a_green_that_does_not_start() -> None:
    stage = _made()
    stage.deploy()
    while stage.service.settings["taskDefinition"] != "t:1":
        stage.fail_to_start()
    assert stage.world.shifts == [(PRODUCTION, 0), (TEST, 0)]
    assert _record(stage)["status"] == "ROLLBACK_SUCCESSFUL"
    assert _running(stage, "t:1") == 2


def test_a_rule_that_cannot_be_changed_fails_the_deployment() -> None:
    stage = _made()
    stage.world.broken_rules.add(TEST)
    stage.deploy()
    stage.run()
    stage.report("healthy")
    assert _record(stage)["status"] == "ROLLBACK_FAILED"
    assert "the rule is gone" in _record(stage)["statusReason"]
    assert (_production(stage), _running(stage, "t:1")) == (0, 2)
    stage.crash(stage.live[0])
    stage.wait(10)
    stage.come_up()
    assert _running(stage, "t:1") == 2
    stage.world.broken_rules.clear()
    stage.deploy("t:3")
    stage.come_up()
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]


def test_a_deployment_after_a_rollback_uses_the_same_group_again() -> None:
    stage = _made(bake=5)
    stage.deploy("t:2")
    stage.run()
    stage.report("healthy")
    _stop(stage)
    stage.drain()
    stage.deploy("t:3")
    stage.come_up()
    stage.wait(300)
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]
    assert (_production(stage), stage.service.primary.revision.target_groups) == (100, (ALTERNATE,))


def test_production_traffic_returns_at_once_although_a_blue_task_is_missing() -> None:
    stage = _made(bake=5)
    stage.deploy()
    stage.run()
    stage.report("healthy")
    stage.crash(stage.live[0])
    _stop(stage)
    assert _production(stage) == 0


def test_a_rolling_update_that_is_refused_at_a_pause_changes_nothing() -> None:
    stage = make_stage()
    stage.come_up()
    blue = stage.live
    hooks = {"lifecycleHooks": [_paused_at("PRE_SCALE_UP")]}
    stage.service.settings["deploymentConfiguration"].update(hooks)
    stage.deploy()
    _answer_rollback(stage)
    assert (blue, stage.rollouts) == (stage.live, [("t:1", "PRIMARY", "COMPLETED")])
    assert _record(stage)["status"] == "ROLLBACK_SUCCESSFUL"
    assert "PRE_SCALE_UP lifecycle hook(s) failed." in "".join(stage.messages)


# ---- another deployment meanwhile, and other strategies


def test_a_newer_deployment_first_returns_the_traffic() -> None:
    stage = _made("CANARY")
    stage.deploy("t:2")
    stage.run()
    stage.report("healthy")
    assert _production(stage) == 5
    stage.deploy("t:3")
    assert _production(stage) == 0
    assert [record.status for record in stage.service.records[:2]] == ["IN_PROGRESS", "STOPPED"]
    assert (_running(stage, "t:1"), _running(stage, "t:2")) == (2, 0)
    stage.come_up()
    stage.wait(120)
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]


def test_a_deployment_in_clean_up_becomes_blue_for_the_next() -> None:
    stage = _made()
    stage.deploy("t:2")
    stage.run()
    stage.report("healthy")
    stage.deploy("t:3")
    assert stage.service.primary.revision.target_groups == (GROUP,)
    assert _production(stage) == 100
    stage.come_up()
    stage.drain()
    assert (stage.rollouts, _production(stage)) == ([("t:3", "PRIMARY", "COMPLETED")], 0)


def test_a_newer_deployment_may_start_during_a_rollback() -> None:
    stage = _made(bake=5)
    stage.deploy("t:2")
    stage.run()
    stage.report("healthy")
    _stop(stage)
    stage.deploy("t:3")
    assert (_running(stage, "t:1"), _running(stage, "t:2"), _production(stage)) == (2, 0, 0)
    stage.run()
    stage.report("healthy")
    assert (_where(stage), _production(stage)) == ("BAKE_TIME", 100)
    _stop(stage)
    stage.drain()
    assert stage.rollouts == [("t:1", "PRIMARY", "COMPLETED")]


def _switch(stage: Stage, strategy: str) -> None:
    stage.service.settings["deploymentConfiguration"]["strategy"] = strategy


def test_strategies_can_be_switched_between_deployments() -> None:
    stage = make_stage(advanced=_ADVANCED)
    stage.world.rules.update({rule: {GROUP: 100, ALTERNATE: 0} for rule in (PRODUCTION, TEST)})
    stage.come_up()
    shares = [_production(stage)]
    for number, strategy in enumerate(("BLUE_GREEN", "ROLLING", "ROLLING", "BLUE_GREEN"), start=2):
        _switch(stage, strategy)
        stage.deploy(f"t:{number}")
        stage.come_up()
        stage.drain()
        assert stage.rollouts == [(f"t:{number}", "PRIMARY", "COMPLETED")]
        shares.append(_production(stage))
    assert shares == [0, 100, 100, 100, 0]


def test_a_rolling_update_that_supersedes_a_canary_returns_its_traffic() -> None:
    stage = _made("CANARY")
    stage.deploy("t:2")
    stage.run()
    stage.report("healthy")
    _switch(stage, "ROLLING")
    stage.deploy("t:3")
    assert _production(stage) == 0
    stage.come_up()
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]
    assert stage.service.primary.revision.target_groups == (GROUP,)


def test_deleting_a_service_during_a_deployment_stops_all_tasks() -> None:
    stage = _made(bake=5)
    stage.deploy()
    stage.run()
    stage.report("healthy")
    stage.service.delete()
    stage.settle()
    stage.drain()
    assert (stage.live, stage.service.status) == ([], "INACTIVE")


def test_a_failed_green_without_the_rollback_option_leaves_blue_serving() -> None:
    stage = _made(deploymentCircuitBreaker={"enable": True, "rollback": False})
    stage.deploy()
    while stage.service.primary.is_in_progress:
        stage.fail_to_start()
    assert (_record(stage)["status"], _production(stage)) == ("STOPPED", 0)
    stage.crash(stage.live[0])
    stage.wait(10)
    stage.run()
    assert _running(stage, "t:1") == 2
    stage.report("healthy")
    stage.deploy("t:3")
    stage.come_up()
    stage.drain()
    assert stage.rollouts == [("t:3", "PRIMARY", "COMPLETED")]
