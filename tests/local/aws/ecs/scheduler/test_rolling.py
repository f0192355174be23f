"""Starts and stops of tasks by the ROLLING strategy."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import pytest

from mclass_tf.local.aws.ecs.scheduler import rolling
from mclass_tf.local.aws.ecs.scheduler.rolling import maximum_running, minimum_healthy
from mclass_tf.local.aws.ecs.scheduler.view import (
    ScalingDecision,
    ServiceView,
    StopCause,
    TaskCondition,
    TaskView,
)

_CONDITIONS = {
    "P": TaskCondition.PENDING,
    "S": TaskCondition.STARTING,
    "H": TaskCondition.HEALTHY,
    "U": TaskCondition.UNHEALTHY,
    "D": TaskCondition.DRAINING,
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """`old` and `new` are the conditions of tasks by their first letters. `stops` are the ids (o0, n1, …) of stopped tasks."""

    desired: int = 2
    percents: tuple[int, int] = (100, 200)
    old: str = ""
    new: str = ""
    stops: str = ""
    start: int = 0
    replacing: int = 0
    is_stuck: bool = False
    changes: dict[str, object] = field(default_factory=dict)


def _view(case: Case) -> ServiceView:
    configuration = {"minimumHealthyPercent": case.percents[0], "maximumPercent": case.percents[1]}
    tasks = [
        TaskView(
            id=f"{kind}{number}",
            deployment_id=kind,
            condition=_CONDITIONS[letter],
            zone="ac"[number % 2],
            created_at=number,
        )
        for kind, letters in (("o", case.old), ("n", case.new))
        for number, letter in enumerate(letters)
    ]
    view = ServiceView(
        desired=case.desired,
        minimum=minimum_healthy(case.desired, configuration),
        maximum=maximum_running(case.desired, configuration),
        primary="n",
        tasks=tasks,
    )
    return replace(view, **case.changes)  # type: ignore[arg-type]  # a table of changes


_CASES = {
    # a service comes up, and stays
    "the first tasks are all started": Case(start=2),
    "what is on its way is not started again": Case(new="PS"),
    "what is as it should be is left alone": Case(new="HH"),
    "a task that is missing is started": Case(new="H", start=1),
    "a task that has just ended is not replaced at once": Case(new="H", changes={"held": 1}),
    "a draining task is not counted": Case(new="HHD"),
    "nothing starts while starts are throttled": Case(new="H", changes={"may_launch": False}),
    # a deployment, with room for all new tasks beside the old ones
    "100/200 starts all new tasks first": Case(old="HH", start=2),
    "100/200 waits for health": Case(old="HH", new="PS"),
    "100/200 stops an old task for each healthy new one": Case(old="HH", new="HS", stops="o0"),
    "100/200 stops all old tasks when all new ones are healthy": Case(old="HH", new="HH", stops="o0 o1"),
    "50/200 stops what the minimum can spare at once": Case(
        percents=(50, 200), old="HH", stops="o0", start=2
    ),
    "50/200 keeps the minimum until a new task is healthy": Case(percents=(50, 200), old="H", new="PS"),
    "0/200 stops all old tasks at once": Case(percents=(0, 200), old="HH", stops="o0 o1", start=2),
    # a deployment without that room
    "50/100 stops one, then starts one": Case(percents=(50, 100), old="HH", stops="o0", start=1),
    "50/100 goes on with the next": Case(percents=(50, 100), old="H", new="H", stops="o0", start=1),
    "100/150 adds what fits": Case(percents=(100, 150), old="HH", start=1),
    "100/150 swaps one at a time": Case(percents=(100, 150), old="HH", new="H", stops="o0", start=1),
    "4 tasks at 100/125 add one": Case(desired=4, percents=(100, 125), old="HHHH", start=1),
    "1 task at 100/150 cannot surge, and is stuck": Case(
        desired=1, percents=(100, 150), old="H", is_stuck=True
    ),
    "2 tasks at 66/134 round to 2 and 2, and are stuck": Case(percents=(66, 134), old="HH", is_stuck=True),
    "1 task at 50/200 keeps running": Case(desired=1, percents=(50, 200), old="H", start=1),
    "1 task at 0/100 is stopped first": Case(desired=1, percents=(0, 100), old="H", stops="o0", start=1),
    "3 tasks at 50/100 keep two": Case(desired=3, percents=(50, 100), old="HHH", stops="o0", start=1),
    # deployments on top of one another
    "what does not serve yet goes when a newer deployment comes": Case(old="HHPS", stops="o2 o3", start=2),
    "old tasks that are unhealthy go when the minimum holds": Case(old="HHUU", stops="o2 o3", start=2),
    "a failed deployment starts nothing and stops nothing": Case(
        old="HH", new="U", changes={"is_failed": True}
    ),
    "a failed deployment is emptied when the service is scaled to 0": Case(
        desired=0, old="H", new="U", changes={"is_failed": True}, stops="o0 n0"
    ),
    # unhealthy tasks
    "an unhealthy task is replaced first where the minimum needs it": Case(new="HU", start=1, replacing=1),
    "an unhealthy task stays until its replacement is healthy": Case(new="HUS"),
    "an unhealthy task goes when its replacement is healthy": Case(new="HUH", stops="n1"),
    "an unhealthy task goes at once where the minimum holds": Case(
        percents=(50, 200), new="HU", stops="n1", start=1, replacing=1
    ),
    "an unhealthy task goes first where there is no room": Case(
        percents=(90, 100), new="HU", stops="n1", start=1, replacing=1
    ),
    "of an unhealthy task and its unhealthy replacement the older goes": Case(
        desired=1, percents=(100, 300), new="UU", stops="n0", start=1, replacing=1
    ),
    "unhealthy new tasks go while the old ones serve": Case(
        old="HH", new="UU", stops="n0 n1", start=2, replacing=2
    ),
    "an unhealthy task is kept while starts are throttled": Case(new="HU", changes={"may_launch": False}),
    # scaling
    "scaling out starts the difference": Case(desired=4, new="HH", start=2),
    "scaling in stops one in the crowded zone": Case(desired=2, new="HHH", stops="n0"),
    "scaling in prefers what does not serve yet": Case(desired=2, new="HHP", stops="n2"),
    "scaling in during a deployment": Case(desired=1, old="HH", new="PP", stops="n1 o0"),
    "scaling to 0 stops everything": Case(desired=0, old="H", new="HPU", stops="n0 n1 n2 o0"),
}


@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
def test_rolling(case: Case) -> None:
    decision = rolling.decide(_view(case))
    assert sorted(case.stops.split()) == sorted(stop.task_id for stop in decision.stops)
    assert (case.start, case.replacing, case.is_stuck) == (
        decision.start,
        decision.replacing,
        decision.is_stuck,
    )


def test_unhealthy_tasks_are_stopped_for_their_health_and_others_for_scaling() -> None:
    decision = rolling.decide(_view(Case(desired=1, percents=(0, 200), new="HHU")))
    assert {stop.task_id: stop.cause for stop in decision.stops} == {
        "n0": StopCause.SCALING,
        "n2": StopCause.HEALTH,
    }


@pytest.mark.parametrize(
    ("desired", "percent", "least", "most"), [(1, 50, 1, 0), (3, 50, 2, 1), (3, 150, 5, 4), (7, 100, 7, 7)]
)
def test_the_minimum_is_rounded_up_and_the_maximum_down(
    desired: int, percent: int, least: int, most: int
) -> None:
    configuration = {"minimumHealthyPercent": percent, "maximumPercent": percent}
    assert (least, most) == (
        minimum_healthy(desired, configuration),
        maximum_running(desired, configuration),
    )


class _Play:
    """Executes decisions step by step: a task starts, becomes healthy, drains, stops."""

    def __init__(self, *, desired: int, percents: tuple[int, int]) -> None:
        self.percents, self.desired = percents, desired
        self.tasks = {f"o{number}": ("o", TaskCondition.HEALTHY) for number in range(desired)}
        self.least_healthy, self.most_live, self._number = desired, desired, 0

    def step(self) -> bool:
        """Execute the next decision. Return whether it changed anything."""
        configuration = {"minimumHealthyPercent": self.percents[0], "maximumPercent": self.percents[1]}
        decision = rolling.decide(
            ServiceView(
                desired=self.desired,
                minimum=minimum_healthy(self.desired, configuration),
                maximum=maximum_running(self.desired, configuration),
                primary="n",
                tasks=[
                    TaskView(id=name, deployment_id=deployment, condition=condition)
                    for name, (deployment, condition) in self.tasks.items()
                ],
            )
        )
        self._apply(decision)
        counts = Counter(condition for _, condition in self.tasks.values())
        self.least_healthy = min(self.least_healthy, counts[TaskCondition.HEALTHY])
        self.most_live = max(self.most_live, counts.total() - counts[TaskCondition.DRAINING])
        return bool(decision.stops or decision.start)

    def _apply(self, decision: ScalingDecision) -> None:
        for stop in decision.stops:
            self.tasks[stop.task_id] = (self.tasks[stop.task_id][0], TaskCondition.DRAINING)
        for _ in range(decision.start):
            self._number += 1
            self.tasks[f"n{self._number}"] = ("n", TaskCondition.PENDING)

    def advance(self) -> None:
        """Advance one starting task by one step, and stop one draining task."""
        for name, (deployment, condition) in list(self.tasks.items()):
            if condition is TaskCondition.PENDING:
                self.tasks[name] = (deployment, TaskCondition.HEALTHY)
                break
        drained = next(
            (name for name, entry in self.tasks.items() if entry[1] is TaskCondition.DRAINING), None
        )
        if drained is not None:
            del self.tasks[drained]


_PERCENTS = ((50, 200), (100, 200), (50, 100), (0, 100), (66, 134), (100, 150))
_POSSIBLE = [
    (desired, percents)
    for desired in (1, 2, 3, 5, 10)
    for percents in _PERCENTS
    if -(-desired * percents[0] // 100) < desired or desired * percents[1] // 100 > desired
]


@pytest.mark.parametrize(("desired", "percents"), _POSSIBLE)
def test_every_rollout_ends_within_its_percentages(desired: int, percents: tuple[int, int]) -> None:
    play = _Play(desired=desired, percents=percents)
    for _ in range(20 * desired):
        while play.step():
            pass
        play.advance()
    assert Counter({("n", TaskCondition.HEALTHY): desired}) == Counter(play.tasks.values())
    assert play.least_healthy >= -(-desired * percents[0] // 100)
    assert play.most_live <= desired * percents[1] // 100
