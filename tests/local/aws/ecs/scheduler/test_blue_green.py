"""Starts and stops of blue and green tasks by strategies that shift traffic."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from mclass_tf.local.aws.ecs.scheduler import blue_green
from mclass_tf.local.aws.ecs.scheduler.view import ServiceView, TaskCondition, TaskView

_CONDITIONS = {
    "P": TaskCondition.PENDING,
    "S": TaskCondition.STARTING,
    "H": TaskCondition.HEALTHY,
    "U": TaskCondition.UNHEALTHY,
    "D": TaskCondition.DRAINING,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """Tasks by the first letters of their conditions. `blue` is None without a blue deployment. `stops` are ids (g0, b1, x0, …)."""

    green: str = ""
    blue: str | None = None
    others: str = ""
    wanted: int = 2
    may_stop_others: bool = False
    is_failed: bool = False
    stops: str = ""
    start: int = 0
    blue_start: int = 0


def _tasks(kind: str, letters: str) -> list[TaskView]:
    return [
        TaskView(id=f"{kind}{number}", deployment_id=kind, condition=_CONDITIONS[letter], created_at=number)
        for number, letter in enumerate(letters)
    ]


def _side(kind: str, letters: str, *, wanted: int) -> ServiceView:
    return ServiceView(
        desired=wanted, minimum=wanted, maximum=2 * wanted, primary=kind, tasks=_tasks(kind, letters)
    )


def _view(case: Case) -> ServiceView:
    green = _side("g", case.green, wanted=case.wanted)
    return ServiceView(
        desired=green.desired,
        minimum=green.minimum,
        maximum=green.maximum,
        primary="g",
        tasks=green.tasks,
        is_failed=case.is_failed,
        blue=None if case.blue is None else _side("b", case.blue, wanted=2),
        others=_tasks("x", case.others),
        may_stop_others=case.may_stop_others,
    )


_CASES = {
    "green is not started before it may scale up": Case(blue="HH", wanted=0),
    "green comes up beside blue": Case(blue="HH", start=2),
    "blue stays when green is healthy": Case(green="HH", blue="HH"),
    "a task that blue has lost is started again": Case(green="HH", blue="H", blue_start=1),
    "an unhealthy task of blue is replaced first": Case(green="HH", blue="HU", blue_start=1),
    "an unhealthy task of green is replaced first": Case(green="HU", blue="HH", start=1),
    "both are scaled in": Case(green="HHH", blue="HHH", stops="b0 g0"),
    "a failed green gets no more tasks, and blue does": Case(
        green="U", blue="H", is_failed=True, blue_start=1
    ),
    "tasks of neither side stay while traffic can reach them": Case(green="", blue="HH", others="H", start=2),
    "tasks of neither side go when it cannot": Case(
        blue="HH", others="HD", may_stop_others=True, start=2, stops="x0"
    ),
    "blue goes in the end": Case(green="HH", others="HH", may_stop_others=True, stops="x0 x1"),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES)
def test_blue_and_green_have_their_tasks(case: Case) -> None:
    found = blue_green.decide(_view(case))
    assert (case.stops, case.start, case.blue_start) == (
        " ".join(sorted(stop.task_id for stop in found.stops)),
        found.start,
        found.blue_start,
    )
