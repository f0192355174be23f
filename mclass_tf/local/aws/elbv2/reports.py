"""Dispatches the reports of the load balancer process."""

from __future__ import annotations

from moto.elbv2.models import elbv2_backends

from mclass_tf.local.aws.elbv2 import traffic_metrics
from mclass_tf.local.aws.elbv2.access_logs import AccessLogs
from mclass_tf.local.balancer.report import AccessLog, Applied, Failure, Health, Listening, Metrics, Report
from mclass_tf.local.live import live


class Reports:
    """Call `take` under the API lock."""

    def __init__(self, *, access_logs: AccessLogs) -> None:
        self._access_logs = access_logs

    def take(self, report: Report) -> None:
        match report:
            case Health():
                _take_health(report)
            case Listening():
                live.traffic.take_listening(report)
            case Failure():
                live.traffic.take_failure(report)
            case Metrics():
                live.traffic.take_metrics(report)
                traffic_metrics.take(report)
            case AccessLog():
                self._access_logs.take(report)
            case Applied():
                pass


def _take_health(report: Health) -> None:
    account_id, region = owner(report.target_group_arn)
    if elbv2_backends[account_id][region].take_health(report):
        live.changed("targets")


def owner(arn: str) -> tuple[str, str]:
    """Return account and region of an ARN."""
    parts = arn.split(":")
    return parts[4], parts[3]
