"""Creates and deletes the network interface of a task.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/fargate-task-networking.html
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from moto.ec2 import ec2_backends
from moto.ec2.exceptions import InvalidSubnetIdError

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.network import Interface

_RESERVED_BY_AWS = 4  # at the start of a subnet; the last address is reserved, too


class NoInterfaceError(Exception):
    """The interface cannot be created; the message is worded as ECS words it."""


def create(task: Task, *, others: Iterable[Task]) -> Interface:
    """Create the interface in EC2's state, in the zone with the fewest of the `others`. Call it under the lock."""
    network = (task.launch.settings.get("networkConfiguration") or {}).get("awsvpcConfiguration") or {}
    ec2 = ec2_backends[task.launch.account_id][task.launch.region]
    try:
        subnets = [ec2.get_subnet(subnet_id) for subnet_id in network.get("subnets") or []]
    except InvalidSubnetIdError as error:
        raise NoInterfaceError(str(error.message)) from error
    taken = {interface.private_ip_address for interface in ec2.enis.values()}
    candidates = [(subnet, address) for subnet in subnets if (address := _free_address(subnet, taken=taken))]
    if not candidates:
        raise NoInterfaceError(
            "Unexpected EC2 error while attempting to Create Network Interface in subnet "
            f"'{subnets[-1].id if subnets else ''}': InsufficientFreeAddressesInSubnet"
        )
    in_zone = Counter(other.availability_zone for other in others)
    subnet, address = min(candidates, key=lambda candidate: in_zone[candidate[0].availability_zone])
    return _create(task, ec2=ec2, subnet=subnet, address=address, network=network)


def delete(task: Task) -> None:
    """Delete the interface from EC2's state. Call it under the lock."""
    if task.interface is not None:
        ec2_backends[task.launch.account_id][task.launch.region].enis.pop(task.interface.id, None)


def _create(task: Task, *, ec2: Any, subnet: Any, address: str, network: Mapping[str, Any]) -> Interface:
    created = ec2.create_network_interface(
        subnet,
        address,
        group_ids=list(network.get("securityGroups") or []),
        description=f"arn:aws:ecs:{task.launch.region}:{task.launch.account_id}:attachment/{task.attachment_id}",
        public_ip_auto_assign=network.get("assignPublicIp") == "ENABLED",
    )
    created.requester_managed = True
    created.status = "in-use"
    return Interface(
        id=created.id,
        private_ip=address,
        mac_address=created.mac_address,
        subnet_id=subnet.id,
        vpc_id=subnet.vpc_id,
        availability_zone=subnet.availability_zone,
        security_group_ids=tuple(group.id for group in created.group_set),
    )


def _free_address(subnet: Any, *, taken: Collection[str]) -> str | None:
    addresses = ipaddress.IPv4Network(subnet.cidr_block)
    in_use = {*taken, *subnet._subnet_ips}  # noqa: SLF001  the addresses that moto has assigned to instances
    return next(
        (
            str(addresses[number])
            for number in range(_RESERVED_BY_AWS, addresses.num_addresses - 1)
            if str(addresses[number]) not in in_use
        ),
        None,
    )
