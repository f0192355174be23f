"""CloudFormation is moto's: what it cannot create here is refused by name."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process


def test_a_stack_with_an_ecs_service_is_refused() -> None:
    account = in_process.new_account()
    resources = {
        "Cluster": {"Type": "AWS::ECS::Cluster", "Properties": {"ClusterName": "c"}},
        "Service": {
            "Type": "AWS::ECS::Service",
            "Properties": {"Cluster": {"Ref": "Cluster"}, "TaskDefinition": "t", "DesiredCount": 0},
        },
    }
    with pytest.raises(ClientError, match=r"UnsupportedOperation.*does not model .*services in stacks"):
        in_process.client(account, "cloudformation").create_stack(
            StackName="s", TemplateBody=json.dumps({"Resources": resources})
        )
