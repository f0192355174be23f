"""Reads the network from EC2 for the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mclass_tf.verify.readers.reader import AwsReader, Item, items, named, once, only

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef


class Ec2(AwsReader):
    """The VPC of the outputs and its contents."""

    @once
    def vpc(self) -> Item:
        answer = self.aws.ec2.describe_vpcs(VpcIds=[self.outputs.vpc_id])
        return only(answer["Vpcs"], f"VPC {self.outputs.vpc_id}")

    @once
    def vpc_dns(self) -> Mapping[str, bool]:
        ec2, vpc = self.aws.ec2, self.outputs.vpc_id
        support = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsSupport")
        hostnames = ec2.describe_vpc_attribute(VpcId=vpc, Attribute="enableDnsHostnames")
        return {
            "DNS support": support["EnableDnsSupport"]["Value"],
            "DNS hostnames": hostnames["EnableDnsHostnames"]["Value"],
        }

    @once
    def subnets(self) -> Mapping[str, Item]:
        ids = [*self.outputs.public_subnet_ids, *self.outputs.private_subnet_ids]
        # Without ids, the call would list every subnet of the account.
        subnets = self.aws.ec2.describe_subnets(SubnetIds=ids)["Subnets"] if ids else []
        return {subnet["SubnetId"]: subnet for subnet in subnets}

    @once
    def route_tables(self) -> Sequence[Item]:
        return items(
            self.aws.ec2.get_paginator("describe_route_tables").paginate(Filters=[self._in_vpc]),
            "RouteTables",
        )

    @once
    def internet_gateway_ids(self) -> frozenset[str]:
        attached: FilterTypeDef = {"Name": "attachment.vpc-id", "Values": [self.outputs.vpc_id]}
        gateways = items(
            self.aws.ec2.get_paginator("describe_internet_gateways").paginate(Filters=[attached]),
            "InternetGateways",
        )
        return frozenset(gateway["InternetGatewayId"] for gateway in gateways)

    @once
    def nat_gateways(self) -> Mapping[str, Item]:
        gateways = items(
            self.aws.ec2.get_paginator("describe_nat_gateways").paginate(Filters=[self._in_vpc]),
            "NatGateways",
        )
        return {gateway["NatGatewayId"]: gateway for gateway in gateways}

    @once
    def vpc_endpoints(self) -> Mapping[str, Item]:
        """Return the endpoints that the outputs name, by id."""
        ids = sorted(self.outputs.vpc_endpoint_ids.values())
        endpoints = items(
            self.aws.ec2.get_paginator("describe_vpc_endpoints").paginate(VpcEndpointIds=ids), "VpcEndpoints"
        )
        return {endpoint["VpcEndpointId"]: endpoint for endpoint in endpoints}

    @once
    def security_groups(self) -> Mapping[str, Item]:
        groups = items(
            self.aws.ec2.get_paginator("describe_security_groups").paginate(Filters=[self._in_vpc]),
            "SecurityGroups",
        )
        return {group["GroupId"]: group for group in groups}

    def security_group(self, group_id: str) -> Item:
        return named(self.security_groups, group_id, f"security group {group_id} in {self.outputs.vpc_id}")

    @property
    def _in_vpc(self) -> FilterTypeDef:
        return {"Name": "vpc-id", "Values": [self.outputs.vpc_id]}
