"""One-off tasks on a fake ECS: their task definition, how they are followed to their end, and what remains."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from mclass_tf.cli.grammar import parser
from mclass_tf.cli.run_task_commands import run_document
from mclass_tf.environment import ReleaseSettings
from mclass_tf.errors import (
    BeforeFailedError,
    InterruptedByUserError,
    OneOffError,
    RolloutError,
    UsageError,
)
from mclass_tf.flows import RunResult, before
from mclass_tf.flows.attempt import Attempt
from mclass_tf.flows.before import STARTED_BY, remaining_commands, run_before_commands
from mclass_tf.flows.deployer.deploy import Deployer
from mclass_tf.flows.one_off import run as one_off
from mclass_tf.flows.one_off.definition import definition, family
from mclass_tf.flows.one_off.follow import FinishedTask, Follower
from mclass_tf.flows.one_off.log import LogStream, TaskLog, stream_of
from mclass_tf.flows.one_off.run import OneOffCommand, run_in
from mclass_tf.flows.release import is_adopted
from mclass_tf.ledger import OneOffResult
from mclass_tf.rollout import Patience
from mclass_tf.service import Container, Ecs, Task
from tests.unit.fake_service import (
    BEGAN,
    NEW,
    OLD,
    Clock,
    denied,
    deployment,
    service,
    service_deployment,
    throttled,
)
from tests.unit.fake_service import FakeEcs as FakeService

ARN = "arn:aws:ecs:ap-northeast-2:111111111111:task/mclass-cluster/5d0c"
DEFINITION = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task:7"
ONE_OFF = "arn:aws:ecs:ap-northeast-2:111111111111:task-definition/mclass-task-run:1"
CLOCK = Clock()
STREAM = LogStream(group="/ecs/mclass-task", name="mclass-server/mclass-server/5d0c")
MAIN: dict[str, Any] = {
    "name": "mclass-server",
    "image": "repository@sha256:1",
    "essential": True,
    "portMappings": [{"containerPort": 3000}],
    "healthCheck": {"command": ["CMD", "true"]},
    "secrets": [{"name": "PASSWORD", "valueFrom": "arn:secret"}],
    "logConfiguration": {
        "logDriver": "awslogs",
        "options": {
            "awslogs-group": "/ecs/mclass-task",
            "awslogs-region": "ap-northeast-2",
            "awslogs-stream-prefix": "mclass-server",
        },
    },
}
DESCRIBED: dict[str, Any] = {
    "taskDefinitionArn": DEFINITION,
    "family": "mclass-task",
    "revision": 7,
    "status": "ACTIVE",
    "cpu": "256",
    "executionRoleArn": "arn:execution",
    "containerDefinitions": [MAIN],
    "tags": [],
}


def task(
    status: str = "RUNNING",
    *,
    exit_code: int | None = None,
    stop_code: str = "",
    reason: str = "",
    started_by: str = "mclass-tf/run",
) -> Task:
    container = Container(name="mclass-server", image="", digest="", exit_code=exit_code, reason="")
    return Task(
        arn=ARN,
        task_definition_arn=ONE_OFF,
        last_status=status,
        started_by=started_by,
        address="",
        stop_code=stop_code,
        stopped_reason=reason,
        stopped_at=BEGAN if status == "STOPPED" else None,
        containers=(container,),
    )


def ended(exit_code: int) -> Task:
    return task(
        "STOPPED",
        exit_code=exit_code,
        stop_code="EssentialContainerExited",
        reason="Essential container in task exited",
    )


STOPPED_BY_USER = task("STOPPED", exit_code=0, stop_code="UserInitiated", reason="mclass-tf: interrupted")


@dataclass
class FakeEcs:
    """A fake ECS with one task. Each look returns the next of `looks`, and then the last one repeatedly; None: unknown task.

    `on_stop` is what the task becomes when it is told to stop; `troubles` are raised by the next calls, in their order.
    """

    looks: list[Task | None] = field(default_factory=lambda: [task(), ended(0)])
    on_stop: Task = STOPPED_BY_USER
    refusal: str = ""
    described: dict[str, Any] = field(default_factory=lambda: DESCRIBED)
    running: list[Task] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    registered: list[Mapping[str, Any]] = field(default_factory=list)
    requests: list[Mapping[str, Any]] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)

    def _trouble(self) -> None:
        if self.troubles:
            raise self.troubles.pop(0)

    def task_definition(self, reference: str) -> dict[str, Any]:
        return self.described

    def register(self, document: Mapping[str, Any]) -> str:
        self._trouble()
        self.registered.append(document)
        return ONE_OFF

    def deregister(self, arn: str) -> None:
        self._trouble()
        self.calls.append(("deregister", arn))

    def placement(self) -> dict[str, Any]:
        return {"launchType": "FARGATE", "tags": [{"key": "team", "value": "a"}]}

    def run_task(self, request: Mapping[str, Any]) -> tuple[Task | None, str]:
        self.requests.append(request)
        self._trouble()
        return (None, self.refusal) if self.refusal else (task("PROVISIONING"), "")

    def task(self, arn: str) -> Task | None:
        self._trouble()
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def tasks_of_family(self, family: str) -> tuple[Task, ...]:
        assert family == "mclass-task-run"
        return tuple(self.running)

    def stop_task(self, arn: str, *, reason: str) -> None:
        self.calls.append(("stop", arn, reason))
        self.looks = [self.on_stop]


class FakeLogs:
    """A log stream: each read yields the next of `pages`; None: the stream does not exist yet."""

    def __init__(self, *pages: list[str] | None, retry_message: Exception | None = None) -> None:
        self.pages = list(pages)
        self.retry_message = retry_message
        self.tokens: list[str] = []

    def get_log_events(
        self,
        *,
        logGroupName: str,  # noqa: N803
        logStreamName: str,  # noqa: N803
        startFromHead: bool,  # noqa: N803
        nextToken: str = "",  # noqa: N803
    ) -> Mapping[str, Any]:
        assert (logGroupName, logStreamName, startFromHead) == (STREAM.group, STREAM.name, True)
        self.tokens.append(nextToken)
        if self.retry_message is not None:
            raise self.retry_message
        page: list[str] | None = self.pages.pop(0) if self.pages else []
        if page is None:
            raise ClientError({"Error": {"Code": "ResourceNotFoundException", "Message": ""}}, "GetLogEvents")
        token = f"f/{len(self.tokens)}" if page else nextToken or "f/0"
        return {"events": [{"message": line} for line in page], "nextForwardToken": token}


class Interruption:
    """Interrupts at the wait with that number, from 1; 0: never."""

    is_final = False

    def __init__(self, clock: Clock, *, at: int = 0) -> None:
        self._clock = clock
        self._at = at
        self.waits = 0

    def wait(self, seconds: float) -> bool:
        self._clock.wait(seconds)
        self.waits += 1
        return self.waits == self._at

    def clear(self) -> None:
        raise AssertionError("a second interrupt ends the command at once")


@dataclass
class World:
    """A deployer on the fakes, with the reported and shown lines."""

    ecs: FakeEcs = field(default_factory=FakeEcs)
    logs: FakeLogs = field(default_factory=FakeLogs)
    before: tuple[str, ...] = ()
    told: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)

    @property
    def deployer(self) -> Deployer:
        session = SimpleNamespace(
            cloud=SimpleNamespace(is_local=True),
            environment=SimpleNamespace(
                name="dev", region="ap-northeast-2", release=replace(ReleaseSettings(), before=self.before)
            ),
            aws=SimpleNamespace(logs=self.logs),
            report=self.told.append,
        )
        outputs = SimpleNamespace(
            cluster_name="mclass-cluster",
            container_name="mclass-server",
            task_definition_family="mclass-task",
        )
        return Deployer(
            session=cast("Any", session),
            outputs=cast("Any", outputs),
            ecs=cast("Ecs", self.ecs),
            patience=Patience(report=self.told.append, clock=CLOCK, wait=CLOCK.wait),
        )

    def follow(
        self, *, at: int = 0, timeout: float | None = None, log: LogStream | None = STREAM
    ) -> FinishedTask:
        follower = Follower(
            deployer=self.deployer,
            task=task("PROVISIONING"),
            log=log,
            show=self.shown.append,
            timeout=timeout,
        )
        return follower.follow(Interruption(CLOCK, at=at))

    def run(self, *argv: str) -> FinishedTask:
        return run_in(
            self.deployer, DEFINITION, OneOffCommand(argv=argv or ("true",)), show=self.shown.append
        )


@pytest.fixture(autouse=True)
def never_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Advance the fakes' clock when a command waits for an interrupt of its own process."""
    for module in (one_off, before):
        monkeypatch.setattr(module, "deferred_interrupts", lambda: nullcontext(Interruption(CLOCK)))


# What is registered


def registered(*argv: str, containers: list[dict[str, Any]] | None = None) -> dict[str, dict[str, Any]]:
    described = {**DESCRIBED, "containerDefinitions": containers or [MAIN]}
    document = definition(described, container="mclass-server", argv=argv or ("true",))
    return {own["name"]: own for own in document["containerDefinitions"]}


def test_a_one_off_revision_is_the_services_but_for_command_family_ports_and_health_check() -> None:
    document = definition(DESCRIBED, container="mclass-server", argv=("python", "-m", "app.migrate"))

    assert document["family"] == "mclass-task-run"
    assert (document["cpu"], document["executionRoleArn"]) == ("256", "arn:execution")
    assert not {"taskDefinitionArn", "revision", "status", "tags"} & set(document)
    (own,) = document["containerDefinitions"]
    assert own["entryPoint"] == ["python"]
    assert own["command"] == ["-m", "app.migrate"]
    assert (own["image"], own["secrets"]) == (MAIN["image"], MAIN["secrets"])
    assert own["logConfiguration"] == MAIN["logConfiguration"]
    assert own["linuxParameters"]["initProcessEnabled"], "or SIGTERM would not end it"
    assert not {"portMappings", "healthCheck"} & set(own)


def test_a_command_without_arguments_has_none_of_the_services() -> None:
    own = registered("date", containers=[{**MAIN, "command": ["serve"], "restartPolicy": {"enabled": True}}])

    assert own["mclass-server"]["entryPoint"] == ["date"]
    assert not {"command", "restartPolicy"} & set(own["mclass-server"])


def test_containers_that_the_service_could_do_without_are_left_out_unless_they_are_needed() -> None:
    main = {**MAIN, "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]}
    others = [
        {"name": "init", "essential": False, "volumesFrom": [{"sourceContainer": "files"}]},
        {"name": "files", "essential": False},
        {"name": "agent", "essential": False},
        {"name": "proxy", "essential": True},
    ]

    assert set(registered(containers=[main, *others])) == {"mclass-server", "init", "files", "proxy"}


def test_the_router_of_a_log_that_goes_elsewhere_is_kept() -> None:
    main = {**MAIN, "logConfiguration": {"logDriver": "awsfirelens"}}
    router = {"name": "router", "essential": False, "firelensConfiguration": {"type": "fluentbit"}}

    assert set(registered(containers=[main, router])) == {"mclass-server", "router"}


def test_who_waited_for_the_services_health_waits_for_its_start() -> None:
    waiting = {
        "name": "proxy",
        "dependsOn": [{"containerName": "mclass-server", "condition": "HEALTHY"}],
    }

    found = registered(containers=[MAIN, waiting])

    assert found["proxy"]["dependsOn"] == [{"containerName": "mclass-server", "condition": "START"}]


def test_a_family_is_no_longer_than_ecs_takes() -> None:
    assert len(family("f" * 255)) == 255


# Where its log is


def test_the_stream_of_a_container_is_found_by_its_definition() -> None:
    assert stream_of(MAIN, task_id="5d0c", region="ap-northeast-2") == STREAM


@pytest.mark.parametrize(
    "changed",
    [
        {"logConfiguration": {"logDriver": "awsfirelens"}},
        {"logConfiguration": {"logDriver": "awslogs", "options": {"awslogs-region": "us-east-1"}}},
        {"logConfiguration": None},
    ],
)
def test_a_log_that_goes_elsewhere_has_no_stream(changed: dict[str, Any]) -> None:
    assert stream_of({**MAIN, **changed}, task_id="5d0c", region="ap-northeast-2") is None


def reader(logs: FakeLogs, told: list[str]) -> TaskLog:
    clock = Clock()
    patience = Patience(report=told.append, clock=clock, wait=clock.wait)
    return TaskLog(logs, STREAM, patience=patience, report=told.append)


def test_each_line_of_a_log_is_read_once_from_the_first_on() -> None:
    told: list[str] = []
    logs = FakeLogs(None, ["one\n", "two"], ["three"], [], ["four"])
    log = reader(logs, told)

    assert list(log.read()) == [], "there is no stream yet"
    assert list(log.read()) == ["one", "two", "three"]
    assert list(log.read()) == ["four"]
    assert list(log.read()) == []
    assert told == []


def test_a_log_that_may_not_be_read_is_reported_once() -> None:
    told: list[str] = []
    log = reader(FakeLogs(retry_message=denied("GetLogEvents")), told)

    assert [*log.read(), *log.read()] == []
    assert len(told) == 1
    assert "cannot be read: not yours" in told[0]


# How it is followed


@pytest.mark.parametrize("code", [0, 3, 137])
def test_the_exit_code_is_the_commands(code: int) -> None:
    world = World(FakeEcs([task("PENDING"), task(), ended(code)]))

    finished = world.follow()

    assert (finished.exit_code, finished.error) == (code, None)
    assert (finished.task_arn, finished.log) == (ARN, STREAM)
    assert world.told == ["task 5d0c: pending", "task 5d0c: running", "task 5d0c: stopped"]


def test_what_it_writes_is_shown_as_it_comes_and_to_the_last_line() -> None:
    late = FakeLogs(None, ["one"], [], ["two"], [], [], ["three"], [])
    world = World(FakeEcs([task("PENDING"), task(), task(), ended(0)]), late)

    world.follow()

    assert world.shown == ["one", "two", "three"]


def test_an_interrupt_stops_the_task_and_waits_until_it_has_stopped() -> None:
    world = World(FakeEcs([task()]))

    finished = world.follow(at=2)

    assert world.ecs.calls == [("stop", ARN, "mclass-tf: interrupted")]
    assert isinstance(finished.error, InterruptedByUserError)
    assert finished.exit_code is None, "it did not come to an end of its own"
    assert world.told[-1] == "task 5d0c: stopped"


def test_a_command_that_ends_as_it_is_interrupted_is_interrupted_all_the_same() -> None:
    world = World(FakeEcs([task()], on_stop=ended(0)))

    assert isinstance(world.follow(at=1).error, InterruptedByUserError)


def test_a_task_that_may_not_be_stopped_is_reported_and_watched_to_its_end() -> None:
    world = World(FakeEcs([task(), task(), ended(0)]))
    world.ecs.stop_task = _refused  # type: ignore[method-assign]

    assert isinstance(world.follow(at=1).error, InterruptedByUserError)

    assert "ECS does not stop it: not yours" in world.told


def _refused(arn: str, *, reason: str) -> None:
    raise denied("StopTask")


def test_a_command_that_is_not_over_in_time_is_stopped() -> None:
    world = World(FakeEcs([task()]))

    finished = world.follow(timeout=5)

    assert world.ecs.calls == [("stop", ARN, "mclass-tf: not over after 5 s")]
    assert isinstance(finished.error, OneOffError)
    assert finished.error.exit_code == 6
    assert finished.error.cause == "it was not over after 5 s"
    assert "--timeout" in finished.error.hint


def test_a_command_that_ends_as_its_time_is_over_has_ended() -> None:
    world = World(FakeEcs([task()], on_stop=ended(3)))

    assert world.follow(timeout=5).exit_code == 3


def test_a_task_that_does_not_start_tells_why_in_ecs_words() -> None:
    reason = "CannotPullContainerError: pull image manifest has been retried 1 time(s)"
    world = World(FakeEcs([task("STOPPED", stop_code="TaskFailedToStart", reason=reason)]))

    error = world.follow().error

    assert isinstance(error, OneOffError)
    assert error.message == f"the task 5d0c in dev did not start: {reason}"
    assert "`verify dev`" in error.hint


def test_a_task_that_somebody_stops_has_not_done_its_work_whatever_its_exit_code() -> None:
    spot = task(
        "STOPPED", exit_code=0, stop_code="SpotInterruption", reason="Your Spot Task was interrupted."
    )

    finished = World(FakeEcs([task(), spot])).follow()

    assert finished.exit_code is None
    assert isinstance(finished.error, OneOffError)
    assert "was stopped before its command ended: Your Spot Task was interrupted." in finished.error.message


def test_a_task_that_ecs_does_not_know_yet_is_waited_for_and_not_for_ever() -> None:
    assert World(FakeEcs([None, None, task(), ended(0)])).follow().exit_code == 0

    with pytest.raises(OneOffError, match="ECS does not know the task; the task 5d0c may still run"):
        World(FakeEcs([None])).follow()


def test_throttling_is_retried_and_reported() -> None:
    world = World(FakeEcs(troubles=[throttled(), throttled()]))

    assert world.follow().exit_code == 0
    assert sum("asking again" in line for line in world.told) == 2


def test_aws_that_never_answers_ends_the_command_and_says_that_the_task_may_still_run() -> None:
    world = World(FakeEcs(troubles=[throttled() for _ in range(100)]))

    with pytest.raises(OneOffError, match="may still run") as caught:
        world.follow()

    assert ARN in caught.value.hint


def test_a_log_that_goes_elsewhere_is_not_asked_for() -> None:
    assert World(logs=FakeLogs(retry_message=AssertionError())).follow(log=None).exit_code == 0


# How it is started, and what is left


def test_a_task_is_placed_as_the_services_are_and_leaves_no_revision() -> None:
    world = World()

    finished = world.run("python", "-c", "1")

    assert finished.exit_code == 0
    (request,) = world.ecs.requests
    assert request["taskDefinition"] == ONE_OFF
    assert (request["startedBy"], request["launchType"]) == ("mclass-tf/run", "FARGATE")
    assert request["tags"] == [{"key": "team", "value": "a"}]
    assert world.ecs.calls == [("deregister", ONE_OFF)]


def test_a_start_that_is_asked_for_again_starts_no_second_task() -> None:
    world = World(FakeEcs(troubles=[]))
    world.ecs.register = lambda document: _then_throttle(world, document)  # type: ignore[method-assign]

    world.run()

    assert len(world.ecs.requests) == 2
    assert world.ecs.requests[0]["clientToken"] == world.ecs.requests[1]["clientToken"]


def _then_throttle(world: World, document: Mapping[str, Any]) -> str:
    world.ecs.troubles.append(throttled("RunTask"))
    return ONE_OFF


def test_a_task_that_ecs_does_not_take_tells_why_and_leaves_no_revision() -> None:
    world = World(FakeEcs(refusal="Capacity is unavailable at this time"))

    finished = world.run()

    assert isinstance(finished.error, OneOffError)
    assert finished.error.cause == "Capacity is unavailable at this time"
    assert (finished.task_arn, finished.exit_code) == ("", None)
    assert world.ecs.calls == [("deregister", ONE_OFF)]


def test_a_revision_that_may_not_be_registered_is_reported_with_awss_reason() -> None:
    finished = World(FakeEcs(troubles=[denied("RegisterTaskDefinition")])).run()

    assert isinstance(finished.error, OneOffError)
    assert finished.error.cause == "not yours"


def test_the_revision_is_deregistered_when_it_goes_wrong_on_the_way() -> None:
    world = World(FakeEcs([None]))

    with pytest.raises(OneOffError):
        world.run()

    assert world.ecs.calls == [("deregister", ONE_OFF)]


def test_a_revision_that_cannot_be_deregistered_is_reported_and_hides_nothing() -> None:
    world = World()
    world.ecs.deregister = _denied  # type: ignore[method-assign]

    assert world.run().exit_code == 0
    assert any("mclass-task-run:1 is left behind" in line for line in world.told)


def _denied(arn: str) -> None:
    raise denied("DeregisterTaskDefinition")


# Before a rollout


def attempt(*ran: OneOffResult) -> Attempt:
    return Attempt(
        record="s3://…/",
        digest="sha256:1",
        revision="",
        started_at=BEGAN,
        task_definition_arn=DEFINITION,
        before=ran,
    )


def ran(command: str, exit_code: int | None = 0) -> OneOffResult:
    return OneOffResult(command=command, task_arn=ARN, exit_code=exit_code)


@pytest.mark.parametrize(
    ("done", "expected"),
    [
        ((), ("a", "b", "a")),
        ((ran("a"),), ("b", "a")),
        ((ran("a"), ran("b", 1)), ("b", "a")),
        ((ran("a"), ran("b", None)), ("b", "a")),
        ((ran("a"), ran("b"), ran("a")), ()),
        ((ran("b"),), ("a", "b", "a")),
    ],
)
def test_of_a_releases_commands_those_are_left_that_have_not_succeeded_in_their_order(
    done: tuple[OneOffResult, ...], expected: tuple[str, ...]
) -> None:
    assert remaining_commands(("a", "b", "a"), done) == expected


def test_the_commands_before_a_rollout_run_in_their_order_in_the_new_version_and_are_noted() -> None:
    world = World(before=("python -m app.migrate --to '4 2'", "date"))
    made = attempt()

    run_before_commands(world.deployer, made)

    words = [
        (d["containerDefinitions"][0]["entryPoint"], d["containerDefinitions"][0].get("command"))
        for d in world.ecs.registered
    ]
    assert words == [(["python"], ["-m", "app.migrate", "--to", "4 2"]), (["date"], None)]
    assert [request["startedBy"] for request in world.ecs.requests] == [STARTED_BY, STARTED_BY]
    assert made.before == (ran("python -m app.migrate --to '4 2'"), ran("date"))


def test_a_command_that_has_run_is_not_run_again() -> None:
    world = World(before=("a", "b"))
    made = attempt(ran("a"))

    run_before_commands(world.deployer, made)

    assert made.before == (ran("a"), ran("b"))
    assert len(world.ecs.registered) == 1


def test_the_first_command_that_fails_ends_the_release_and_names_itself_code_and_log() -> None:
    world = World(FakeEcs([ended(4)]), FakeLogs(["bad"]), before=("python -m app.migrate", "date"))
    made = attempt()

    with pytest.raises(BeforeFailedError) as caught:
        run_before_commands(world.deployer, made)

    error = caught.value
    assert (error.exit_code, error.outcome) == (6, "failed")
    assert error.cause == "`python -m app.migrate`, which runs before the rollout: exited with 4"
    assert error.message == f"nothing was shifted in dev: {error.cause}"
    assert STREAM.name in error.hint
    assert "  bad" in world.told
    assert made.before == (ran("python -m app.migrate", 4),)


def test_a_command_that_does_not_start_ends_the_release_too() -> None:
    world = World(FakeEcs(refusal="Capacity is unavailable"), before=("date",))
    made = attempt()

    with pytest.raises(BeforeFailedError, match="which runs before the rollout: Capacity is unavailable"):
        run_before_commands(world.deployer, made)

    assert made.before == (OneOffResult(command="date", task_arn="", exit_code=None),)


def test_a_command_that_aws_no_longer_reports_is_recorded_as_not_ended() -> None:
    world = World(FakeEcs([None]), before=("date",))
    made = attempt()

    with pytest.raises(RolloutError):
        run_before_commands(world.deployer, made)

    assert made.before == (OneOffResult(command="date", task_arn="", exit_code=None),)


def test_the_command_of_an_attempt_that_was_cut_off_is_let_end_first() -> None:
    world = World(before=("date",))
    world.ecs.running = [task(started_by=STARTED_BY), task(started_by="mclass-tf/run")]

    run_before_commands(world.deployer, attempt())

    assert sum("still runs" in line for line in world.told) == 1
    assert world.ecs.calls == [("deregister", ONE_OFF), ("deregister", ONE_OFF)]
    assert len(world.ecs.requests) == 1


def _unasked(family: str) -> Any:
    raise AssertionError(family)


def test_without_commands_nothing_is_asked() -> None:
    world = World()
    world.ecs.tasks_of_family = _unasked  # type: ignore[method-assign]

    run_before_commands(world.deployer, attempt())


@pytest.mark.parametrize(
    ("revision", "status", "expected"),
    [(NEW, "IN_PROGRESS", True), (OLD, "IN_PROGRESS", False), (OLD, "ROLLBACK_IN_PROGRESS", False)],
)
def test_a_rollout_under_way_is_adopted_but_not_that_of_the_apply(
    *, revision: str, status: str, expected: bool
) -> None:
    running_old = service(deployment(OLD, status="PRIMARY"))
    current = service_deployment(status=status)
    fake = FakeService(running_old, own=current, revisions={"revision/own": revision})
    deployer = replace(
        World().deployer, ecs=cast("Ecs", fake), outputs=cast("Any", SimpleNamespace(task_definition_arn=NEW))
    )

    assert is_adopted(deployer, current, before=running_old) is expected
    assert not is_adopted(deployer, None, before=running_old)


# What ECS answers


class Wire:
    """Answers ECS calls, and records them."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    def call_ecs(self, action: str, request: Mapping[str, Any]) -> Any:
        self.asked.append((action, request))
        return self.answers[action]


def ecs(wire: Wire) -> Ecs:
    return Ecs(cast("Any", wire), cluster="mclass-cluster", name="mclass-service")


def test_a_services_placement_has_the_format_of_run_task() -> None:
    network = {"awsvpcConfiguration": {"subnets": ["subnet-1"], "assignPublicIp": "DISABLED"}}
    described = {
        "serviceName": "mclass-service",
        "launchType": "FARGATE",
        "capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
        "networkConfiguration": network,
        "platformVersion": "LATEST",
        "desiredCount": 2,
        "tags": [{"key": "team", "value": "a"}, {"key": "aws:cloudformation:stack-name", "value": "b"}],
    }

    placed = ecs(Wire(DescribeServices={"services": [described]})).placement()

    assert placed == {
        "capacityProviderStrategy": described["capacityProviderStrategy"],
        "networkConfiguration": network,
        "platformVersion": "LATEST",
        "tags": [{"key": "team", "value": "a"}],
    }


def test_a_failure_of_run_task_is_no_task_but_a_reason() -> None:
    wire = Wire(RunTask={"tasks": [], "failures": [{"reason": "RESOURCE:ENI", "detail": "no address left"}]})

    assert ecs(wire).run_task({}) == (None, "RESOURCE:ENI: no address left")
    assert wire.asked == [("RunTask", {"cluster": "mclass-cluster", "count": 1})]


def test_a_task_that_ecs_does_not_know_is_none() -> None:
    assert ecs(Wire(DescribeTasks={"tasks": [], "failures": [{"reason": "MISSING"}]})).task(ARN) is None


# The command line


def parsed(*argv: str) -> argparse.Namespace:
    return parser().parse_args(argv)


def test_what_stands_behind_the_dashes_is_the_commands_own() -> None:
    found = parsed("run", "dev", "--local", "--timeout", "5", "--", "sh", "--json", "--", "-c", "x y")

    assert (found.environment, found.local, found.json, found.timeout) == ("dev", True, False, 5.0)
    assert found.argv == ["sh", "--json", "--", "-c", "x y"]


@pytest.mark.parametrize(
    "argv",
    [
        ("run", "dev"),
        ("run", "dev", "--"),
        ("run", "dev", "date"),
        ("run", "--", "date"),
        ("run", "dev", "--timeout", "0", "--", "date"),
        ("run", "dev", "prod", "--", "date"),
    ],
)
def test_a_command_line_that_names_no_command_is_refused(argv: tuple[str, ...]) -> None:
    with pytest.raises(UsageError):
        parsed(*argv)


def test_the_document_tells_the_commands_exit_code_from_ours() -> None:
    own = FinishedTask(
        task_arn=ARN, exit_code=6, stopped_reason="Essential container in task exited", log=STREAM
    )
    ours = FinishedTask(error=OneOffError("no", cause="no"))

    assert run_document(RunResult(environment="dev", digest="sha256:1", finished=own)) == {
        "environment": "dev",
        "digest": "sha256:1",
        "task": ARN,
        "exit_code": 6,
        "stopped_reason": "Essential container in task exited",
        "log_stream": STREAM.name,
    }
    document = run_document(RunResult(environment="dev", digest="sha256:1", finished=ours))
    assert (document["task"], document["exit_code"], document["log_stream"]) == (None, None, None)
