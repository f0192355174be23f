"""Reads the rehearsed service and its settings from the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.aws import Aws, ecs_items
from mclass_tf.rehearsal.result import ServiceSettings

DEREGISTRATION_DELAY = "deregistration_delay.timeout_seconds"


@dataclass(frozen=True, kw_only=True)
class ServiceNames:
    """The names of the resources to read or change, from the environment's outputs."""

    cluster: str
    service: str
    repository: str
    target_group_arns: tuple[str, ...]
    load_balancer_arn: str
    production_rule_arn: str
    execution_role: str
    vpc_id: str
    security_group_id: str
    subnet_ids: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServiceReader:
    """The service of one environment."""

    aws: Aws
    names: ServiceNames

    def describe(self) -> Any:
        """Return ECS's raw answer: an old SDK model would drop settings, which could then not be restored."""
        names = self.names
        request = {"cluster": names.cluster, "services": [names.service]}
        return self.aws.call_ecs("DescribeServices", request)["services"][0]

    def group_in_use(self) -> str:
        """Return the ARN of the target group with all or most of the production traffic."""
        rules = self.aws.elbv2.describe_rules(RuleArns=[self.names.production_rule_arn])["Rules"]
        weights = {
            group["TargetGroupArn"]: int(group.get("Weight", 0))
            for action in rules[0]["Actions"]
            for group in action.get("ForwardConfig", {}).get("TargetGroups", ())
        }
        return max(weights, key=lambda arn: weights[arn])

    def running_tasks(self) -> tuple[str, ...]:
        pages = self.aws.ecs.get_paginator("list_tasks").paginate(
            cluster=self.names.cluster, serviceName=self.names.service, desiredStatus="RUNNING"
        )
        return tuple(arn for page in pages for arn in page["taskArns"])

    def is_at_rest(self) -> bool:
        """Tell whether no deployment is under way."""
        return len(self.describe()["deployments"]) <= 1 and not any(
            each.get("rolloutState") == "IN_PROGRESS" and each["desiredCount"]
            for each in self.describe()["deployments"]
        )

    def is_waiting(self) -> bool:
        """Tell whether the latest deployment waits at a pause for an answer.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html
        """
        names, call = self.names, self.aws.call_ecs
        request = {"cluster": names.cluster, "service": names.service, "status": ["IN_PROGRESS"]}
        arns = [
            each["serviceDeploymentArn"]
            for each in ecs_items(call, "ListServiceDeployments", request, "serviceDeployments")
        ]
        if not arns:
            return False
        described = call("DescribeServiceDeployments", {"serviceDeploymentArns": arns[:1]})
        return any(
            hook.get("status") == "AWAITING_ACTION"
            for each in described.get("serviceDeployments", ())
            for hook in each.get("lifecycleHookDetails") or ()
        )

    def is_steady(self) -> bool:
        """Tell whether the service runs its desired tasks and all of them are healthy targets."""
        service = self.describe()
        desired = service["desiredCount"]
        return (
            len(service["deployments"]) == 1
            and service["runningCount"] == desired
            and self.healthy_targets() >= desired
        )

    def healthy_targets(self) -> int:
        answers = (
            self.aws.elbv2.describe_target_health(TargetGroupArn=arn) for arn in self.names.target_group_arns
        )
        return sum(
            target["TargetHealth"]["State"] == "healthy"
            for answer in answers
            for target in answer["TargetHealthDescriptions"]
        )

    def settings(self, *, speed: float, service_variables: Mapping[str, str]) -> ServiceSettings:
        """Return the settings in force. `service_variables` are the image's; those of the task definition override them."""
        service, elbv2 = self.describe(), self.aws.elbv2
        group_arn = self.names.target_group_arns[0]
        group = elbv2.describe_target_groups(TargetGroupArns=[group_arn])["TargetGroups"][0]
        delays = elbv2.describe_target_group_attributes(TargetGroupArn=group_arn)["Attributes"]
        attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=self.names.load_balancer_arn)[
            "Attributes"
        ]
        container = self._container(service["taskDefinition"])
        own = {each["name"]: each["value"] for each in container.get("environment", ())}
        variables = {**service_variables, **own}
        deployment = service["deploymentConfiguration"]
        return ServiceSettings(
            speed=speed,
            desired_count=service["desiredCount"],
            minimum_healthy_percent=deployment["minimumHealthyPercent"],
            maximum_percent=deployment["maximumPercent"],
            circuit_breaker=bool(deployment.get("deploymentCircuitBreaker", {}).get("rollback")),
            grace_period=service.get("healthCheckGracePeriodSeconds", 0),
            deregistration_delay=int(_value(delays, DEREGISTRATION_DELAY)),
            idle_timeout=int(_value(attributes, "idle_timeout.timeout_seconds")),
            health_check_interval=group["HealthCheckIntervalSeconds"],
            healthy_threshold=group["HealthyThresholdCount"],
            unhealthy_threshold=group["UnhealthyThresholdCount"],
            stop_timeout=container.get("stopTimeout"),
            keep_alive=_number(variables, "MCLASS_FAULT_KEEP_ALIVE_SECONDS", "MCLASS_KEEP_ALIVE_SECONDS"),
            lame_duck=0.0
            if variables.get("MCLASS_FAULT_EXIT_ON_SIGTERM") == "true"
            else _number(variables, "MCLASS_LAME_DUCK_SECONDS"),
            longest_request=_number(variables, "MCLASS_LONGEST_REQUEST_SECONDS"),
        )

    def memory_mib(self) -> int:
        arn = self.describe()["taskDefinition"]
        definition = self.aws.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return int(definition["memory"])

    def _container(self, task_definition: str) -> Any:
        definition = self.aws.ecs.describe_task_definition(taskDefinition=task_definition)["taskDefinition"]
        return definition["containerDefinitions"][0]


def _value(attributes: Any, key: str) -> str:
    return str(next(each["Value"] for each in attributes if each["Key"] == key))


def _number(variables: Mapping[str, str], *names: str) -> float | None:
    return next((float(variables[name]) for name in names if variables.get(name)), None)
