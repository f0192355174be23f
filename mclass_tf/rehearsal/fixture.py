"""Changes the conditions of a release through the API, and restores all of them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, Self

from mclass_tf.aws import error_code
from mclass_tf.rehearsal.service_reader import DEREGISTRATION_DELAY, ServiceReader

_ENDING_SECONDS: Final = 180.0
_COUNT: Final = "ecs:service:DesiredCount"
_SUSPENDED = ("DynamicScalingInSuspended", "DynamicScalingOutSuspended", "ScheduledScalingSuspended")
# An execution role needs these actions to pull an image.
_PULL = ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:*", "*")


class ServiceFixture:
    """A context manager whose exit restores everything it changed, even after an error."""

    def __init__(self, service: ServiceReader, *, report: Callable[[str], None]) -> None:
        self.service = service
        self._aws, self._names = service.aws, service.names
        self._report = report
        self._undo = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._undo.close()

    def _restore_later(self, what: str, undo: Callable[[], object]) -> None:
        def restore() -> None:
            self._report(f"putting back {what}")
            undo()

        self._undo.callback(restore)

    def set_count(self, desired: int) -> None:
        """Set the desired count of the service. Autoscaling may change it later."""
        if self.service.describe()["desiredCount"] not in {0, desired}:
            self._update({"desiredCount": desired})

    def hold_count(self, desired: int) -> None:
        """Set the desired count of the service and suspend autoscaling."""
        scaling, names = self._aws.autoscaling, self._names
        resource = f"service/{names.cluster}/{names.service}"
        targets = scaling.describe_scalable_targets(
            ServiceNamespace="ecs", ResourceIds=[resource], ScalableDimension=_COUNT
        )["ScalableTargets"]
        for target in targets:
            state: Any = target.get("SuspendedState") or dict.fromkeys(_SUSPENDED, False)
            self._restore_later("autoscaling", partial(self._suspend, resource, state))
            self._suspend(resource, dict.fromkeys(_SUSPENDED, True))
        self.set_count(desired)

    def _suspend(self, resource: str, state: Any) -> None:
        self._aws.autoscaling.register_scalable_target(
            ServiceNamespace="ecs", ResourceId=resource, ScalableDimension=_COUNT, SuspendedState=state
        )

    def set_deregistration_delay(self, seconds: int) -> None:
        elbv2 = self._aws.elbv2
        for arn in self._names.target_group_arns:
            attributes = elbv2.describe_target_group_attributes(TargetGroupArn=arn)["Attributes"]
            before = next(each["Value"] for each in attributes if each["Key"] == DEREGISTRATION_DELAY)
            self._restore_later(f"the deregistration delay of {before} s", partial(self._delay, arn, before))
            self._delay(arn, str(seconds))

    def _delay(self, arn: str, value: str) -> None:
        self._aws.elbv2.modify_target_group_attributes(
            TargetGroupArn=arn, Attributes=[{"Key": DEREGISTRATION_DELAY, "Value": value}]
        )

    def set_health_check_interval(self, seconds: int) -> None:
        elbv2 = self._aws.elbv2
        groups = elbv2.describe_target_groups(TargetGroupArns=list(self._names.target_group_arns))
        for group in groups["TargetGroups"]:
            arn, before = group["TargetGroupArn"], group["HealthCheckIntervalSeconds"]
            self._restore_later(
                f"the health check interval of {before} s", partial(self._interval, arn, before)
            )
            self._interval(arn, seconds)

    def _interval(self, arn: str, seconds: int) -> None:
        self._aws.elbv2.modify_target_group(TargetGroupArn=arn, HealthCheckIntervalSeconds=seconds)

    def set_grace_period(self, seconds: int) -> None:
        self.keep_grace_period()
        self._update({"healthCheckGracePeriodSeconds": seconds})

    def keep_grace_period(self) -> None:
        """Restore the grace period at the end, even if something else changes it."""
        name = "healthCheckGracePeriodSeconds"
        before = self.service.describe()[name]
        self._restore_later(f"the grace period of {before} s", lambda: self._update({name: before}))

    def keep_deployment_configuration(self) -> None:
        """Restore at the end what a scenario changes in the deployment configuration, even if something else changes it.

        The rest belongs to the rollout. ECS keeps what a request leaves out, and refuses a strategy while a deployment is under way.
        """
        service = self.service.describe()
        before: dict[str, Any] = service["deploymentConfiguration"]
        alarms = before.get("alarms") or {"alarmNames": [], "enable": False, "rollback": False}
        kept = {name: before[name] for name in ("maximumPercent", "minimumHealthyPercent")}
        # Zone rebalancing depends on the maximum percent, so ECS accepts only both together.
        both = {
            "deploymentConfiguration": {**kept, "alarms": alarms},
            "availabilityZoneRebalancing": service["availabilityZoneRebalancing"],
        }
        self._restore_later("the deployment configuration", lambda: self._update(both))

    def make_error_alarm(self, name: str) -> None:
        """Create an alarm that fires when a target of the load balancer answered with 5xx within a minute.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
        """
        load_balancer = self._names.load_balancer_arn.partition(":loadbalancer/")[2]
        cloudwatch = self._aws.cloudwatch
        self._restore_later(f"the alarms without {name}", lambda: cloudwatch.delete_alarms(AlarmNames=[name]))
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

    def keep_network(self) -> dict[str, Any]:
        """Return the network configuration, and restore it at the end if it has changed."""
        before: dict[str, Any] = dict(self.service.describe()["networkConfiguration"])

        def undo() -> None:
            if self.service.describe()["networkConfiguration"] != before:
                self._update({"networkConfiguration": before})

        self._restore_later("the network configuration", undo)
        return before

    def closed_security_group(self) -> str:
        """Create a security group without ingress and with full egress; return its id."""
        ec2 = self._aws.ec2
        group = ec2.create_security_group(
            GroupName=f"mclass-rehearsal-{time.time_ns()}",
            Description="Rehearsal: lets nothing in",
            VpcId=self._names.vpc_id,
        )["GroupId"]
        self._restore_later("the security groups", partial(self._delete_security_group, group))
        return group

    def _delete_security_group(self, group: str) -> None:
        """Retry, because the last tasks that use the group are still stopping."""
        deadline = time.monotonic() + _ENDING_SECONDS
        while True:
            try:
                self._aws.ec2.delete_security_group(GroupId=group)
            except Exception as error:
                if error_code(error) != "DependencyViolation" or time.monotonic() > deadline:
                    raise
                time.sleep(1.0)
            else:
                return

    def forbid_pull(self) -> None:
        """Remove the permission to pull images from the execution role's inline policies."""
        iam, role = self._aws.iam, self._names.execution_role
        for name in _policy_names(iam, role):
            policy: Any = iam.get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]
            document = policy if isinstance(policy, dict) else json.loads(policy)
            kept = [each for each in document["Statement"] if not _allows_pull(each)]
            if len(kept) == len(document["Statement"]):
                continue
            self._restore_later(f"the policy {name}", partial(self._put_policy, role, name, document))
            if kept:
                self._put_policy(role, name, {**document, "Statement": kept})
            else:
                iam.delete_role_policy(RoleName=role, PolicyName=name)

    def _put_policy(self, role: str, name: str, document: Mapping[str, Any]) -> None:
        self._aws.iam.put_role_policy(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))

    def delete_image(self, digest: str) -> None:
        """Delete the rehearsal's own image from the repository. It needs no restoring."""
        self._aws.ecr.batch_delete_image(
            repositoryName=self._names.repository, imageIds=[{"imageDigest": digest}]
        )

    def stop_task(self, arn: str, *, reason: str) -> None:
        self._aws.ecs.stop_task(cluster=self._names.cluster, task=arn, reason=reason)

    def _update(self, settings: Mapping[str, Any]) -> None:
        self._aws.call_ecs(
            "UpdateService", {"cluster": self._names.cluster, "service": self._names.service, **settings}
        )


def _policy_names(iam: Any, role: str) -> list[str]:
    pages = iam.get_paginator("list_role_policies").paginate(RoleName=role)
    return [name for page in pages for name in page["PolicyNames"]]


def _allows_pull(statement: Mapping[str, Any]) -> bool:
    actions = statement.get("Action", ())
    named = (actions,) if isinstance(actions, str) else tuple(actions)
    return statement.get("Effect") == "Allow" and any(action in _PULL for action in named)
