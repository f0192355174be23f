"""What a strategy requires of an environment, and the settings of UpdateService that make ECS shift traffic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mclass_tf import verify
from mclass_tf.aws import error_code
from mclass_tf.errors import ConfigurationError, Hint, RevisionGoneError, UsageError
from mclass_tf.flows.deployer.registration import groups_and_rules
from mclass_tf.rollout import Patience
from mclass_tf.service import Ecs, Service
from mclass_tf.session import Session
from mclass_tf.strategy import BLUE_GREEN, Strategy

_HINT = '`apply` again; `verify` says what differs. Or release with strategy = "rolling"'
_TWO = 2


def require_wiring(session: Session, outputs: verify.Outputs, service: Service) -> None:
    """Raise ConfigurationError, before any change, if the environment's strategy cannot be carried out.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/alb-resources-for-blue-green.html
    """
    strategy = session.environment.release.strategy
    if service.desired == 0 and outputs.desired_count == 0:
        raise ConfigurationError(
            f"nothing can be released in {session.environment.name}: the service is to run 0 tasks",
            hint=Hint(
                "set desired_count in terraform.tfvars above 0, then ",
                ("apply", session.environment.name),
                "; nothing was changed",
            ),
        )
    _require_alarms(session, strategy.alarms)
    if not strategy.shifts:
        return
    name = f"the strategy {strategy.name} cannot be carried out in {session.environment.name}"
    if len(set(outputs.target_group_arns.values())) != _TWO:
        raise ConfigurationError(f"{name}: there are not two target groups", hint=_HINT)
    if outputs.production_listener_rule_arn == outputs.test_listener_rule_arn:
        raise ConfigurationError(
            f"{name}: production and test traffic have one rule, ECS needs two", hint=_HINT
        )
    for what, arn in (
        ("production", outputs.production_listener_rule_arn),
        ("test", outputs.test_listener_rule_arn),
    ):
        rule = _rule(session, arn)
        if rule is None:
            raise ConfigurationError(f"{name}: the rule of {what} traffic is gone ({arn})", hint=_HINT)
        if not _weights(rule):
            raise ConfigurationError(
                f"{name}: the rule of {what} traffic forwards to no target group", hint=_HINT
            )


def _require_alarms(session: Session, names: Sequence[str]) -> None:
    """Raise ConfigurationError if an alarm does not exist: ECS accepts any name, and would watch nothing.

    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deployment-alarm-failure.html
    """
    if not names:
        return
    pages = session.aws.cloudwatch.get_paginator("describe_alarms").paginate(
        AlarmNames=list(names), AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    states = {
        alarm["AlarmName"]: alarm["StateValue"]
        for page in pages
        for alarm in (*page.get("MetricAlarms", ()), *page.get("CompositeAlarms", ()))
    }
    missing = [name for name in names if name not in states]
    if missing:
        raise ConfigurationError(
            f"CloudWatch has no alarm {', '.join(missing)} in the account and region of {session.environment.name}",
            hint="make the alarm, or take its name out of `alarms` in environment.toml; nothing was changed",
        )
    ringing = [name for name in names if states[name] == "ALARM"]
    if ringing:
        session.report(
            f"in ALARM already: {', '.join(ringing)}; ECS ignores these alarms in a deployment that begins now"
        )


def require_pauses(
    session: Session, service: Service, pause_at: Sequence[str], *, under_way: Sequence[str] | None
) -> None:
    """Raise UsageError, before any change, if a rollout cannot pause at these stages.

    `under_way` are the pause stages of the deployment to adopt, None if a new one will start.
    """
    name, strategy = session.environment.name, session.environment.release.strategy
    leave_out = "leave out --pause-at"
    if not strategy.shifts:
        raise UsageError(
            f"a rolling release cannot be paused: in {name} tasks are replaced one after the other, and each gets traffic at once",
            hint=f'{leave_out}, or write strategy = "{BLUE_GREEN}" below [release] in environments/{name}/environment.toml',
        )
    if service.desired == 0:
        raise UsageError(
            f"the first release of {name} cannot be paused: it is rolling, as there is no traffic to shift",
            hint=f"{leave_out}; the next release can",
        )
    missing = [stage for stage in pause_at if under_way is not None and stage not in under_way]
    if missing:
        raise UsageError(
            f"the rollout that is under way in {name} does not wait at {', '.join(missing)}: pauses are set when a rollout starts",
            hint=Hint(f"{leave_out} to adopt it as it is; ", ("abort", name), " rolls it back"),
        )


def is_wired(outputs: verify.Outputs, service: Service) -> bool:
    """Return whether ECS shifts the traffic of the service between both target groups by the rules of the outputs."""
    applied = (
        frozenset(outputs.target_group_arns.values()),
        outputs.production_listener_rule_arn,
        outputs.test_listener_rule_arn,
    )
    return [groups_and_rules(entry) for entry in service.load_balancers] == [applied]


def target_group_in_use(ecs: Ecs, outputs: verify.Outputs, service: Service, *, patience: Patience) -> str:
    """Return the target group in which ECS has the tasks of a service at rest, "" if it does not say or need not."""
    if is_wired(outputs, service) and _has_container(outputs, service):
        return ""
    return resolved_target_group(ecs, outputs, service, patience=patience)


def resolved_target_group(ecs: Ecs, outputs: verify.Outputs, service: Service, *, patience: Patience) -> str:
    """Return the target group to which ECS has resolved what a service at rest runs, "" if it does not say."""
    resolved: tuple[str, ...] = ()
    if len(service.revision_arns) == 1:
        resolved = groups_of_revision(ecs, service.revision_arns[0], patience=patience)
    known = set(resolved or service.target_group_arns) & set(outputs.target_group_arns.values())
    return known.pop() if len(known) == 1 else ""


def groups_of_revision(ecs: Ecs, arn: str, *, patience: Patience) -> tuple[str, ...]:
    """Return the target groups of a service revision, none if ECS does not say or no longer has the revision."""
    try:
        return patience(lambda: ecs.revision(arn)).target_group_arns
    except RevisionGoneError:
        return ()


def _has_container(outputs: verify.Outputs, service: Service) -> bool:
    """Return whether the load balancer sends requests to the container and port of the outputs, as far as ECS says."""
    expected = {
        "containerName": outputs.container_name,
        "containerPort": outputs.container_port,
    }
    return all(
        balancer.get(name) in (None, value)
        for balancer in service.load_balancers
        for name, value in expected.items()
    )


def order_settings(
    session: Session,
    outputs: verify.Outputs,
    service: Service,
    strategy: Strategy,
    *,
    pauses: Sequence[str],
    in_use: str = "",
) -> dict[str, Any]:
    """Return the settings of UpdateService besides the task definition; empty if none must change.

    `pauses` are the stages at which ECS waits for an answer. `loadBalancers` are sent only if they must change: ECS takes them
    for the truth about which target group is in use. If that contradicts what it has resolved, it puts both versions in one.
    https://github.com/hashicorp/terraform-provider-aws/issues/45678
    """
    settings: dict[str, Any] = {}
    configuration = strategy.configuration(service.configuration, pauses=pauses)
    if configuration:
        settings["deploymentConfiguration"] = configuration
    if strategy.shifts and not (is_wired(outputs, service) and _has_container(outputs, service)):
        settings["loadBalancers"] = wiring(session, outputs, in_use=in_use)
    return settings


def wiring_settings(
    session: Session, outputs: verify.Outputs, service: Service, *, in_use: str = ""
) -> dict[str, Any]:
    """Return the settings of a rolling deployment that configures both target groups.

    ECS requires it before the first deployment that shifts traffic:
    https://docs.aws.amazon.com/AmazonECS/latest/developerguide/update-rolling-to-bluegreen.html
    """
    settings = order_settings(session, outputs, service, Strategy(), pauses=())
    if is_wired(outputs, service):
        return settings
    return {**settings, "loadBalancers": wiring(session, outputs, in_use=in_use)}


def wiring(session: Session, outputs: verify.Outputs, *, in_use: str = "") -> list[dict[str, Any]]:
    """Return the `loadBalancers` of UpdateService: the target group in use, and the other one as the alternate.

    `in_use` is the target group in which ECS has the tasks. If ECS does not say, it is the one that gets most requests.
    """
    groups = sorted(outputs.target_group_arns.values())
    in_use = in_use or _busiest(session, outputs, groups)
    return [
        {
            "containerName": outputs.container_name,
            "containerPort": outputs.container_port,
            "targetGroupArn": in_use,
            "advancedConfiguration": {
                "alternateTargetGroupArn": next(arn for arn in groups if arn != in_use),
                "productionListenerRule": outputs.production_listener_rule_arn,
                "testListenerRule": outputs.test_listener_rule_arn,
                "roleArn": outputs.infrastructure_role_arn,
            },
        }
    ]


def _busiest(session: Session, outputs: verify.Outputs, groups: Sequence[str]) -> str:
    weights = {arn: weight for arn, weight in production_weights(session, outputs).items() if arn in groups}
    blue = outputs.target_group_arns.get("blue", groups[0])
    return max(weights, key=lambda arn: (weights[arn], arn == blue), default=blue)


def production_weights(session: Session, outputs: verify.Outputs) -> dict[str, int]:
    """Return the weights of the rule of production traffic by target group; none if the rule is gone."""
    return _weights(_rule(session, outputs.production_listener_rule_arn) or {})


def rollback_strategy(session: Session, outputs: verify.Outputs, service: Service) -> Strategy:
    """Return the strategy of a rollback with nothing under way: shift all traffic as soon as the old version is up.

    A proven version needs no test and no bake time, and users must leave the bad version at once.
    """
    if not session.environment.release.strategy.shifts or not is_wired(outputs, service):
        return Strategy()
    return Strategy(name=BLUE_GREEN, bake_minutes=0)


def _rule(session: Session, arn: str) -> Mapping[str, Any] | None:
    try:
        rules: Any = session.aws.elbv2.describe_rules(RuleArns=[arn])["Rules"]
    except Exception as error:
        if error_code(error) not in ("RuleNotFound", "ValidationError"):
            raise
        return None
    return rules[0] if rules else None


def _weights(rule: Mapping[str, Any]) -> dict[str, int]:
    return {
        group["TargetGroupArn"]: int(group.get("Weight", 0))
        for action in rule.get("Actions", ())
        for group in (action.get("ForwardConfig") or {}).get("TargetGroups", ())
    }
