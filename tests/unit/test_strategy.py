"""The deployment configuration of a strategy, and the settings that are refused before any change."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf import verify
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import ConfigurationError, UsageError
from mclass_tf.flows.deployer.wiring import (
    is_wired,
    order_settings,
    require_pauses,
    require_wiring,
    rollback_strategy,
    target_group_in_use,
    wiring_settings,
)
from mclass_tf.rollout import Patience
from mclass_tf.service import Ecs, Service
from mclass_tf.session import Session
from mclass_tf.strategy import (
    BLUE_GREEN,
    CANARY,
    LINEAR,
    PAUSE_STAGES,
    ROLLING,
    SMOKE_STAGE,
    Hook,
    Strategy,
    pause_stage,
    stages_of_pauses,
    without_pauses,
)
from tests.unit.fake_service import OLD, FakeEcs, deployment, service

BLUE, GREEN, PRODUCTION, TEST = "group/blue", "group/green", "rule/production", "rule/test"
BREAKER = {"enable": True, "rollback": True}
IN_FORCE = {
    "strategy": "ROLLING",
    "deploymentCircuitBreaker": BREAKER,
    "minimumHealthyPercent": 100,
    "maximumPercent": 200,
    "bakeTimeInMinutes": 0,
}
LAMBDA = {"hookTargetArn": "function", "roleArn": "role", "lifecycleStages": ["POST_SCALE_UP"]}
RUNNING = replace(service(deployment(OLD, status="PRIMARY")), configuration=IN_FORCE)


WIRING = {
    "containerName": "mclass-server",
    "containerPort": 8080,
    "targetGroupArn": GREEN,  # ECS swaps them at every shift
    "advancedConfiguration": {
        "alternateTargetGroupArn": BLUE,
        "productionListenerRule": PRODUCTION,
        "testListenerRule": TEST,
        "roleArn": "role",
    },
}
WIRED = replace(RUNNING, load_balancers=(WIRING,))


class Rules:
    """The listener rules, with the weights of blue and green."""

    def __init__(self, *, blue: int = 100, green: int = 0, gone: tuple[str, ...] = ()) -> None:
        self._weights = {BLUE: blue, GREEN: green}
        self._gone = gone

    def describe_rules(self, *, RuleArns: list[str]) -> Any:  # noqa: N803  # boto3's name
        if RuleArns[0] in self._gone:
            raise ClientError({"Error": {"Code": "RuleNotFound", "Message": "gone"}}, "DescribeRules")
        groups = [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in self._weights.items()]
        return {"Rules": [{"Actions": [{"Type": "forward", "ForwardConfig": {"TargetGroups": groups}}]}]}


def outputs(**changes: Any) -> verify.Outputs:
    values = {
        "container_name": "mclass-server",
        "container_port": 8080,
        "desired_count": 2,
        "infrastructure_role_arn": "role",
        "production_listener_rule_arn": PRODUCTION,
        "test_listener_rule_arn": TEST,
        "target_group_arns": {"blue": BLUE, "green": GREEN},
    }
    return cast("verify.Outputs", SimpleNamespace(**{**values, **changes}))


def session(strategy: Strategy, rules: Rules | None = None) -> Session:
    environment = SimpleNamespace(name="dev", release=ReleaseSettings(strategy=strategy))
    aws = SimpleNamespace(elbv2=rules or Rules())
    return cast("Session", SimpleNamespace(environment=environment, aws=aws, report=lambda _: None))


def test_a_rolling_release_of_a_service_that_rolls_says_nothing_new() -> None:
    assert Strategy().configuration(IN_FORCE, pauses=()) == {}
    assert order_settings(session(Strategy()), outputs(), RUNNING, Strategy(), pauses=()) == {}


@pytest.mark.parametrize("name", [BLUE_GREEN, CANARY, LINEAR])
def test_percentages_and_circuit_breaker_stay_as_they_are(name: str) -> None:
    told = Strategy(name=name).configuration(IN_FORCE, pauses=["POST_TEST_TRAFFIC_SHIFT"])

    assert told["deploymentCircuitBreaker"] == BREAKER
    assert (told["minimumHealthyPercent"], told["maximumPercent"]) == (100, 200)
    assert told["strategy"] == name.upper().replace("-", "_")
    assert told["bakeTimeInMinutes"] == 5


def test_the_numbers_are_those_of_the_strategy_alone() -> None:
    canary = Strategy(name=CANARY, canary_percent=2.5, canary_bake_minutes=3)
    linear = Strategy(name=LINEAR, step_percent=25.0, step_bake_minutes=4)

    told = canary.configuration(IN_FORCE, pauses=())
    assert told["canaryConfiguration"] == {"canaryPercent": 2.5, "canaryBakeTimeInMinutes": 3}
    assert "linearConfiguration" not in told
    told = linear.configuration(IN_FORCE, pauses=())
    assert told["linearConfiguration"] == {"stepPercent": 25.0, "stepBakeTimeInMinutes": 4}
    assert "canaryConfiguration" not in told


def test_ecs_rolls_back_by_itself_where_nobody_answers_the_pause() -> None:
    (hook,) = Strategy(name=BLUE_GREEN).configuration(IN_FORCE, pauses=["POST_TEST_TRAFFIC_SHIFT"])[
        "lifecycleHooks"
    ]

    assert (hook["targetType"], hook["lifecycleStages"]) == ("PAUSE", ["POST_TEST_TRAFFIC_SHIFT"])
    assert hook["timeoutConfiguration"]["action"] == "ROLLBACK"


def test_hooks_that_call_something_stay_and_pauses_of_before_go() -> None:
    in_force = {**IN_FORCE, "lifecycleHooks": [LAMBDA, {"targetType": "PAUSE"}]}

    assert Strategy().configuration(in_force, pauses=())["lifecycleHooks"] == [LAMBDA]
    assert without_pauses(in_force) == {"lifecycleHooks": [LAMBDA]}


def test_the_functions_of_the_environment_take_the_place_of_ours_and_leave_those_of_others() -> None:
    before, now = (Hook(function_arn=name, role_arn="role", stages=("POST_SCALE_UP",)) for name in "ab")
    others = {**LAMBDA, "hookDetails": {"mclass-tf": "somebody else's"}}
    in_force = {**IN_FORCE, "lifecycleHooks": [LAMBDA, before.document, others]}

    told = Strategy(name=CANARY, hooks=(now,)).configuration(in_force, pauses=())

    assert told["lifecycleHooks"] == [LAMBDA, others, now.document]
    assert now.document["targetType"] == "AWS_LAMBDA"
    assert (now.document["hookTargetArn"], now.document["roleArn"]) == ("b", "role")
    assert now.document["lifecycleStages"] == ["POST_SCALE_UP"]


def test_functions_that_are_switched_off_go_also_with_a_rolling_release() -> None:
    before = Hook(function_arn="a", role_arn="role", stages=("POST_SCALE_UP",))

    told = Strategy().configuration({**IN_FORCE, "lifecycleHooks": [LAMBDA, before.document]}, pauses=())

    assert told["lifecycleHooks"] == [LAMBDA]
    assert Strategy().configuration({**IN_FORCE, "lifecycleHooks": [LAMBDA]}, pauses=()) == {}


def test_one_pause_waits_at_every_stage_that_is_asked_for() -> None:
    told = Strategy(name=LINEAR).configuration(IN_FORCE, pauses=["POST_SCALE_UP", SMOKE_STAGE])

    assert stages_of_pauses(told) == ("POST_SCALE_UP", SMOKE_STAGE)
    assert len(told["lifecycleHooks"]) == 1
    assert stages_of_pauses(without_pauses(told)) == ()


@pytest.mark.parametrize("stage", PAUSE_STAGES)
def test_a_stage_is_written_in_either_way(stage: str) -> None:
    assert pause_stage(stage) == stage
    assert pause_stage(stage.lower().replace("_", "-")) == stage


@pytest.mark.parametrize(
    "stage", ["scale-up", "PRODUCTION_TRAFFIC_SHIFT", "reconcile-service", "bake-time", ""]
)
def test_a_stage_at_which_nothing_waits_is_refused(stage: str) -> None:
    with pytest.raises(ValueError, match="post-test-traffic-shift"):
        pause_stage(stage)


@pytest.mark.parametrize(
    ("strategy", "before", "under_way", "told"),
    [
        (Strategy(), RUNNING, None, "a rolling release cannot be paused"),
        (
            Strategy(name=CANARY),
            replace(RUNNING, desired=0),
            None,
            "the first release of dev cannot be paused",
        ),
        (Strategy(name=CANARY), RUNNING, (SMOKE_STAGE,), "does not wait at POST_SCALE_UP"),
    ],
)
def test_a_pause_that_cannot_be_is_refused(
    strategy: Strategy, before: Service, under_way: tuple[str, ...] | None, told: str
) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        require_pauses(session(strategy), before, ("POST_SCALE_UP",), under_way=under_way)

    assert caught.value.exit_code == 2
    require_pauses(session(Strategy(name=CANARY)), RUNNING, ("POST_SCALE_UP",), under_way=("POST_SCALE_UP",))


def test_a_rolling_release_after_another_strategy_says_so_and_leaves_the_wiring() -> None:
    before = replace(RUNNING, configuration={**IN_FORCE, "strategy": "CANARY"})

    told = order_settings(session(Strategy()), outputs(), before, Strategy(), pauses=())

    assert told["deploymentConfiguration"]["strategy"] == "ROLLING"
    assert "bakeTimeInMinutes" not in told["deploymentConfiguration"]
    assert "loadBalancers" not in told


@pytest.mark.parametrize("name", [ROLLING, BLUE_GREEN])
def test_what_ecs_does_not_say_of_the_configuration_is_neither_assumed_nor_removed(name: str) -> None:
    """It may have another strategy in force, and hooks of others."""
    unknown = {key: value for key, value in IN_FORCE.items() if key != "strategy"}

    told = Strategy(name=name).configuration(unknown, pauses=())

    assert told["strategy"] == name.upper().replace("-", "_")
    assert "lifecycleHooks" not in told


def test_alarms_are_those_of_the_environment_and_roll_back() -> None:
    told = Strategy(alarms=("errors",)).configuration(IN_FORCE, pauses=())
    assert told["alarms"] == {"alarmNames": ["errors"], "enable": True, "rollback": True}

    told = Strategy().configuration({**IN_FORCE, "alarms": told["alarms"]}, pauses=())
    assert told["alarms"] == {"alarmNames": [], "enable": False, "rollback": False}


@pytest.mark.parametrize(
    ("rules", "in_use", "other"), [(Rules(), BLUE, GREEN), (Rules(blue=0, green=100), GREEN, BLUE)]
)
def test_the_alternate_target_group_is_the_one_that_is_not_in_use(
    rules: Rules, in_use: str, other: str
) -> None:
    """So it is for a service that ECS knows to be in neither."""
    strategy = Strategy(name=BLUE_GREEN)

    (told,) = order_settings(session(strategy, rules), outputs(), RUNNING, strategy, pauses=())[
        "loadBalancers"
    ]

    assert told["targetGroupArn"] == in_use
    assert told["advancedConfiguration"] == {
        "alternateTargetGroupArn": other,
        "productionListenerRule": PRODUCTION,
        "testListenerRule": TEST,
        "roleArn": "role",
    }


@pytest.mark.parametrize("rules", [Rules(), Rules(blue=0, green=100)])
def test_a_wired_service_gets_no_load_balancers_in_its_update(rules: Rules) -> None:
    for name in (BLUE_GREEN, CANARY, LINEAR):
        strategy = Strategy(name=name)
        assert "loadBalancers" not in order_settings(
            session(strategy, rules), outputs(), WIRED, strategy, pauses=()
        )
    assert wiring_settings(session(Strategy(name=CANARY), rules), outputs(), WIRED) == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"target_group_arns": {"blue": BLUE, "green": "group/other"}},
        {"production_listener_rule_arn": "rule/other"},
        {"test_listener_rule_arn": "rule/other"},
    ],
)
def test_a_service_with_other_groups_or_rules_is_not_wired(changes: dict[str, Any]) -> None:
    assert is_wired(outputs(), WIRED)
    assert not is_wired(outputs(**changes), WIRED)
    assert not is_wired(outputs(), RUNNING)


def test_the_target_group_in_use_is_ecs_s_own_and_not_that_of_the_weights() -> None:
    told = wiring_settings(session(Strategy(name=CANARY), Rules()), outputs(), RUNNING, in_use=GREEN)

    assert told["loadBalancers"][0]["targetGroupArn"] == GREEN
    assert told["loadBalancers"][0]["advancedConfiguration"]["alternateTargetGroupArn"] == BLUE


@pytest.mark.parametrize(
    ("resolved", "groups", "expected"),
    [
        ((GREEN,), (BLUE, GREEN), GREEN),
        ((), (BLUE,), BLUE),
        ((), (BLUE, GREEN), ""),
        (("group/other",), (BLUE,), ""),
    ],
    ids=["resolved", "one group only", "unknown", "resolved to another"],
)
def test_the_target_group_in_use_is_that_to_which_ecs_has_resolved_what_runs(
    resolved: tuple[str, ...], groups: tuple[str, ...], expected: str
) -> None:
    running = replace(RUNNING, target_group_arns=groups, revision_arns=("revision/own",))
    ecs = FakeEcs(running, groups={"revision/own": resolved})

    patience = Patience(report=lambda _: None)
    assert target_group_in_use(cast("Ecs", ecs), outputs(), running, patience=patience) == expected


def test_a_changed_container_port_is_sent() -> None:
    strategy = Strategy(name=BLUE_GREEN)
    moved = outputs(container_port=9090)

    told = order_settings(session(strategy), moved, WIRED, strategy, pauses=(), in_use=GREEN)

    assert told["loadBalancers"] == [{**WIRING, "containerPort": 9090}]


def test_a_service_is_wired_by_a_rolling_deployment() -> None:
    told = wiring_settings(session(Strategy(name=CANARY)), outputs(), RUNNING)

    assert set(told) == {"loadBalancers"}


@pytest.mark.parametrize(
    ("changes", "rules", "told"),
    [
        ({"test_listener_rule_arn": PRODUCTION}, Rules(), "one rule"),
        ({}, Rules(gone=(TEST,)), "the rule of test traffic is gone"),
        ({}, Rules(gone=(PRODUCTION,)), "the rule of production traffic is gone"),
        ({"target_group_arns": {"blue": BLUE, "green": BLUE}}, Rules(), "not two target groups"),
    ],
)
def test_wiring_that_cannot_do_it_is_refused(changes: dict[str, Any], rules: Rules, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told) as caught:
        require_wiring(session(Strategy(name=BLUE_GREEN), rules), outputs(**changes), RUNNING)

    assert caught.value.exit_code == 3
    require_wiring(session(Strategy(), rules), outputs(**changes), RUNNING)


@pytest.mark.parametrize("name", [ROLLING, LINEAR])
def test_a_service_that_is_to_run_no_tasks_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="0 tasks"):
        require_wiring(session(Strategy(name=name)), outputs(desired_count=0), replace(RUNNING, desired=0))


def test_a_rollback_shifts_at_once_where_the_service_is_wired() -> None:
    linear = session(Strategy(name=LINEAR))
    assert rollback_strategy(linear, outputs(), WIRED) == Strategy(name=BLUE_GREEN, bake_minutes=0)
    assert rollback_strategy(linear, outputs(), RUNNING).name == ROLLING
    assert rollback_strategy(session(Strategy()), outputs(), WIRED).name == ROLLING
