"""On an applied environment, `verify ENV` passes; it fails when somebody removes a protection behind Terraform's back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, cast

import pytest

from mclass_tf import verify
from mclass_tf.aws import Access, Aws

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("applied")]


class Applied(Protocol):
    """Environments that stand on the local AWS."""

    @property
    def commands(self) -> Any: ...
    def environment(self, name: str) -> Mapping[str, Any]: ...
    def shell_environment(self, name: str) -> dict[str, str]: ...


Undo = Callable[[], object]
Tamper = Callable[[Aws, Mapping[str, Any]], Undo]


@pytest.fixture(scope="module", params=["dev", "prod"])
def environment(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def outputs(applied: Applied, environment: str) -> Mapping[str, Any]:
    return applied.environment(environment)


@pytest.fixture(scope="module")
def aws(applied: Applied, environment: str) -> Aws:
    variables = applied.shell_environment(environment)
    access = Access(
        region=variables["AWS_REGION"],
        endpoint_url=variables["AWS_ENDPOINT_URL"],
        access_key_id=variables["AWS_ACCESS_KEY_ID"],
        secret_access_key=variables["AWS_SECRET_ACCESS_KEY"],
        session_token=variables.get("AWS_SESSION_TOKEN"),
    )
    return Aws(access)


def _open_tasks_to_the_world(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    group, port = outputs["service_security_group_id"], outputs["container_port"]
    rule: Any = {"IpProtocol": "tcp", "FromPort": port, "ToPort": port, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    aws.ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=[rule])
    return lambda: aws.ec2.revoke_security_group_ingress(GroupId=group, IpPermissions=[rule])


def _open_test_traffic(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    """Let every request with the header see a new version, whatever the header's value."""
    arn, elbv2 = outputs["test_listener_rule_arn"], cast("Any", aws.elbv2)
    (rule,) = elbv2.describe_rules(RuleArns=[arn])["Rules"]
    before = [
        {name: value for name, value in condition.items() if name != "Values"}
        for condition in rule["Conditions"]
    ]
    config = {"HttpHeaderName": outputs["test_header"]["name"], "Values": ["*"]}
    anyone = [
        {**condition, "HttpHeaderConfig": config} if condition["Field"] == "http-header" else condition
        for condition in before
    ]
    elbv2.modify_rule(RuleArn=arn, Conditions=anyone)
    return lambda: elbv2.modify_rule(RuleArn=arn, Conditions=before)


def _make_tags_mutable(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    def put(value: Any) -> Any:
        name = outputs["repository_name"]
        return aws.ecr.put_image_tag_mutability(repositoryName=name, imageTagMutability=value)

    put("MUTABLE")
    return lambda: put("IMMUTABLE")


def _keep_logs_for_ever(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    name = outputs["log_group_name"]
    (group,) = (
        group
        for group in aws.logs.describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        if group["logGroupName"] == name
    )
    days: Any = group["retentionInDays"]
    aws.logs.delete_retention_policy(logGroupName=name)
    return lambda: aws.logs.put_retention_policy(logGroupName=name, retentionInDays=days)


def _let_invalid_headers_in(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    def put(value: str) -> Any:
        attribute: Any = {"Key": "routing.http.drop_invalid_header_fields.enabled", "Value": value}
        return aws.elbv2.modify_load_balancer_attributes(
            LoadBalancerArn=outputs["alb_arn"], Attributes=[attribute]
        )

    put("false")
    return lambda: put("true")


def _make_the_execution_role_an_administrator(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    role = outputs["execution_role_arn"].rsplit("/", 1)[-1]
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    aws.iam.put_role_policy(RoleName=role, PolicyName="tampered", PolicyDocument=json.dumps(everything))
    return lambda: aws.iam.delete_role_policy(RoleName=role, PolicyName="tampered")


def _raise_the_scaling_maximum(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    def put(maximum: int) -> Any:
        return aws.autoscaling.register_scalable_target(
            ServiceNamespace="ecs",
            ResourceId=f"service/{outputs['cluster_name']}/{outputs['service_name']}",
            ScalableDimension="ecs:service:DesiredCount",
            MaxCapacity=maximum,
        )

    asked = outputs["autoscaling"]["max"]
    put(asked + 1)
    return lambda: put(asked)


def _switch_the_circuit_breaker_off(aws: Aws, outputs: Mapping[str, Any]) -> Undo:
    def put(*, enabled: bool) -> Any:
        return aws.ecs.update_service(
            cluster=outputs["cluster_name"],
            service=outputs["service_name"],
            deploymentConfiguration={
                "deploymentCircuitBreaker": {"enable": enabled, "rollback": enabled},
                "minimumHealthyPercent": outputs["deployment"]["minimum_healthy_percent"],
                "maximumPercent": outputs["deployment"]["maximum_percent"],
            },
        )

    put(enabled=False)
    return lambda: put(enabled=True)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A change behind Terraform's back, and the check that must notice it."""

    tamper: Tamper
    noticed_by: str


CASES = [
    Case(
        tamper=_open_tasks_to_the_world,
        noticed_by="the service's security group admits only the load balancer, on the container port",
    ),
    Case(
        tamper=_open_test_traffic,
        noticed_by="test traffic has a rule of its own, before the production rule, for the header of the outputs alone",
    ),
    Case(tamper=_make_tags_mutable, noticed_by="a tag that was pushed to the repository cannot be moved"),
    Case(tamper=_keep_logs_for_ever, noticed_by="the log group keeps its events for a limited time"),
    Case(tamper=_let_invalid_headers_in, noticed_by="the load balancer drops requests with invalid headers"),
    Case(
        tamper=_make_the_execution_role_an_administrator,
        noticed_by="no role has an administrator's permissions",
    ),
    Case(
        tamper=_raise_the_scaling_maximum, noticed_by="the service scales between the bounds of the outputs"
    ),
    Case(
        tamper=_switch_the_circuit_breaker_off,
        noticed_by="a failed deployment is stopped and rolled back by the circuit breaker",
    ),
]


@contextmanager
def _tampered(case: Case, aws: Aws, outputs: Mapping[str, Any]) -> Iterator[None]:
    undo = case.tamper(aws, outputs)
    try:
        yield
    finally:
        undo()


def _unreached(url: str, *, seconds: float) -> int:
    raise AssertionError(f"no case looks at {url}")


def test_an_applied_environment_passes_verify(applied: Applied, environment: str) -> None:
    done = applied.commands.run("verify", environment, "--local", "--json")
    failed = [result for result in done.document["results"] if result["status"] == "failed"]
    assert failed == []
    assert done.document["failed"] == 0
    assert done.document["passed"] > 60
    assert done.status == 0


@pytest.mark.parametrize("case", CASES, ids=[case.noticed_by for case in CASES])
def test_verify_fails_when_a_protection_is_removed_behind_terraforms_back(
    case: Case, aws: Aws, outputs: Mapping[str, Any]
) -> None:
    with _tampered(case, aws, outputs):
        (result,) = verify.run(outputs, aws, fetch=_unreached, only=[case.noticed_by]).results
    assert result.status is verify.CheckStatus.FAILED
    (result,) = verify.run(outputs, aws, fetch=_unreached, only=[case.noticed_by]).results
    assert result.status is verify.CheckStatus.PASSED, result.detail
