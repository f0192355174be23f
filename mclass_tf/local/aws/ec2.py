"""EC2: the network of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moto.ec2 import ec2_backends, urls
from moto.ec2.exceptions import (
    EC2ClientError,
    InvalidSecurityGroupNotFoundError,
    InvalidSecurityGroupRuleIdNotFoundError,
)
from moto.ec2.models import EC2Backend, security_groups

from mclass_tf.local.aws import in_use
from mclass_tf.local.aws.extend import announce, use_backend

_WITHOUT_PORTS = "-1"

# Calls that may change whether a load balancer reaches its targets, or its clients reach it.
_MUTATIONS = (
    "associate_route_table",
    "authorize_security_group_egress",
    "authorize_security_group_ingress",
    "create_nat_gateway",
    "create_network_acl_entry",
    "create_route",
    "delete_nat_gateway",
    "delete_network_acl_entry",
    "delete_route",
    "disassociate_route_table",
    "modify_managed_prefix_list",
    "modify_security_group_rules",
    "replace_network_acl_association",
    "replace_network_acl_entry",
    "replace_route",
    "replace_route_table_association",
    "revoke_security_group_egress",
    "revoke_security_group_ingress",
)


class SecurityGroupRule(security_groups.SecurityGroupRule):  # type: ignore[misc]  # moto is not typed for us
    """A rule with a description, whatever it refers to. moto keeps only the descriptions of address ranges.

    The modules describe their rules, and the provider plans a change if a description is missing.

    https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_SecurityGroupRule.html
    """

    def __init__(  # noqa: PLR0917  moto's signature
        self,
        ec2_backend: Any,
        ip_protocol: str,
        group_id: str,
        from_port: str | None,
        to_port: str | None,
        ip_range: dict[str, str] | None,
        source_group: dict[str, str] | None = None,
        prefix_list_id: dict[str, str] | None = None,
        is_egress: bool = True,  # noqa: FBT001, FBT002
        tags: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            ec2_backend,
            ip_protocol,
            group_id,
            from_port,
            to_port,
            ip_range,
            source_group,
            prefix_list_id,
            is_egress,
            tags,
        )
        reference: Mapping[str, str] = ip_range or source_group or prefix_list_id or {}
        self._description = reference.get("Description")

    @property
    def description(self) -> str | None:
        return self._description

    @description.setter
    def description(self, text: str | None) -> None:
        self._description = text
        for reference in (self.ip_range, self.source_group):
            if reference:
                reference["Description"] = text or ""

    def __eq__(self, other: object) -> bool:
        """Ignore the description: to AWS, rules that differ only in it are duplicates."""
        return isinstance(other, SecurityGroupRule) and self._identity() == other._identity()

    __hash__ = None  # type: ignore[assignment]  # as in moto

    def _identity(self) -> tuple[Any, ...]:
        ports = None if self.ip_protocol == _WITHOUT_PORTS else (self.from_port, self.to_port)
        return (
            self.ip_protocol,
            ports,
            self.ip_range.get("CidrIp"),
            self.ip_range.get("CidrIpv6"),
            self.source_group.get("GroupId"),
            self.prefix_list_id,
        )


class LocalEc2Backend(EC2Backend):  # type: ignore[misc]
    def create_vpc_endpoint(
        self,
        vpc_id: str,
        service_name: str,
        endpoint_type: str | None,
        *rest: Any,
        private_dns_enabled: bool | None = None,
        **named: Any,
    ) -> Any:
        """Require DNS in the VPC for private names, and existing security groups. moto checks neither.

        https://docs.aws.amazon.com/vpc/latest/privatelink/interface-endpoints.html
        """
        vpc = self.get_vpc(vpc_id)
        needs_dns = private_dns_enabled and endpoint_type == "Interface"
        if needs_dns and not (_is_on(vpc.enable_dns_support) and _is_on(vpc.enable_dns_hostnames)):
            raise EC2ClientError(
                "InvalidParameter",
                "Enabling private DNS requires both enableDnsSupport and enableDnsHostnames VPC attributes set to "
                f"true for {vpc_id}",
            )
        if named.get("security_group_ids"):
            self.describe_security_groups(group_ids=named["security_group_ids"])
        return super().create_vpc_endpoint(
            vpc_id, service_name, endpoint_type, *rest, private_dns_enabled=private_dns_enabled, **named
        )

    def modify_security_group_rules(self, group_id: str, rules: dict[str, dict[str, Any]]) -> None:
        """Replace the given rules, whatever they refer to. moto changes only address ranges.

        https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ModifySecurityGroupRules.html
        """
        group = self.get_security_group_from_id(group_id)
        if group is None:
            raise InvalidSecurityGroupNotFoundError(group_id)
        for rule_id, changes in rules.items():
            rule = group.get_rule(rule_id)
            if rule is None:
                raise InvalidSecurityGroupRuleIdNotFoundError(rule_id)
            _replace(rule, changes=changes)

    # ---- deletions, rejected while the resource is in use

    def delete_security_group(self, name: str | None = None, group_id: str | None = None) -> Any:
        group = self.get_security_group_by_name_or_id(group_id or name)
        if group is not None:
            in_use.check_security_group_unused(self, group.id)
        return super().delete_security_group(name, group_id)

    def delete_subnet(self, subnet_id: str) -> Any:
        in_use.check_subnet_unused(self, subnet_id)
        return super().delete_subnet(subnet_id)

    def detach_internet_gateway(self, internet_gateway_id: str, vpc_id: str) -> None:
        in_use.check_gateway_unused(self, vpc_id)
        super().detach_internet_gateway(internet_gateway_id, vpc_id)

    def release_address(self, address: str | None = None, allocation_id: str | None = None) -> None:
        in_use.check_address_unused(self, allocation_id)
        super().release_address(address, allocation_id)


def _is_on(attribute: Any) -> bool:
    """Return whether a flag is set. moto stores it as it was sent, as a boolean or a string."""
    return str(attribute).lower() == "true"


def _replace(rule: Any, *, changes: Mapping[str, Any]) -> None:
    protocol = str(changes.get("IpProtocol") or rule.ip_protocol)
    rule.ip_protocol = protocol
    rule.from_port = None if protocol == _WITHOUT_PORTS else changes.get("FromPort")
    rule.to_port = None if protocol == _WITHOUT_PORTS else changes.get("ToPort")
    rule.ip_range = {
        name: str(changes[source])
        for name, source in (("CidrIp", "CidrIpv4"), ("CidrIpv6", "CidrIpv6"))
        if changes.get(source)
    }
    referenced = changes.get("ReferencedGroupId")
    rule.source_group = {**rule.source_group, "GroupId": referenced} if referenced else {}
    rule.prefix_list_id = changes.get("PrefixListId")
    rule.description = changes.get("Description")


def install() -> None:
    security_groups.SecurityGroupRule = SecurityGroupRule
    announce(backend=LocalEc2Backend, methods=_MUTATIONS, topic="elbv2")
    use_backend(backends=ec2_backends, urls=urls, backend=LocalEc2Backend)
