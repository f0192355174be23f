"""The regions of a service are listed without loading its model."""

from __future__ import annotations

import botocore.session
import pytest

from mclass_tf.local import aws
from tests.local import in_process


@pytest.mark.parametrize(
    "service",
    [
        "acm",
        "application-autoscaling",
        "cloudwatch",
        "ec2",
        "ecr",
        "ecs",
        "elbv2",
        "iam",
        "lambda",
        "logs",
        "s3",
        "sts",
    ],
)
def test_the_endpoint_prefix_matches_the_model(service: str) -> None:
    model = botocore.session.Session().get_service_data(service)

    assert aws.endpoint_prefix(service) == model["metadata"]["endpointPrefix"]


def test_the_regions_of_every_partition_are_listed() -> None:
    session = botocore.session.Session()

    assert "ap-northeast-2" in session.get_available_regions("elbv2")
    assert session.get_available_regions("elbv2", "aws-cn") == ["cn-north-1", "cn-northwest-1"]
    assert session.get_available_regions("no-such-service") == []


def test_host_names_in_china_have_its_suffix() -> None:
    account, region = in_process.new_account(), "cn-north-1"
    ecr = in_process.client(account, "ecr", region=region)

    repository = ecr.create_repository(repositoryName="web")["repository"]
    login = ecr.get_authorization_token()["authorizationData"][0]

    host = f"{account}.dkr.ecr.{region}.amazonaws.com.cn"
    assert repository["repositoryUri"] == f"{host}/web"
    assert repository["repositoryArn"] == f"arn:aws-cn:ecr:{region}:{account}:repository/web"
    assert login["proxyEndpoint"] == f"https://{host}"


def test_a_role_in_china_has_an_arn_of_its_partition() -> None:
    account = in_process.new_account()
    answer = in_process.owner_in("cn-north-1").assume_role(
        RoleArn=f"arn:aws-cn:iam::{account}:role/deploy", RoleSessionName="kim"
    )

    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws-cn:sts::{account}:assumed-role/deploy/kim"
