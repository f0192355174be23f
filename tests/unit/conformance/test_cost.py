"""What a recording costs, before and after."""

from __future__ import annotations

import pytest

from mclass_tf.conformance.cost import DEAREST, PRICES, Size, actual, estimate
from mclass_tf.conformance.recording import Chapter, Recording, TaskEntry

_DEV = Size(
    region="ap-northeast-2",
    desired=2,
    vcpus=0.25,
    gigabytes=0.5,
    nat_gateways=1,
    endpoints=0,
    zones=2,
    has_key=False,
)


def test_the_estimate_names_what_is_billed_by_the_hour() -> None:
    bill = estimate(_DEV)

    assert 0.2 < bill.dollars < 1.0
    assert [line.what.split(",")[0] for line in bill.lines] == [
        "tasks", "load balancer", "1 NAT gateways", "3 public IPv4 addresses",
    ]  # fmt: skip


def test_what_was_spent_is_counted_from_the_tasks_and_the_time() -> None:
    tasks = (
        TaskEntry(at=0.0, task="task-1", status="PROVISIONING"),
        TaskEntry(at=1800.0, task="task-1", status="STOPPED"),
        TaskEntry(at=1800.0, task="task-2", status="PROVISIONING"),
    )
    chapters = (
        Chapter(name="a", entries=tasks, seconds=3600.0),
        Chapter(name="b", seconds=1800.0),
    )

    bill = actual(Recording(format=1, cloud="aws", chapters=chapters), _DEV)

    assert bill.hours == pytest.approx(1.5)
    assert bill.task_hours == pytest.approx(0.5 + 1.0)
    assert "load balancer, 2 h" in [line.what for line in bill.lines]


def test_a_region_that_is_not_in_the_table_costs_no_less_than_any_that_is() -> None:
    for prices in PRICES.values():
        assert all(getattr(DEAREST, name) >= getattr(prices, name) for name in vars(prices))
