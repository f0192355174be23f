"""EC2: changes of rules of security groups."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process


@pytest.mark.parametrize(
    ("source", "code"),
    [
        ({}, "MissingParameter"),
        ({"CidrIpv4": "10.0.0.0/8", "CidrIpv6": "::/0"}, "InvalidParameterCombination"),
    ],
    ids=["nothing", "several"],
)
def test_a_changed_rule_must_refer_to_one_thing(source: dict[str, Any], code: str) -> None:
    ec2 = in_process.client(in_process.new_account(), "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    opened = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=opened)
    rule = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    change = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, **source}
    with pytest.raises(ClientError, match=code):
        ec2.modify_security_group_rules(
            GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": change}]
        )
