"""The regions of a service are listed without loading its model."""

from __future__ import annotations

import botocore.session
import pytest

from mclass_tf.local import aws


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
