"""Rejects the deletion of network resources that are in use, so that `destroy` fails as on AWS. moto deletes them.

It also finds the load balancers that use a certificate, which AWS does not delete either.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from moto.ec2.exceptions import DependencyViolationError, EC2ClientError
from moto.elbv2 import elbv2_backends


def check_security_group_unused(ec2: Any, group_id: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSecurityGroup.html"""
    holders = [
        *(group.id for group in _groups(ec2) if group.id != group_id and _refers_to(group, group_id)),
        *(entry.arn for entry in _load_balancers(ec2) if group_id in (entry.security_groups or [])),
        *(endpoint.id for endpoint in _endpoints(ec2) if group_id in endpoint.security_group_ids),
        *(entry.id for entry in _task_interfaces(ec2) if group_id in {group.id for group in entry.group_set}),
    ]
    if holders:
        raise DependencyViolationError(f"resource {group_id} has a dependent object")


def check_subnet_unused(ec2: Any, subnet_id: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DeleteSubnet.html"""
    holders = [
        *(entry for entry in _load_balancers(ec2) if subnet_id in {subnet.id for subnet in entry.subnets}),
        *(gateway for gateway in _nat_gateways(ec2) if gateway.subnet_id == subnet_id),
        *(endpoint for endpoint in _endpoints(ec2) if subnet_id in (endpoint.subnet_ids or [])),
        *(entry for entry in _task_interfaces(ec2) if entry.subnet_id == subnet_id),
    ]
    if holders:
        raise DependencyViolationError(f"The subnet '{subnet_id}' has dependencies and cannot be deleted.")


def check_gateway_unused(ec2: Any, vpc_id: str) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DetachInternetGateway.html"""
    public = [
        *(
            entry
            for entry in _load_balancers(ec2)
            if entry.vpc_id == vpc_id and entry.scheme == "internet-facing"
        ),
        *(gateway for gateway in _nat_gateways(ec2) if gateway.vpc_id == vpc_id),
    ]
    if public:
        raise DependencyViolationError(
            f"Network {vpc_id} has some mapped public address(es). Please unmap those public address(es) before "
            "detaching the gateway."
        )


def check_address_unused(ec2: Any, allocation_id: str | None) -> None:
    """https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_ReleaseAddress.html"""
    held = {address.get("allocationId") for gateway in _nat_gateways(ec2) for address in gateway.address_set}
    if allocation_id in held - {None}:
        raise EC2ClientError("InvalidIPAddress.InUse", f"Address {allocation_id} is in use.")


def certificate_users(certificate: str, *, account_id: str, region: str | None = None) -> list[str]:
    """Return the ARNs of the load balancers whose listeners use the certificate, in one region or all."""
    return [
        load_balancer.arn
        for name, backend in elbv2_backends[account_id].items()
        if region in {None, name}
        for load_balancer in backend.load_balancers.values()
        for listener in load_balancer.listeners.values()
        if certificate in {listener.certificate, *listener.certificates}
    ]


def _groups(ec2: Any) -> Iterator[Any]:
    for groups in ec2.groups.values():
        yield from groups.values()


def _refers_to(group: Any, group_id: str) -> bool:
    return any(
        rule.source_group.get("GroupId") == group_id
        for rule in (*group.ingress_rules, *group.egress_rules)
        if rule.source_group
    )


def _load_balancers(ec2: Any) -> list[Any]:
    return list(elbv2_backends[ec2.account_id][ec2.region_name].load_balancers.values())


def _endpoints(ec2: Any) -> list[Any]:
    return [endpoint for endpoint in ec2.vpc_end_points.values() if endpoint.state != "deleted"]


def _nat_gateways(ec2: Any) -> list[Any]:
    return [gateway for gateway in ec2.nat_gateways.values() if gateway.state != "deleted"]


def _task_interfaces(ec2: Any) -> list[Any]:
    """Return the network interfaces of tasks, which ECS creates and deletes."""
    return [interface for interface in ec2.enis.values() if interface.requester_managed]
