"""Lists come in short pages: a client that reads only the first one loses items, here as on AWS."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.pages import SHORT
from tests.local.conftest import Account, Network

_COUNT = 2 * SHORT + 1


def _alarms(account: Account) -> tuple[Any, str, dict[str, Any], str]:
    client = account.client("cloudwatch")
    for number in range(_COUNT):
        client.put_metric_alarm(
            AlarmName=f"page-{number}",
            Namespace="pages",
            MetricName="m",
            Statistic="Sum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="GreaterThanThreshold",
        )
    return client, "describe_alarms", {"AlarmNamePrefix": "page-"}, "MetricAlarms"


def _policies(account: Account) -> tuple[Any, str, dict[str, Any], str]:
    client = account.client("iam")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "ecs-tasks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    client.create_role(RoleName="paged", AssumeRolePolicyDocument=json.dumps(trust))
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    for number in range(_COUNT):
        client.put_role_policy(RoleName="paged", PolicyName=f"p{number}", PolicyDocument=json.dumps(allowed))
    return client, "list_role_policies", {"RoleName": "paged"}, "PolicyNames"


def _log_groups(account: Account) -> tuple[Any, str, dict[str, Any], str]:
    client = account.client("logs")
    for number in range(_COUNT):
        client.create_log_group(logGroupName=f"/page/{number}")
    return client, "describe_log_groups", {"logGroupNamePrefix": "/page/"}, "logGroups"


@pytest.mark.parametrize("make", [_alarms, _policies, _log_groups])
def test_a_list_has_short_pages_which_together_are_complete(
    fresh: Account, make: Callable[[Account], tuple[Any, str, dict[str, Any], str]]
) -> None:
    client, operation, request, key = make(fresh)

    pages = [page[key] for page in client.get_paginator(operation).paginate(**request)]

    assert [len(page) for page in pages] == [SHORT, SHORT, 1]


def test_target_groups_listeners_and_rules_have_short_pages(fresh: Account, network: Network) -> None:
    elb = fresh.client("elbv2")
    groups = [
        elb.create_target_group(
            Name=f"page-{number}", Protocol="HTTP", Port=80, VpcId=network.vpc_id, TargetType="ip"
        )["TargetGroups"][0]["TargetGroupArn"]
        for number in range(_COUNT)
    ]
    balancer = elb.create_load_balancer(Name="pages", Subnets=network.subnet_ids)["LoadBalancers"][0]
    arn = balancer["LoadBalancerArn"]
    listeners = [
        elb.create_listener(
            LoadBalancerArn=arn,
            Port=8100 + number,
            Protocol="HTTP",
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
        )["Listeners"][0]["ListenerArn"]
        for number, group in enumerate(groups)
    ]
    for number in range(_COUNT):
        elb.create_rule(
            ListenerArn=listeners[0],
            Priority=number + 1,
            Conditions=[{"Field": "path-pattern", "Values": [f"/{number}"]}],
            Actions=[{"Type": "forward", "TargetGroupArn": groups[0]}],
        )

    def sizes(operation: str, key: str, **request: Any) -> list[int]:
        return [len(page[key]) for page in elb.get_paginator(operation).paginate(**request)]

    assert sizes("describe_listeners", "Listeners", LoadBalancerArn=arn) == [SHORT, SHORT, 1]
    assert sizes("describe_target_groups", "TargetGroups", LoadBalancerArn=arn) == [SHORT, SHORT, 1]
    # The default rule is one more.
    assert sizes("describe_rules", "Rules", ListenerArn=listeners[0]) == [SHORT, SHORT, SHORT]
    # What is named is returned at once.
    assert sizes("describe_target_groups", "TargetGroups", TargetGroupArns=groups) == [_COUNT]


def test_more_log_groups_than_aws_returns_at_once_are_refused(dev: Account) -> None:
    with pytest.raises(ClientError, match="less than or equal to 50"):
        dev.client("logs").describe_log_groups(limit=51)
