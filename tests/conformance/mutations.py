"""Ways in which the local AWS could be wrong. Each is a change of one function, in force inside a `with`.

A comparison of a recording of the changed local AWS with one of the true one must name the difference.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any
from unittest import mock

from mclass_tf.local.aws.ecs.api import deployment_calls, task_document
from mclass_tf.local.aws.ecs.model import errors, service_deployment, stages
from mclass_tf.local.aws.ecs.model.service import Service
from mclass_tf.local.aws.ecs.model.stages import StageStep
from mclass_tf.local.aws.ecs.scheduler import events, shifting
from mclass_tf.local.aws.ecs.tasks import lifecycle, tasks

Change = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True, kw_only=True)
class Mutation:
    """`chapter` is where it shows; a difference of the kind `what` must name `entry`."""

    name: str
    chapter: str
    what: str
    entry: str
    change: Change


def _replaced(target: Any, name: str, value: Any) -> Change:
    return lambda: mock.patch.object(target, name, value)


def _steps(change: Callable[[list[StageStep]], list[StageStep]]) -> Change:
    """Change the steps of the deployments that shift traffic."""
    before = stages._shifting

    def changed(*arguments: Any, **settings: Any) -> Iterator[StageStep]:
        return iter(change(list(before(*arguments, **settings))))

    return _replaced(stages, "_shifting", changed)


def _without(stage: str) -> Change:
    return _steps(lambda steps: [step for step in steps if step.stage != stage])


def _at_once(steps: list[StageStep]) -> list[StageStep]:
    """Give the new revision all traffic in the first step."""
    return [
        dataclasses.replace(step, production=100.0)
        if step.production is not None and step.production > 0
        else step
        for step in steps
    ]


def _not_baked(steps: list[StageStep]) -> list[StageStep]:
    return [dataclasses.replace(step, minutes=0.0) if step.stage == "BAKE_TIME" else step for step in steps]


def _production_first(steps: list[StageStep]) -> list[StageStep]:
    """Shift test traffic after production traffic, and after the pause in which it would have been tested."""
    tests = [step for step in steps if "TEST_TRAFFIC" in step.stage]
    others = [step for step in steps if "TEST_TRAFFIC" not in step.stage]
    at = next(number for number, step in enumerate(others) if step.stage == "POST_PRODUCTION_TRAFFIC_SHIFT")
    return [*others[:at], *tests[::-1], *others[at:]]


def _untold(*left_out: str) -> Change:
    """Leave out events that contain any of these."""
    before = Service.add_event

    def tell(self: Service, message: str, **settings: Any) -> None:
        if not any(text in message for text in left_out):
            before(self, message, **settings)

    return _replaced(Service, "add_event", tell)


def _document(without: str) -> Change:
    before = service_deployment.ServiceDeployment.document

    def document(self: Any) -> dict[str, Any]:
        return {name: value for name, value in before(self).items() if name != without}

    return _replaced(service_deployment.ServiceDeployment, "document", document)


@contextmanager
def _no_status(left_out: str, shown: str) -> Iterator[None]:
    """Never show one status of a service deployment, but another."""
    before = service_deployment.ServiceDeployment.document

    def document(self: Any) -> dict[str, Any]:
        whole = before(self)
        return {**whole, "status": shown} if whole["status"] == left_out else whole

    with mock.patch.object(service_deployment.ServiceDeployment, "document", document):
        yield


@contextmanager
def _task_status(left_out: str, shown: str) -> Iterator[None]:
    before = task_document.document

    def document(task: Any, *, tags: bool) -> dict[str, Any]:
        whole = before(task, tags=tags)
        return {**whole, "lastStatus": shown} if whole["lastStatus"] == left_out else whole

    with mock.patch.object(task_document, "document", document):
        yield


async def _no_drain(_: Any) -> None:
    return None


def _stop_first(self: Any, task: Any, *, code: str, reason: str, drain: bool) -> None:
    """Send SIGTERM before the target is deregistered, as StopTask does."""
    del drain
    _TRUE_STOP(self, task, code=code, reason=reason, drain=False)


_TRUE_STOP = tasks.TaskManager.stop


def _user_stop(self: Any, task: Any, *, code: str, reason: str, drain: bool) -> None:
    _TRUE_STOP(self, task, code="UserInitiated" if drain else code, reason=reason, drain=drain)


def _other_reason(self: Any, task: Any, *, code: str, reason: str, drain: bool) -> None:
    _TRUE_STOP(self, task, code=code, reason=reason.replace("Scaling activity", "Deployment"), drain=drain)


def _weights_stay(step: StageStep, *, service: Any, world: Any) -> None:
    """Leave production traffic with the revision that has failed."""
    if service.primary.record.progress.is_rollback:
        step = dataclasses.replace(step, production=None)
    _TRUE_SHIFT(step, service=service, world=world)


_TRUE_SHIFT = shifting.shift_traffic


def _described(backend: Any, request: Mapping[str, Any]) -> dict[str, Any]:
    """Give times as texts, as EventBridge does."""
    answer = _TRUE_DESCRIBE(backend, request)
    for each in answer["serviceDeployments"]:
        each["createdAt"] = f"{each['createdAt']}"
    return answer


_TRUE_DESCRIBE = deployment_calls.describe_service_deployments

_TRUE_END = service_deployment.ServiceDeployment.end


def _ends_stopped(self: Any, status: str, *, reason: str | None = None) -> None:
    _TRUE_END(self, "STOPPED" if status == "ROLLBACK_SUCCESSFUL" else status, reason=reason)


MUTATIONS = (
    Mutation(
        name="targets do not drain",
        chapter="rolling",
        what="duration",
        entry="task status DEACTIVATING",
        change=_replaced(lifecycle.TaskLifecycle, "_drain", _no_drain),
    ),
    Mutation(
        name="SIGTERM comes before the deregistration",
        chapter="rolling",
        what="duration",
        entry="task status DEACTIVATING",
        change=_replaced(tasks.TaskManager, "stop", _stop_first),
    ),
    Mutation(
        name="the steady state is told in other words",
        chapter="rolling",
        what="words",
        entry="event",
        change=_replaced(events, "STEADY", "is in a steady state."),
    ),
    Mutation(
        name="no event tells of the completion",
        chapter="rolling",
        what="missing",
        entry="event",
        change=_untold("deployment completed"),
    ),
    Mutation(
        name="no event tells of registered targets",
        chapter="rolling",
        what="missing",
        entry="event",
        change=_untold("registered"),
    ),
    Mutation(
        name="a task is never ACTIVATING",
        chapter="rolling",
        what="missing",
        entry="task status",
        change=lambda: _task_status("ACTIVATING", "PENDING"),
    ),
    Mutation(
        name="the scheduler's stop has a user's code",
        chapter="rolling",
        what="words",
        entry="stopped task",
        change=_replaced(tasks.TaskManager, "stop", _user_stop),
    ),
    Mutation(
        name="a stopped task has another reason",
        chapter="rolling",
        what="words",
        entry="stopped task",
        change=_replaced(tasks.TaskManager, "stop", _other_reason),
    ),
    Mutation(
        name="the circuit breaker speaks other words",
        chapter="rolling, failing",
        what="words",
        entry="event",
        change=_replaced(events, "rolling_back", "returning to deployment {}.".format),
    ),
    Mutation(
        name="the circuit breaker is never TRIGGERED",
        chapter="rolling, failing",
        what="missing",
        entry="circuit breaker",
        change=_replaced(service_deployment.Monitor, "trip", lambda _: None),
    ),
    Mutation(
        name="a rollback is never in progress",
        chapter="rolling, failing",
        what="missing",
        entry="deployment status",
        change=lambda: _no_status("ROLLBACK_IN_PROGRESS", "IN_PROGRESS"),
    ),
    Mutation(
        name="there is no bake time",
        chapter="blue-green",
        what="missing",
        entry="lifecycle stage",
        change=_without("BAKE_TIME"),
    ),
    Mutation(
        name="the bake time is not waited for",
        chapter="blue-green",
        what="missing",
        entry="lifecycle stage",
        change=_steps(_not_baked),
    ),
    Mutation(
        name="production traffic shifts before test traffic",
        chapter="blue-green",
        what="order",
        entry="weights",
        change=_steps(_production_first),
    ),
    Mutation(
        name="a pause is not waited for",
        chapter="blue-green, failing",
        what="missing",
        entry="hook status",
        change=_replaced(stages.LifecycleHook, "is_awaiting", False),
    ),
    Mutation(
        name="production traffic stays where it was after a rollback",
        chapter="stop",
        what="sequence",
        entry="production weights",
        change=_replaced(shifting, "shift_traffic", _weights_stay),
    ),
    Mutation(
        name="a canary gets all traffic at once",
        chapter="canary",
        what="missing",
        entry="weights",
        change=_steps(_at_once),
    ),
    Mutation(
        name="a linear release takes one step less",
        chapter="linear",
        what="missing",
        entry="weights",
        change=_steps(lambda steps: [step for step in steps if step.production != 40.0]),
    ),
    Mutation(
        name="the stage is missing in the answer",
        chapter="blue-green",
        what="answer",
        entry="ecs:DescribeServiceDeployments serviceDeployments[].lifecycleStage",
        change=_document("lifecycleStage"),
    ),
    Mutation(
        name="a time is a text",
        chapter="rolling",
        what="answer",
        entry="ecs:DescribeServiceDeployments serviceDeployments[].createdAt",
        change=_replaced(deployment_calls, "describe_service_deployments", _described),
    ),
    Mutation(
        name="another error for a deployment that is not there",
        chapter="refused calls",
        what="error",
        entry="ecs:StopServiceDeployment",
        change=_replaced(errors, "unknown_service_deployment", partial(errors.client, "Not found.")),
    ),
    Mutation(
        name="a stop ends without a rollback",
        chapter="stop",
        what="missing",
        entry="deployment status",
        change=_replaced(service_deployment.ServiceDeployment, "end", _ends_stopped),
    ),
)
