"""Changes what a release depends on, through the API, and puts all of it back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Self

from mclass_tf.aws import Aws, error_code
from mclass_tf.rehearsal.result import Settings

_DELAY = "deregistration_delay.timeout_seconds"
_ENDING_SECONDS: Final = 180.0
_COUNT: Final = "ecs:service:DesiredCount"
_SUSPENDED = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
# With these an execution role may pull an image.
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:*", "*")


@dataclass(frozen=True, kw_only=True)
class Place:
    """The names of what is changed, from the environment's outputs."""

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


class Surroundings:
    """Use it as a context: at its end everything is as it was, whatever happened. Each change puts back what it found."""

    def __init__(self, aws: Aws, place: Place, *, report: Callable[[str], None]) -> None:
        self.aws = aws
        self.place = place
        self._report = report
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _later(self, what: str, undo: Callable[[], object]) -> None:
        def put_back() -> None:
            self._report(f"putting back {what}")
            undo()

        self._undo.callback(put_back)

    def set_count(self, desired: int) -> None:
        """Have the service run so many tasks, until autoscaling thinks otherwise."""
        if self._service()["desiredCount"] not in {0, desired}:
            self._update({"desiredCount": desired})

    def hold_count(self, desired: int) -> None:
        """Have the service run so many tasks, whatever autoscaling thinks of them meanwhile."""
        scaling, place = self.aws.autoscaling, self.place
        resource = f"service/{place.cluster}/{place.service}"
        targets = scaling.describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[resource], ScalableDimension=_COUNT
        )["ScalableTargets"]
        for target in targets:
            state: Any = target.get("SuspendedState") or dict.fromkeys(_SUSPENDED, False)
            self._later("autoscaling", partial(self._suspend, resource, state))
            self._suspend(resource, dict.fromkeys(_SUSPENDED, True))
        self.set_count(desired)

    def _suspend(self, resource: str, state: Any) -> None:
        self.aws.autoscaling.register_scalable_target(
            ServiceNamespace="ecs", ResourceId=resource, ScalableDimension=_COUNT, SuspendedState=state
        )

    def set_deregistration_delay(self, seconds: int) -> None:
        elbv2 = self.aws.elbv2
        for arn in self.place.target_group_arns:
            attributes = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
            before = next(each["Value"] for each in attributes if each["Key"] == _DELAY)
            self._later(f"the deregistration delay of {before} s", partial(self._delay, arn, before))
            self._delay(arn, str(seconds))

    def _delay(self, arn: str, value: str) -> None:
        self.aws.elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": _DELAY, "Value": value}]
        )

    def set_health_check_interval(self, seconds: int) -> None:
        elbv2 = self.aws.elbv2
        groups = elbv2.describe_target_groups(TargetGroupArns=list(self.place.target_group_arns))
        for group in groups["TargetGroups"]:
            arn, before = group["TargetGroupArn"], group["HealthCheckIntervalSeconds"]
            self._later(f"the health check interval of {before} s", partial(self._interval, arn, before))
            self._interval(arn, seconds)

    def _interval(self, arn: str, seconds: int) -> None:
        self.aws.elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckIntervalSeconds=seconds)

    def set_grace_period(self, seconds: int) -> None:
        before = self._service()["healthCheckGracePeriodSeconds"]
        self._later(
            f"the grace period of {before} s", lambda: self._update({"healthCheckGracePeriodSeconds": before})
        )
        self._update({"healthCheckGracePeriodSeconds": seconds})

    def keep_grace_period(self) -> None:
        """Put the grace period back in the end, whoever changes it meanwhile."""
        before = self._service()["healthCheckGracePeriodSeconds"]
        self._later(
            f"the grace period of {before} s", lambda: self._update({"healthCheckGracePeriodSeconds": before})
        )

    def keep_deployment_configuration(self) -> dict[str, Any]:
        """Return it, and put it back in the end, whoever changes it meanwhile."""
        service = self._service()
        before: dict[str, Any] = dict(service["deploymentConfiguration"])
        # What may be rebalanced over zones hangs on the maximum percent: ECS takes the two together or not at all.
        both = {name: service[name] for name in ("deploymentConfiguration", "availabilityZoneRebalancing")}
        self._later("the deployment configuration", lambda: self._update(both))
        return before

    def make_error_alarm(self, name: str) -> None:
        """Make an alarm that goes off when a target of the load balancer has answered with 5xx within a minute.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
        """
        load_balancer = self.place.load_balancer_arn.partition(":loadbalancer/")[2]
        cloudwatch = self.aws.cloudwatch
        self._later(f"the alarms without {name}", lambda: cloudwatch.delete_alarms(AlarmNames=[name]))
        cloudwatch.put_metric_alarm(
            AlarmName=name,
            AlarmDescription="Rehearsal: the new version answers with 5xx",
            Namespace="AWS/ApplicationELB",
            MetricName="HTTPCode_Target_5XX_Count",
            Dimensions=[{"Name": "LoadBalancer", "Value": load_balancer}],
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanOrEqualToThreshold",
            TreatMissingData="notBreaching",
        )

    def group_in_use(self) -> str:
        """Return the ARN of the target group that has all production traffic, or most of it."""
        rules = self.aws.elbv2.describe_rules(RuleArns=[self.place.production_rule_arn])["Rules"]
        weights = {
            group["TargetGroupArn"]: int(group.get("Weight", 0))
            for action in rules[0]["Actions"]
            for group in action.get("ForwardConfig", {}).get("TargetGroups", ())
        }
        return max(weights, key=lambda arn: weights[arn])

    def keep_network(self) -> dict[str, Any]:
        """Return the network configuration, and put it back in the end if it is another one then."""
        before: dict[str, Any] = dict(self._service()["networkConfiguration"])

        def undo() -> None:
            if self._service()["networkConfiguration"] != before:
                self._update({"networkConfiguration": before})

        self._later("the network configuration", undo)
        return before

    def closed_security_group(self) -> str:
        """Make a security group that lets nothing in and all out; return its id."""
        ec2 = self.aws.ec2
        group = ec2.create_security_group(
            GroupName=f"mclass-rehearsal-{time.time_ns()}",
            Description="Rehearsal: lets nothing in",
            VpcId=self.place.vpc_id,
        )["GroupId"]
        self._later("the security groups", partial(self._delete_security_group, group))
        return group

    def _delete_security_group(self, group: str) -> None:
        """The last tasks that have it are still ending."""
        deadline = time.monotonic() + _ENDING_SECONDS
        while True:
            try:
                self.aws.ec2.delete_security_group(GroupId=group)
            except Exception as error:
                if error_code(error) != "DependencyViolation" or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            else:
                return

    def forbid_pull(self) -> None:
        """Take the right to pull images from the execution role, in its inline policies."""
        iam, role = self.aws.iam, self.place.execution_role
        for name in iam.list_role_policies(RoleName=role)["PolicyNames"]:
            policy: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            document = policy if isinstance(policy, dict) else json.loads(policy)
            kept = [each for each in document["Statement"] if not _allows_pull(each)]
            if len(kept) == len(document["Statement"]):
                continue
            self._later(f"the policy {name}", partial(self._put_policy, role, name, document))
            if kept:
                self._put_policy(role, name, {**document, "Statement": kept})
            else:
                iam.delete_role_policy(RoleName=role, PolicyName=name)

    def _put_policy(self, role: str, name: str, document: Mapping[str, Any]) -> None:
        self.aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def delete_image(self, digest: str) -> None:
        """Delete the rehearsal's own image from the repository: nothing to put back."""
        self.aws.ecr.batch_delete_image(
            repositoryName=self.place.repository, imageIds=[{"imageDigest": digest}]
        )

    def running_tasks(self) -> tuple[str, ...]:
        answer = self.aws.ecs.list_tasks(
            cluster=self.place.cluster, serviceName=self.place.service, desiredStatus="RUNNING"
        )
        return tuple(answer["taskArns"])

    def stop_task(self, arn: str, *, reason: str) -> None:
        self.aws.ecs.stop_task(cluster=self.place.cluster, task=arn, reason=reason)

    def is_at_rest(self) -> bool:
        """Tell whether no deployment is under way."""
        return len(self._service()["deployments"]) <= 1 and not any(
            each.get("rolloutState") == "IN_PROGRESS" and each["desiredCount"]
            for each in self._service()["deployments"]
        )

    def is_waiting(self) -> bool:
        """Tell whether the latest deployment waits at a pause for somebody's answer.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/pause-lifecycle-hooks.html
        """
        place, call = self.place, self.aws.call_ecs
        request = {"cluster": place.cluster, "service": place.service, "status": ["IN_PROGRESS"]}
        arns = [
            each["serviceDeploymentArn"]
            for each in call("ListServiceDeployments", request).get("serviceDeployments", ())
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
        """Tell whether the service runs what it should, all of it healthy targets."""
        service = self._service()
        desired = service["desiredCount"]
        return (
            len(service["deployments"]) == 1
            and service["runningCount"] == desired
            and self.healthy_targets() >= desired
        )

    def healthy_targets(self) -> int:
        answers = (
            self.aws.elbv2.describe_target_health(TargetGroupArn=arn) for arn in self.place.target_group_arns
        )
        return sum(
            target["TargetHealth"]["State"] == "healthy"
            for answer in answers
            for target in answer["TargetHealthDescriptions"]
        )

    def settings(self, *, speed: float, service_variables: Mapping[str, str]) -> Settings:
        """Return what is in force now; `service_variables` are those of the image, below those of the task definition."""
        service, elbv2 = self._service(), self.aws.elbv2
        group_arn = self.place.target_group_arns[0]
        group = elbv2.describe_target_groups(TargetGroupArns=[group_arn])["TargetGroups"][0]
        delays = elbv2.describe_target_group_attributes(TargetGroupArn=group_arn)["Attributes"]
        attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=self.place.load_balancer_arn)[
            "Attributes"
        ]
        container = self._container(service["taskDefinition"])
        own = {each["name"]: each["value"] for each in container.get("environment", ())}
        variables = {**service_variables, **own}
        deployment = service["deploymentConfiguration"]
        return Settings(
            speed=speed,
            desired_count=service["desiredCount"],
            minimum_healthy_percent=deployment["minimumHealthyPercent"],
            maximum_percent=deployment["maximumPercent"],
            circuit_breaker=bool(deployment.get("deploymentCircuitBreaker", {}).get("rollback")),
            grace_period=service.get("healthCheckGracePeriodSeconds", 0),
            deregistration_delay=int(_value(delays, _DELAY)),
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
        arn = self._service()["taskDefinition"]
        definition = self.aws.ecs.describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return int(definition["memory"])

    def _container(self, task_definition: str) -> Any:
        definition = self.aws.ecs.describe_task_definition(taskDefinition=task_definition)["taskDefinition"]
        return definition["containerDefinitions"][0]

    def _service(self) -> Any:
        """As ECS answers it: the SDK's model may be too old for all of its settings, and what it drops could not be put back."""
        place = self.place
        request = {"cluster": place.cluster, "services": [place.service]}
        return self.aws.call_ecs("DescribeServices", request)["services"][0]

    def _update(self, settings: Mapping[str, Any]) -> None:
        self.aws.call_ecs(
            "UpdateService", {"cluster": self.place.cluster, "service": self.place.service, **settings}
        )


def _allows_pull(statement: Mapping[str, Any]) -> bool:
    actions = statement.get("Action", ())
    named = (actions,) if isinstance(actions, str) else tuple(actions)
    return statement.get("Effect") == "Allow" and any(action in _PULL for action in named)


def _value(attributes: Any, key: str) -> str:
    return str(next(each["Value"] for each in attributes if each["Key"] == key))


def _number(variables: Mapping[str, str], *names: str) -> float | None:
    return next((float(variables[name]) for name in names if variables.get(name)), None)
