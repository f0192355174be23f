"""What it costs to record an environment's life on AWS: estimated before it starts, and counted from the recording.

Only what is billed by the hour counts: at this size, requests, logs and stored bytes cost less than a cent. The free tier and
discounts are left out, so the bill is no higher.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mclass_tf.conformance.recording import Recording, TaskEntry

AS_OF = "2026-11"
SOURCES = (
    "https://aws.amazon.com/fargate/pricing/",
    "https://aws.amazon.com/elasticloadbalancing/pricing/",
    "https://aws.amazon.com/vpc/pricing/",
    "https://aws.amazon.com/kms/pricing/",
)
_ADDRESS = 0.005  # a public IPv4 address an hour, in every region
_KEY = 1.0  # a customer managed key a month; AWS does not bill one that is scheduled for deletion
_MONTH = 730.0
_HOUR = 3600.0
_SHORTEST = 60.0  # Fargate bills a minute at least
_MINUTES = 110.0
"""How long a life is expected to take on AWS: 15 to apply and destroy, and 5 to 10 for each of twelve chapters."""
_SURGE = 1.7
"""The tasks that run on average, for each that is desired: most of the time a deployment runs both versions."""


@dataclass(frozen=True, kw_only=True)
class Prices:
    """US dollars an hour."""

    vcpu: float
    gigabyte: float
    balancer: float
    capacity_unit: float
    nat_gateway: float
    endpoint: float


PRICES: Mapping[str, Prices] = {
    "ap-northeast-2": Prices(
        vcpu=0.04656, gigabyte=0.00511, balancer=0.0225, capacity_unit=0.008, nat_gateway=0.059, endpoint=0.013
    ),
    "us-east-1": Prices(
        vcpu=0.04048, gigabyte=0.004445, balancer=0.0225, capacity_unit=0.008, nat_gateway=0.045, endpoint=0.01
    ),
}  # fmt: skip
DEAREST = Prices(
    vcpu=0.0696, gigabyte=0.0076, balancer=0.034, capacity_unit=0.011, nat_gateway=0.093, endpoint=0.021
)
"""The prices of São Paulo, for a region that is not in the table. No region is known to be more expensive."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """The parts of an environment that are billed by the hour."""

    region: str
    desired: int
    vcpus: float
    gigabytes: float
    nat_gateways: int
    endpoints: int
    zones: int
    has_key: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    what: str
    dollars: float


@dataclass(frozen=True, kw_only=True)
class Bill:
    lines: tuple[Line, ...]
    hours: float
    task_hours: float

    @property
    def dollars(self) -> float:
        return sum(line.dollars for line in self.lines)


def estimate(size: Size) -> Bill:
    """Return the expected cost of recording an environment's life."""
    hours = _MINUTES / 60
    return _bill(size, hours=hours, task_hours=size.desired * _SURGE * hours)


def actual(recording: Recording, size: Size) -> Bill:
    """Return the cost of the recorded life, by the same prices."""
    seconds = sum(chapter.seconds or 0.0 for chapter in recording.chapters)
    return _bill(size, hours=seconds / _HOUR, task_hours=_task_seconds(recording) / _HOUR)


def _bill(size: Size, *, hours: float, task_hours: float) -> Bill:
    prices = PRICES.get(size.region, DEAREST)
    full = math.ceil(hours)  # AWS bills a part of an hour of these as a whole one
    addresses = size.zones + size.nat_gateways
    task = size.vcpus * prices.vcpu + size.gigabytes * prices.gigabyte
    lines = (
        Line(what=f"tasks, {task_hours:.1f} h of {size.vcpus:g} vCPU and {size.gigabytes:g} GB", dollars=task * task_hours),
        Line(what=f"load balancer, {full} h", dollars=full * (prices.balancer + prices.capacity_unit)),
        Line(what=f"{size.nat_gateways} NAT gateways, {full} h", dollars=full * size.nat_gateways * prices.nat_gateway),
        Line(what=f"{size.endpoints} VPC endpoints, {full} h", dollars=full * size.endpoints * prices.endpoint),
        Line(what=f"{addresses} public IPv4 addresses, {full} h", dollars=full * addresses * _ADDRESS),
        Line(what=f"a KMS key, {full} h", dollars=full * _KEY / _MONTH if size.has_key else 0.0),
    )  # fmt: skip
    return Bill(lines=tuple(line for line in lines if line.dollars), hours=hours, task_hours=task_hours)


def _task_seconds(recording: Recording) -> float:
    """Return for how long all tasks together ran, from the first look at each to its end."""
    began: dict[str, float] = {}
    ended: dict[str, float] = {}
    offset = 0.0
    for chapter in recording.chapters:
        for entry in chapter.entries:
            if isinstance(entry, TaskEntry) and entry.at is not None:
                began.setdefault(entry.task, offset + entry.at)
                if entry.status == "STOPPED":
                    ended[entry.task] = offset + entry.at
        offset += chapter.seconds or 0.0
    return sum(max(ended.get(task, offset) - start, _SHORTEST) for task, start in began.items())
