"""The two CloudWatch alarms of a target tracking policy: above its target value, and well below it.

Application Auto Scaling creates, updates and deletes them.
https://docs.aws.amazon.com/autoscaling/application/userguide/application-auto-scaling-target-tracking.html
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from moto.applicationautoscaling import models
from moto.cloudwatch.models import Dimension, MetricDataQuery, MetricStat, cloudwatch_backends
from moto.cloudwatch.models import Metric as AlarmMetric

from mclass_tf.local.aws.autoscaling.decide import LOW_SHARE

REQUESTS = "ALBRequestCountPerTarget"
_SERVICE_METRICS = {
    "ECSServiceAverageCPUUtilization": "CPUUtilization",
    "ECSServiceAverageMemoryUtilization": "MemoryUtilization",
}
_PERIOD = 60
_PERIODS_HIGH, _PERIODS_LOW = 3, 15


class Policy(models.FakeApplicationAutoscalingPolicy):  # type: ignore[misc]  # moto is not typed for us
    """A scaling policy with its alarms. moto creates alarms on the CPU with a threshold of 6, whatever the policy."""

    def create_alarms(self) -> None:
        """Create the alarms. moto's constructor calls this last, before it replaces an existing policy."""
        before = self._previous_policy()
        if before is not None:
            self.policy_arn, self.creation_time = before.policy_arn, before.creation_time
        if self.policy_type == "TargetTrackingScaling" and self.service_namespace == "ecs":
            self.alarms = [self._alarm(is_high=True), self._alarm(is_high=False)]

    def _previous_policy(self) -> Any:
        key = self.formulate_key(
            self.service_namespace, self.resource_id, self.scalable_dimension, self.policy_name
        )
        return models.applicationautoscaling_backends[self.account_id][self.region_name].policies.get(key)

    @property
    def configuration(self) -> Mapping[str, Any]:
        return self.target_tracking_scaling_policy_configuration or {}

    @property
    def target_value(self) -> float:
        return float(self.configuration["TargetValue"])

    def _alarm(self, *, is_high: bool) -> Any:
        kind = "High" if is_high else "Low"
        action = f"{self.policy_arn}:createdBy/{uuid.uuid4()}"
        settings: dict[str, Any] = {
            "namespace": None,
            "metric_name": None,
            "period": None,
            "statistic": None,
            "dimensions": [],
            **self._metric(),
        }
        return cloudwatch_backends[self.account_id][self.region_name].put_metric_alarm(
            name=f"TargetTracking-{self.resource_id}-Alarm{kind}-{uuid.uuid4()}",
            comparison_operator="GreaterThanThreshold" if is_high else "LessThanThreshold",
            evaluation_periods=_PERIODS_HIGH if is_high else _PERIODS_LOW,
            threshold=self.target_value if is_high else self.target_value * LOW_SHARE,
            description=f"DO NOT EDIT OR DELETE. For TargetTrackingScaling policy {action}.",
            alarm_actions=[action],
            **settings,
        )

    def _metric(self) -> dict[str, Any]:
        """Return the metric of the alarms, as arguments of PutMetricAlarm."""
        predefined = self.configuration.get("PredefinedMetricSpecification")
        if predefined is not None and predefined["PredefinedMetricType"] == REQUESTS:
            _, _, group = str(predefined["ResourceLabel"]).partition("/targetgroup/")
            return _simple(
                "AWS/ApplicationELB",
                "RequestCountPerTarget",
                "Sum",
                {"TargetGroup": f"targetgroup/{group}"},
            )
        if predefined is not None:
            _, cluster, service = self.resource_id.split("/")
            metric = _SERVICE_METRICS[predefined["PredefinedMetricType"]]
            dimensions = {"ClusterName": cluster, "ServiceName": service}
            return {**_simple("AWS/ECS", metric, "Average", dimensions), "unit": "Percent"}
        custom = self.configuration["CustomizedMetricSpecification"]
        if custom.get("Metrics"):
            return {"metric_data_queries": [_query(entry) for entry in custom["Metrics"]]}
        dimensions = {entry["Name"]: entry["Value"] for entry in custom.get("Dimensions") or []}
        settings = _simple(custom["Namespace"], custom["MetricName"], custom["Statistic"], dimensions)
        return {**settings, "unit": custom.get("Unit")}


def _simple(namespace: str, name: str, statistic: str, dimensions: Mapping[str, str]) -> dict[str, Any]:
    return {
        "namespace": namespace,
        "metric_name": name,
        "statistic": statistic,
        "period": _PERIOD,
        "dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }


def _query(entry: Mapping[str, Any]) -> MetricDataQuery:
    metric_stat = entry.get("MetricStat")
    return MetricDataQuery(
        query_id=entry["Id"],
        label=entry.get("Label"),
        period=None,
        return_data=entry.get("ReturnData", True),
        expression=entry.get("Expression"),
        metric_stat=None
        if metric_stat is None
        else MetricStat(
            metric=AlarmMetric(
                metric_name=metric_stat["Metric"]["MetricName"],
                namespace=metric_stat["Metric"]["Namespace"],
                dimensions=[
                    Dimension(part["Name"], part["Value"])
                    for part in metric_stat["Metric"].get("Dimensions") or []
                ],
            ),
            period=_PERIOD,
            stat=metric_stat["Stat"],
            unit=metric_stat.get("Unit"),
        ),
    )
