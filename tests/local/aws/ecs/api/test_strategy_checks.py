"""Validation of the strategies that shift traffic, and answers to pauses."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.callers import ask
from tests.local.conftest import Account, Network, make_network
from tests.local.ecs_cluster import Ecs, cluster, list_all, make_cluster, task_definition

_POLICY = "arn:aws:iam::aws:policy/AmazonECSInfrastructureRolePolicyForLoadBalancers"


@pytest.fixture
def ecs(fresh: Account, network: Network) -> Iterator[Ecs]:
    with cluster(fresh, network) as made:
        yield made


@pytest.fixture
def request_(ecs: Ecs) -> dict[str, Any]:
    return _blue_green_request(ecs)


@pytest.fixture(scope="module")
def untouched(standing: Account) -> tuple[Ecs, dict[str, Any]]:
    """A cluster, and a valid request that tests make invalid."""
    ecs = make_cluster(standing, make_network(standing))
    return ecs, _blue_green_request(ecs)


def _blue_green_request(ecs: Ecs) -> dict[str, Any]:
    """Return the request for a blue/green service without tasks."""
    request = copy.deepcopy(ecs.service)
    request["loadBalancers"][0]["advancedConfiguration"] = {
        "alternateTargetGroupArn": ecs.loose_target_group,
        "productionListenerRule": _rule(ecs, priority=10),
        "testListenerRule": _rule(ecs, priority=9, header="X-Test-Traffic"),
        "roleArn": _role(ecs, name="infrastructure", service="ecs.amazonaws.com", policy=_POLICY),
    }
    del request["deploymentConfiguration"]["alarms"]
    request["deploymentConfiguration"]["strategy"] = "BLUE_GREEN"
    return request


def _rule(ecs: Ecs, *, priority: int, header: str = "") -> str:
    """Create a rule of the production listener, for requests with `header` if it is named; return its ARN."""
    elb = ecs.account.client("elbv2")
    balancer = elb.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"]
    (listener,) = elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    forward = [{"Type": "forward", "TargetGroupArn": ecs.target_group}]
    conditions: list[dict[str, Any]] = [{"Field": "path-pattern", "Values": ["/*"]}]
    if header:
        config = {"HttpHeaderName": header, "Values": ["a-secret"]}
        conditions.append({"Field": "http-header", "HttpHeaderConfig": config})
    made: str = elb.create_rule(
        ListenerArn=listener["ListenerArn"], Priority=priority, Conditions=conditions, Actions=forward
    )["Rules"][0]["RuleArn"]
    return made


def _role(ecs: Ecs, *, name: str, service: str, policy: str | None) -> str:
    iam = ecs.account.client("iam")
    trust = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    made: str = iam.create_role(
        RoleName=name,
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    if policy:
        iam.attach_role_policy(RoleName=name, PolicyArn=policy)
    return made


def _weights(ecs: Ecs, rule: str) -> dict[str, int]:
    found = ecs.account.client("elbv2").describe_rules(RuleArns=[rule])["Rules"][0]["Actions"][0]
    return {entry["TargetGroupArn"]: entry["Weight"] for entry in found["ForwardConfig"]["TargetGroups"]}


def _latest(ecs: Ecs) -> dict[str, Any]:
    arn = list_all(ecs.client)[-1]["serviceDeploymentArn"]
    found: dict[str, Any] = ecs.call("DescribeServiceDeployments", {"serviceDeploymentArns": [arn]})[
        "serviceDeployments"
    ][0]
    return found


def _update(ecs: Ecs, **configuration: Any) -> None:
    ecs.client.register_task_definition(**task_definition())
    changes = {"taskDefinition": "t", "deploymentConfiguration": configuration}
    ecs.call("UpdateService", {"cluster": "c", "service": "s", **changes})


def test_a_deployment_fails_on_a_listener_with_a_rule_that_does_not_forward(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    rule = request_["loadBalancers"][0]["advancedConfiguration"]["productionListenerRule"]
    ecs.call("CreateService", request_)
    before = _weights(ecs, rule)
    elb = ecs.account.client("elbv2")
    listener = elb.describe_rules(RuleArns=[rule])["Rules"][0]["RuleArn"].rsplit("/", 1)[0]
    page = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "503"}}
    elb.modify_listener(ListenerArn=listener.replace(":listener-rule/", ":listener/"), DefaultActions=[page])
    _update(ecs)
    found = _latest(ecs)
    assert found["status"] == "ROLLBACK_SUCCESSFUL"
    assert "whose rules all forward" in str(found)
    assert _weights(ecs, rule) == before


def test_a_service_is_deployed_blue_green_from_its_first_revision_on(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    rule = request_["loadBalancers"][0]["advancedConfiguration"]["productionListenerRule"]
    made = ecs.call("CreateService", request_)["service"]
    assert made["deploymentConfiguration"]["strategy"] == "BLUE_GREEN"
    assert {ecs.target_group: 100, ecs.loose_target_group: 0} == _weights(ecs, rule)
    _update(ecs)
    assert {ecs.target_group: 0, ecs.loose_target_group: 100} == _weights(ecs, rule)
    found = _latest(ecs)
    assert (found["status"], found["lifecycleStage"]) == ("SUCCESSFUL", "CLEAN_UP")
    assert found["targetServiceRevision"]["requestedProductionTrafficWeight"] == 100.0
    revision = ecs.call(
        "DescribeServiceRevisions", {"serviceRevisionArns": [found["targetServiceRevision"]["arn"]]}
    )["serviceRevisions"][0]
    assert revision["resolvedConfiguration"]["loadBalancers"] == [
        {"targetGroupArn": ecs.loose_target_group, "productionListenerRule": rule}
    ]


def _group_of(ecs: Ecs, revision: dict[str, Any]) -> str:
    request = {"serviceRevisionArns": [revision["arn"]]}
    (described,) = ecs.call("DescribeServiceRevisions", request)["serviceRevisions"]
    (resolved,) = described["resolvedConfiguration"]["loadBalancers"]
    return str(resolved["targetGroupArn"])


@pytest.mark.parametrize("is_sent", [False, True], ids=["load balancers left out", "sent as they were"])
def test_load_balancers_that_contradict_ecs_put_both_revisions_in_one_target_group(
    ecs: Ecs, request_: dict[str, Any], *, is_sent: bool
) -> None:
    """The service is in the alternate group after its first shift: what was true of it at first no longer is."""
    ecs.call("CreateService", request_)
    _update(ecs)
    ecs.client.register_task_definition(**task_definition())
    again = {"loadBalancers": request_["loadBalancers"]} if is_sent else {}

    ecs.call("UpdateService", {"cluster": "c", "service": "s", "taskDefinition": "t", **again})

    found = _latest(ecs)
    groups = [_group_of(ecs, found["targetServiceRevision"])]
    groups += [_group_of(ecs, revision) for revision in found["sourceServiceRevisions"]]
    expected = ecs.loose_target_group if is_sent else ecs.target_group
    assert groups == [expected, ecs.loose_target_group]


@pytest.mark.parametrize(
    ("action", "status"), [("CONTINUE", "SUCCESSFUL"), ("ROLLBACK", "ROLLBACK_SUCCESSFUL")]
)
def test_a_pause_can_be_answered(ecs: Ecs, request_: dict[str, Any], action: str, status: str) -> None:
    ecs.call("CreateService", request_)
    _update(ecs, lifecycleHooks=[{"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}])
    found = _latest(ecs)
    assert (found["status"], found["lifecycleStage"]) == ("IN_PROGRESS", "POST_TEST_TRAFFIC_SHIFT")
    (hook,) = found["lifecycleHookDetails"]
    assert (hook["status"], hook["timeoutAction"]) == ("AWAITING_ACTION", "ROLLBACK")
    answer = {"serviceDeploymentArn": found["serviceDeploymentArn"], "hookId": hook["hookId"]}
    assert ecs.call("ContinueServiceDeployment", {**answer, "action": action}) == {
        "serviceDeploymentArn": found["serviceDeploymentArn"]
    }
    assert _latest(ecs)["status"] == status
    with pytest.raises(ClientError, match="does not await an action"):
        ecs.call("ContinueServiceDeployment", {**answer, "action": action})


def test_neither_strategy_nor_wiring_changes_while_a_deployment_is_under_way(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    ecs.call("CreateService", request_)
    _update(ecs, **_pause())
    update = {"cluster": "c", "service": "s"}
    rewired = copy.deepcopy(request_["loadBalancers"])
    del rewired[0]["advancedConfiguration"]["testListenerRule"]

    with pytest.raises(ClientError, match="from BLUE_GREEN to CANARY while the service has an ongoing"):
        ecs.call("UpdateService", {**update, "deploymentConfiguration": {"strategy": "CANARY"}})
    with pytest.raises(ClientError, match="from BLUE_GREEN to ROLLING while the service has an ongoing"):
        ecs.call("UpdateService", {**update, "deploymentConfiguration": {"strategy": "ROLLING"}})
    with pytest.raises(ClientError, match="advancedConfiguration cannot be changed"):
        ecs.call("UpdateService", {**update, "loadBalancers": rewired})
    assert _latest(ecs)["status"] == "IN_PROGRESS"
    ecs.call("UpdateService", {**update, "deploymentConfiguration": {"lifecycleHooks": []}})
    (hook,) = _latest(ecs)["lifecycleHookDetails"]
    answer = {"serviceDeploymentArn": _latest(ecs)["serviceDeploymentArn"], "hookId": hook["hookId"]}
    ecs.call("ContinueServiceDeployment", answer)
    changed = ecs.call("UpdateService", {**update, "deploymentConfiguration": {"strategy": "CANARY"}})
    assert changed["service"]["deploymentConfiguration"]["strategy"] == "CANARY"


@pytest.mark.parametrize("strategy", ["ROLLING", "BLUE_GREEN", "CANARY", "LINEAR"])
def test_zone_rebalancing_goes_with_every_strategy_that_may_start_a_task_more(
    ecs: Ecs, request_: dict[str, Any], strategy: str
) -> None:
    request_["deploymentConfiguration"]["strategy"] = strategy
    narrow = copy.deepcopy(request_)
    narrow["deploymentConfiguration"]["maximumPercent"] = 100
    with pytest.raises(ClientError, match="Rebalancing does not support maximumPercent <= 100%"):
        ecs.call("CreateService", narrow)

    made = ecs.call("CreateService", request_)["service"]

    assert made["availabilityZoneRebalancing"] == "ENABLED"
    assert made["deploymentConfiguration"]["strategy"] == strategy


def test_an_unknown_hook_and_an_unknown_action_are_refused(ecs: Ecs, request_: dict[str, Any]) -> None:
    ecs.call("CreateService", request_)
    arn = _latest(ecs)["serviceDeploymentArn"]
    with pytest.raises(ClientError, match="not paused at the hook x"):
        ecs.call("ContinueServiceDeployment", {"serviceDeploymentArn": arn, "hookId": "x"})
    with pytest.raises(ClientError, match="Invalid action STOP"):
        ecs.call("ContinueServiceDeployment", {"serviceDeploymentArn": arn, "hookId": "x", "action": "STOP"})


def test_steps_have_ecs_s_defaults_and_are_dropped_with_their_strategy(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    ecs.call("CreateService", request_)
    made = ecs.call(
        "UpdateService",
        {"cluster": "c", "service": "s", "deploymentConfiguration": {"strategy": "CANARY"}},
    )["service"]["deploymentConfiguration"]
    assert made["canaryConfiguration"] == {"canaryPercent": 5.0, "canaryBakeTimeInMinutes": 10}
    changed = ecs.call(
        "UpdateService",
        {"cluster": "c", "service": "s", "deploymentConfiguration": {"strategy": "LINEAR"}},
    )["service"]["deploymentConfiguration"]
    assert changed["linearConfiguration"] == {"stepPercent": 10.0, "stepBakeTimeInMinutes": 6}
    assert "canaryConfiguration" not in changed


def test_an_update_keeps_the_members_of_the_deployment_configuration_that_it_leaves_out(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    ecs.call("CreateService", request_)

    def configured(**changes: Any) -> dict[str, Any]:
        request = {"cluster": "c", "service": "s", "deploymentConfiguration": changes}
        found: dict[str, Any] = ecs.call("UpdateService", request)["service"]["deploymentConfiguration"]
        return found

    made = configured(**_pause(), bakeTimeInMinutes=7)
    assert configured(maximumPercent=150) == {**made, "maximumPercent": 150}
    assert configured(lifecycleHooks=[]) == {**made, "maximumPercent": 150, "lifecycleHooks": []}
    rolling = configured(strategy="ROLLING")
    assert (rolling["strategy"], rolling["bakeTimeInMinutes"]) == ("ROLLING", 7)


def _pause(**changes: Any) -> dict[str, Any]:
    return {"lifecycleHooks": [{"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"], **changes}]}


_BAD_CONFIGURATION: dict[str, tuple[dict[str, Any], str]] = {
    "strategy": ({"strategy": "GREEN"}, "strategy should be one of"),
    "canary's percent": (
        {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 0.05}},
        "canaryPercent must be from 0.1 to 100",
    ),
    "canary's decimals": (
        {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": 5.55}},
        "canaryPercent must be a multiple of 0.1",
    ),
    "canary's bake time": (
        {"strategy": "CANARY", "canaryConfiguration": {"canaryBakeTimeInMinutes": 1441}},
        "canaryBakeTimeInMinutes must be from 0 to 1440",
    ),
    "step": (
        {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 2.9}},
        "stepPercent must be from 3.0 to 100",
    ),
    "step's decimals": (
        {"strategy": "LINEAR", "linearConfiguration": {"stepPercent": 3.01}},
        "stepPercent must be a multiple of 0.1",
    ),
    "step's bake time": (
        {"strategy": "LINEAR", "linearConfiguration": {"stepBakeTimeInMinutes": -1}},
        "stepBakeTimeInMinutes must be from 0 to 1440",
    ),
    "another strategy's step": ({"linearConfiguration": {"stepPercent": 50}}, "only valid with"),
    "bake time": ({"bakeTimeInMinutes": 1441}, "bakeTimeInMinutes must be from 0 to 1440"),
    "Lambda hook": (
        {"lifecycleHooks": [{"hookTargetArn": "arn:f", "lifecycleStages": ["PRE_SCALE_UP"]}]},
        "lifecycleHooks.roleArn can not be blank",
    ),
    "hook's kind": (_pause(targetType="SLEEP"), "targetType should be one of"),
    "hook without stages": (_pause(lifecycleStages=[]), "can not be empty"),
    "hook's stage": (_pause(lifecycleStages=["PRODUCTION_TRAFFIC_SHIFT"]), "cannot be configured at"),
    "pause with a target": (_pause(hookTargetArn="arn:f"), "not applicable to PAUSE"),
    "timeout": (_pause(timeoutConfiguration={"timeoutInMinutes": 20161}), "from 1 to 20160"),
    "timeout's action": (_pause(timeoutConfiguration={"action": "STOP"}), "CONTINUE,ROLLBACK"),
    "hook's unknown field": (_pause(name="x"), "does not model deploymentConfiguration.lifecycleHooks.name"),
}


@pytest.mark.parametrize(("changes", "words"), _BAD_CONFIGURATION.values(), ids=_BAD_CONFIGURATION)
def test_a_configuration_outside_of_ecs_s_limits_is_refused(
    untouched: tuple[Ecs, dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    ecs, request_ = untouched[0], copy.deepcopy(untouched[1])
    request_["deploymentConfiguration"].update(changes)
    _is_refused(ecs, request_, words)


@pytest.mark.parametrize("percent", [0.1, 0.3, 0.7, 5, 8.2, 33.3, 100])
def test_a_percentage_with_one_decimal_is_within_ecs_s_limits(
    ecs: Ecs, request_: dict[str, Any], percent: float
) -> None:
    canary = {"strategy": "CANARY", "canaryConfiguration": {"canaryPercent": percent}}
    request_["deploymentConfiguration"].update(canary)

    made = ecs.call("CreateService", request_)["service"]["deploymentConfiguration"]

    assert made["canaryConfiguration"]["canaryPercent"] == percent


_BAD_WIRING: dict[str, tuple[dict[str, Any], str]] = {
    "no alternate group": ({"alternateTargetGroupArn": ""}, "alternateTargetGroupArn can not be blank"),
    "no production rule": ({"productionListenerRule": ""}, "productionListenerRule can not be blank"),
    "no role": ({"roleArn": ""}, "roleArn can not be blank"),
    "unknown group": ({"alternateTargetGroupArn": "arn:x"}, "The target group arn:x does not exist"),
    "unknown rule": ({"productionListenerRule": "arn:x"}, "The listener rule arn:x does not exist"),
    "unknown role": ({"roleArn": "arn:aws:iam::1:role/x"}, "unable to assume the role"),
    "unknown field": ({"name": "x"}, "advancedConfiguration.name"),
}


@pytest.mark.parametrize(("changes", "words"), _BAD_WIRING.values(), ids=_BAD_WIRING)
def test_a_load_balancer_that_cannot_shift_traffic_is_refused(
    untouched: tuple[Ecs, dict[str, Any]], changes: dict[str, Any], words: str
) -> None:
    ecs, request_ = untouched[0], copy.deepcopy(untouched[1])
    request_["loadBalancers"][0]["advancedConfiguration"].update(changes)
    _is_refused(ecs, request_, words)


def test_the_same_group_or_rule_twice_is_refused(ecs: Ecs, request_: dict[str, Any]) -> None:
    advanced = request_["loadBalancers"][0]["advancedConfiguration"]
    twice = {**advanced, "testListenerRule": advanced["productionListenerRule"]}
    request_["loadBalancers"][0]["advancedConfiguration"] = twice
    _is_refused(ecs, request_, "must be different listener rules")
    twice = {**advanced, "alternateTargetGroupArn": ecs.target_group}
    request_["loadBalancers"][0]["advancedConfiguration"] = twice
    _is_refused(ecs, request_, "must not be the targetGroupArn")


def test_a_strategy_that_shifts_traffic_needs_the_advanced_configuration(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    del request_["loadBalancers"][0]["advancedConfiguration"]
    _is_refused(ecs, request_, "advancedConfiguration is required .* BLUE_GREEN")
    request_["loadBalancers"] = []
    del request_["healthCheckGracePeriodSeconds"]
    request_["deploymentConfiguration"]["strategy"] = "CANARY"
    _is_refused(ecs, request_, "CANARY requires a load balancer")


@pytest.mark.parametrize(
    ("service", "policy", "words"),
    [
        ("ecs-tasks.amazonaws.com", _POLICY, "unable to assume the role"),
        ("ecs.amazonaws.com", None, "not authorized to perform: elasticloadbalancing:ModifyRule"),
    ],
)
def test_a_role_that_cannot_shift_traffic_is_refused(
    ecs: Ecs, request_: dict[str, Any], service: str, policy: str | None, words: str
) -> None:
    role = _role(ecs, name="other", service=service, policy=policy)
    request_["loadBalancers"][0]["advancedConfiguration"]["roleArn"] = role
    _is_refused(ecs, request_, words)


def test_a_new_role_is_unknown_to_ecs_for_as_long_as_was_asked_for(
    ecs: Ecs, request_: dict[str, Any]
) -> None:
    ask(ecs.account.server, "iam/propagation", {"seconds": 3600})
    try:
        _is_refused(ecs, request_, "unable to assume the role")
    finally:
        ask(ecs.account.server, "iam/propagation", {"seconds": 0})
    assert ecs.call("CreateService", request_)["service"]


def test_a_role_that_loses_its_permission_fails_the_deployment(ecs: Ecs, request_: dict[str, Any]) -> None:
    ecs.call("CreateService", request_)
    _update(ecs, lifecycleHooks=[{"targetType": "PAUSE", "lifecycleStages": ["POST_SCALE_UP"]}])
    found = _latest(ecs)
    ecs.account.client("iam").detach_role_policy(RoleName="infrastructure", PolicyArn=_POLICY)
    hook = found["lifecycleHookDetails"][0]["hookId"]
    ecs.call(
        "ContinueServiceDeployment", {"serviceDeploymentArn": found["serviceDeploymentArn"], "hookId": hook}
    )
    ended = _latest(ecs)
    assert ended["status"] == "ROLLBACK_FAILED"
    assert "not authorized to perform: elasticloadbalancing:ModifyRule" in ended["statusReason"]


def _is_refused(ecs: Ecs, request: dict[str, Any], words: str) -> None:
    with pytest.raises(ClientError, match=words) as error:
        ecs.call("CreateService", request)
    assert error.value.response["Error"]["Code"] == "InvalidParameterException"
