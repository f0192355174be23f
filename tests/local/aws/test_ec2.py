"""EC2: changes of rules of security groups."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ({}, "MissingParameter"),
        ({"IpProtocol": None, "CidrIpv4": "10.0.0.0/8"}, "InvalidParameterValue.*for protocol"),
        ({"ToPort": None, "CidrIpv4": "10.0.0.0/8"}, "InvalidParameterValue.*for portRange"),
        ({"CidrIpv4": "10.0.0.0/8", "CidrIpv6": "::/0"}, "InvalidParameterCombination"),
    ],
    ids=["nothing", "no protocol", "no port", "several"],
)
def test_a_changed_rule_needs_a_protocol_its_ports_and_one_source(source: dict[str, Any], error: str) -> None:
    ec2 = in_process.client(in_process.new_account(), "ec2")
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    group = ec2.create_security_group(GroupName="g", Description="g", VpcId=vpc)["GroupId"]
    opened = [{"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]
    answer = ec2.authorize_security_group_ingress(GroupId=group, IpPermissions=opened)
    rule = answer["SecurityGroupRules"][0]["SecurityGroupRuleId"]
    changed = {"IpProtocol": "tcp", "FromPort": 81, "ToPort": 81, **source}
    change = {name: value for name, value in changed.items() if value is not None}
    with pytest.raises(ClientError, match=error):
        ec2.modify_security_group_rules(
            GroupId=group, SecurityGroupRules=[{"SecurityGroupRuleId": rule, "SecurityGroupRule": change}]
        )
