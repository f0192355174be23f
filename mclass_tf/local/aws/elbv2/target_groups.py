"""Target groups of Elastic Load Balancing: their settings and their targets."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from ipaddress import AddressValueError, IPv4Address, IPv4Network
from typing import Any

from moto.elbv2.exceptions import TargetGroupNotFoundError
from moto.elbv2.models import ELBv2Backend, FakeHealthStatus

from mclass_tf.local.aws.elbv2 import targets
from mclass_tf.local.aws.elbv2.checks import check_matcher, check_target_group_attributes, error
from mclass_tf.local.aws.elbv2.targets import TargetHealth, Targets
from mclass_tf.local.balancer.report import Health
from mclass_tf.local.live import live

_HIGHEST_PORT = 65535
_DELAY = "deregistration_delay.timeout_seconds"


class TargetStatus(FakeHealthStatus):  # type: ignore[misc]  # moto is not typed for us
    """An entry of DescribeTargetHealth, with the Availability Zone of the target."""

    zone: str | None = None

    @property
    def target(self) -> dict[str, str]:
        described: dict[str, str] = super().target
        return {**described, "AvailabilityZone": self.zone} if self.zone else described


class TargetGroups(ELBv2Backend):  # type: ignore[misc]
    """The part of the backend that manages target groups."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self._targets: dict[str, Targets] = {}

    def create_target_group(self, name: str, **settings: Any) -> Any:
        """Reject settings that are not modelled. Only HTTP/1.1 is."""
        kind, protocol = settings.get("target_type"), settings.get("protocol")
        if kind == "lambda" or protocol not in ("HTTP", "HTTPS", None):
            raise error("ValidationError", f"The local AWS does not model {protocol or kind} target groups")
        if settings.get("protocol_version") not in (None, "", "HTTP1"):
            raise error(
                "ValidationError",
                f"The local AWS does not model the protocol version {settings['protocol_version']}",
            )
        _check_health_port(settings.get("healthcheck_port"), port=settings.get("port"))
        matcher = settings.get("matcher") or {}
        if "GrpcCode" in matcher:
            raise error("ValidationError", "The local AWS does not model matchers of gRPC codes")
        if matcher:
            check_matcher(str(matcher.get("HttpCode")))
        return super().create_target_group(name, **settings)

    def modify_target_group(  # noqa: PLR0917  moto's signature
        self,
        arn: str,
        health_check_proto: str | None = None,
        health_check_port: str | None = None,
        health_check_path: str | None = None,
        health_check_interval: int | None = None,
        health_check_timeout: int | None = None,
        healthy_threshold_count: str | None = None,
        unhealthy_threshold_count: str | None = None,
        http_codes: str | None = None,
        health_check_enabled: bool | None = None,  # noqa: FBT001
    ) -> Any:
        group = self.target_groups.get(arn)
        if group is not None:
            _check_health_port(health_check_port, port=group.port)
        if http_codes is not None:
            check_matcher(http_codes)
        return super().modify_target_group(
            arn,
            health_check_proto,
            health_check_port,
            health_check_path,
            health_check_interval,
            health_check_timeout,
            healthy_threshold_count,
            unhealthy_threshold_count,
            http_codes,
            health_check_enabled,
        )

    def modify_target_group_attributes(self, target_group_arn: str, attributes: dict[str, Any]) -> None:
        """Validate every key and value. moto accepts anything except a delay of 3600 s, which AWS accepts.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetGroupAttribute.html
        """
        group = self._group(target_group_arn)
        check_target_group_attributes(attributes)
        super().modify_target_group_attributes(
            target_group_arn, {key: value for key, value in attributes.items() if key != _DELAY}
        )
        group.attributes.update(attributes)

    def delete_target_group(self, target_group_arn: str) -> Any:
        deleted = super().delete_target_group(target_group_arn)
        self._targets.pop(target_group_arn, None)
        return deleted

    # ---- targets

    def register_targets(self, target_group_arn: str, instances: Sequence[Mapping[str, Any]]) -> None:
        """Register all targets or none. A draining target is registered again; a registered one stays unchanged.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_RegisterTargets.html
        """
        group = self._group(target_group_arn)
        addresses = [(str(entry["Id"]), _port(entry, group)) for entry in instances]
        for position, entry in enumerate(instances):
            self._check_target(group, entry, position=position + 1)
        now = time.time()
        for ip, port in addresses:
            self._targets_of(group).register(ip, port, now=now)
        live.changed("elbv2")

    def deregister_targets(self, target_group_arn: str, instances: Sequence[Mapping[str, Any]]) -> None:
        """Ignore targets that are not registered. Without a port, deregister all ports of the target.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DeregisterTargets.html
        """
        group = self._group(target_group_arn)
        known, now = self._targets_of(group), time.time()
        for entry in instances:
            for target in known.all(now=now, delay=_delay(group)):
                if target.ip != entry["Id"] or target.port != int(entry.get("Port") or target.port):
                    continue
                if group.load_balancer_arns:
                    known.deregister(target.ip, target.port, now=now)
                else:
                    known.remove(target.ip, target.port)
        live.changed("elbv2")

    def target_health(self, target_group_arn: str) -> list[TargetHealth]:
        """Return the registered and draining targets. Any other target is unused."""
        group = self._group(target_group_arn)
        targets = self._targets_of(group).all(now=time.time(), delay=_delay(group))
        return [self._effective_health(group, entry) for entry in targets]

    def take_health(self, health: Health) -> bool:
        """Store a health check result of the load balancer, and return whether it changed anything."""
        group = self.target_groups.get(health.target_group_arn)
        return group is not None and self._targets_of(group).take(health, now=time.time())

    def forget_target(self, target_group_arn: str, ip: str, port: int) -> None:
        """Remove a target without draining it, if it is registered."""
        if target_group_arn in self.target_groups:
            self._targets_of(self.target_groups[target_group_arn]).remove(ip, port)

    def next_drained(self, target_group_arn: str) -> float | None:
        """Return when (seconds since the epoch) the next target of the group finishes draining."""
        group = self._group(target_group_arn)
        return self._targets_of(group).next_end(delay=_delay(group))

    def describe_target_health(
        self, target_group_arn: str, targets: Sequence[Mapping[str, Any]]
    ) -> list[TargetStatus]:
        """https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_DescribeTargetHealth.html"""
        group = self._group(target_group_arn)
        known = self.target_health(target_group_arn)
        described = known
        if targets:
            by_address = {(entry.ip, entry.port): entry for entry in known}
            addresses = [(str(entry["Id"]), _port(entry, group)) for entry in targets]
            described = [by_address.get(address) or _unregistered(*address) for address in addresses]
        return [self._status(group, entry) for entry in described]

    def restart_health(self, target_group_arn: str) -> None:
        """Reset the targets' health, because the load balancer that checked it is gone."""
        self._targets_of(self._group(target_group_arn)).restart(now=time.time())

    # ---- helpers

    def _group(self, arn: str) -> Any:
        group = self.target_groups.get(arn)
        if group is None:
            raise TargetGroupNotFoundError
        return group

    def _targets_of(self, group: Any) -> Targets:
        return self._targets.setdefault(group.arn, Targets())

    def _effective_health(self, group: Any, entry: TargetHealth) -> TargetHealth:
        """Return the target's health, or `unused` if no load balancer sends it traffic."""
        if entry.is_draining:
            return entry
        if not group.load_balancer_arns:
            return _with_status(entry, targets.NOT_IN_USE)
        zone = self.zone_of(group, entry.ip)
        enabled = {
            subnet.availability_zone
            for arn in group.load_balancer_arns
            for subnet in self.load_balancers[arn].subnets
        }
        return entry if zone is None or zone in enabled else _with_status(entry, targets.ZONE_NOT_ENABLED)

    def zone_of(self, group: Any, ip: str) -> str | None:
        for subnets in self.ec2_backend.subnets.values():
            for subnet in subnets.values():
                if subnet.vpc_id == group.vpc_id and IPv4Address(ip) in IPv4Network(subnet.cidr_block):
                    return str(subnet.availability_zone)
        return None

    def _status(self, group: Any, entry: TargetHealth) -> TargetStatus:
        checked = entry.port if group.health_check_port == "traffic-port" else group.health_check_port
        status = TargetStatus(
            entry.ip, entry.port, str(checked), entry.state, entry.reason, entry.description
        )
        status.zone = self.zone_of(group, entry.ip) if _is_address(entry.ip) else None
        return status

    def _check_target(self, group: Any, entry: Mapping[str, Any], *, position: int) -> None:
        """Reject a target as AWS does, with AWS's message if it is known.

        https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetDescription.html
        """
        ip, port, zone = str(entry["Id"]), _port(entry, group), entry.get("AvailabilityZone")
        if group.target_type != "ip":
            raise error("ValidationError", f"Instance ID '{ip}' is not valid")
        if not 1 <= port <= _HIGHEST_PORT:
            bound = "greater than or equal to 1" if port < 1 else f"less than or equal to {_HIGHEST_PORT}"
            raise error(
                "ValidationError",
                f"1 validation error detected: Value '{port}' at 'targets.{position}.member.port' failed to satisfy "
                f"constraint: Member must have value {bound}",
            )
        if not _is_address(ip):
            raise error("ValidationError", f"The IP address '{ip}' is not a valid IPv4 address")
        vpc_zone = self.zone_of(group, ip)
        if vpc_zone is None and zone is None:
            raise error(
                "ValidationError",
                f"The Availability Zone is required for IP address '{ip}' because it is not in the VPC",
            )
        if vpc_zone is not None and zone not in (None, vpc_zone):
            raise error(
                "ValidationError",
                f"The IP address '{ip}' is within the VPC, and cannot have its Availability Zone overridden to '{zone}' "
                f"from '{vpc_zone}'",
            )
        if vpc_zone is None and not IPv4Address(ip).is_private:
            raise error("ValidationError", f"The IP address '{ip}' is not in a private range")


def _unregistered(ip: str, port: int) -> TargetHealth:
    state, reason, description = targets.NOT_REGISTERED
    return TargetHealth(
        ip=ip, port=port, state=state, reason=reason, description=description, since=time.time()
    )


def _with_status(entry: TargetHealth, status: tuple[str, str, str]) -> TargetHealth:
    state, reason, description = status
    return TargetHealth(
        ip=entry.ip, port=entry.port, state=state, reason=reason, description=description, since=entry.since
    )


def _port(entry: Mapping[str, Any], group: Any) -> int:
    return int(entry["Port"] if entry.get("Port") is not None else group.port)


def _delay(group: Any) -> float:
    return live.clock.real(float(group.attributes[_DELAY]))


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _check_health_port(health_port: Any, *, port: Any) -> None:
    if health_port is not None and str(health_port) not in ("traffic-port", str(port)):
        raise error(
            "ValidationError", "The local AWS checks the health of targets on their traffic port alone"
        )
