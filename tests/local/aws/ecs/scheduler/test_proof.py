"""What ECS may do at any moment after a success does not refute it: a scale-out, the loss of a Spot task, a rebalancing of zones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from mclass_tf.errors import NotServingError
from mclass_tf.local.aws.ecs.model.task import Task as LocalTask
from mclass_tf.local.aws.ecs.scheduler.counts import count_tasks
from mclass_tf.rollout import EcsClient, ExpectedRevision, Patience, require_sole_revision
from mclass_tf.service import Service, Task
from tests.local.scheduler_world import Stage, make_stage

_START, _HEALTHY = 50.0, 20.0  # seconds until a task runs, and then until its target is healthy
_SETTLED = 60.0 + 30.0 + _HEALTHY


def _seen(task: LocalTask) -> Task:
    return Task(
        arn=task.arn,
        task_definition_arn=task.launch.definition.arn,
        last_status=task.last_status,
        started_by=task.launch.started_by,
        address=task.interface.private_ip if task.interface else "",
        stop_code=task.stop_code or "",
        stopped_reason=task.stopped_reason or "",
        stopped_at=None,
        containers=(),
    )


@dataclass
class Watched:
    """The scheduler of the local AWS as a client sees it. Its tasks take as long to serve as on Fargate."""

    stage: Stage
    began: float = 0.0
    launched: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.began = self.stage.world.time
        self.launched = {task.id: self.began - 1000.0 for task in self.stage.world.tasks}

    def clock(self) -> float:
        return self.stage.world.time

    def wait(self, seconds: float) -> None:
        self.stage.wait(seconds)
        now = self.clock()
        for task in self.stage.live:
            age = now - self.launched.setdefault(task.id, now)
            if age >= _START and task.last_status == "PROVISIONING":
                self.stage.run(task)
            elif age >= _START + _HEALTHY:
                self.stage.report("healthy", task)

    def service(self) -> Service:
        count_tasks(self.stage.service, self.stage.world.tasks)
        return Service.parse(self.stage.service.document())

    def tasks(self, *, stopped: bool = False) -> Sequence[Task]:
        status = "STOPPED" if stopped else "RUNNING"
        every = [task for task in self.stage.world.tasks if task.desired_status == status]
        return tuple(map(_seen, every))

    def target_states(self, _: Sequence[str]) -> Mapping[str, str]:
        return self.stage.world.states

    def prove(self, definition: str = "t:1", *, settled_within: float = _SETTLED) -> tuple[Task, ...]:
        expected = ExpectedRevision(task_definition_arn=definition, container="web", digest="sha256:1")
        return require_sole_revision(
            cast("EcsClient", self),
            expected,
            settled_within=settled_within,
            patience=Patience(report=print, clock=self.clock, wait=self.wait),
            clock=self.clock,
            wait=self.wait,
        )


@pytest.fixture
def watched() -> Watched:
    stage = make_stage(desired=2)
    stage.come_up()
    return Watched(stage)


def _scale_out(stage: Stage) -> None:
    stage.service.update({"desiredCount": 6}, force=False)
    stage.settle()


def _lose_a_task(stage: Stage) -> None:
    task = stage.live[0]
    _deregister(stage, task)
    stage.crash(task, code="SpotInterruption")


def _rebalance(stage: Stage) -> None:
    """Start the replacement of a task in another zone, and stop the first at once: the least that AWS keeps is not promised."""
    _lose_a_task(stage)
    stage.service.update({"desiredCount": 3}, force=False)
    stage.settle()


def _deregister(stage: Stage, task: LocalTask) -> None:
    assert task.interface is not None
    stage.world.states[task.interface.private_ip] = "draining"


@pytest.mark.parametrize("happens", [_scale_out, _lose_a_task, _rebalance])
def test_what_ecs_starts_during_the_proof_is_waited_for(
    watched: Watched, happens: Callable[[Stage], None]
) -> None:
    happens(watched.stage)

    assert len(watched.prove()) >= 2


def test_a_scale_out_in_the_middle_of_the_proof_is_not_waited_for(watched: Watched) -> None:
    _deregister(watched.stage, watched.stage.live[0])
    service = watched.service

    def scaled_out() -> Service:
        found = service()
        _scale_out(watched.stage)
        watched.stage.report("healthy")
        return found

    watched.service = scaled_out  # type: ignore[method-assign]

    assert len(watched.prove()) == 2
    assert watched.clock() - watched.began < _START


def test_a_task_that_never_serves_is_a_failure_after_its_time(watched: Watched) -> None:
    _lose_a_task(watched.stage)

    with pytest.raises(NotServingError, match="1 of 2 tasks run"):
        watched.prove(settled_within=_START - 20)

    assert watched.clock() - watched.began >= _START - 20


def test_another_revision_is_a_failure_whatever_starts(watched: Watched) -> None:
    watched.stage.deploy("t:2")

    with pytest.raises(NotServingError, match="the service is to run t:2"):
        watched.prove()

    assert watched.clock() - watched.began < _START
