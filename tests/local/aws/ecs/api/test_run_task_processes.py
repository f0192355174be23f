"""RunTask with real processes: commands, output, exit codes and signals."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import local
from mclass_tf.local.containers.process import ProcessDriver
from tests.local import rollouts, run_task_world, task_world
from tests.local.conftest import account_of
from tests.local.images import Blobs
from tests.local.rollouts import Rollouts
from tests.local.run_task_world import CLUSTER, Ecs, Play
from tests.local.task_world import until
from tests.need import need
from tests.time_limits import seconds_left


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Run tasks as processes, from an image that prints the arguments of its entry point and command."""
    blobs = Blobs(tmp_path)
    show = ["python", "-c", "import sys; print(*sys.argv[1:])"]
    digest = blobs.make(Entrypoint=[*show, "entry"], Cmd=["image's"])
    applied = task_world.apply()
    task_world.push(applied.account_id, blobs.blob(digest).read_text(), tag="python")
    return run_task_world.player(
        tmp_path,
        monkeypatch,
        applied=replace(applied, digest=digest),
        speed=10,
        make_driver=lambda: ProcessDriver(home=tmp_path, images=blobs),
    )


async def _outcome(ecs: Ecs, described: dict[str, Any]) -> tuple[int, list[str]]:
    """Return the exit code and the output of the container of a task."""
    found = await ecs.ended(described)
    return found["containers"][0].get("exitCode", -1), ecs.world.log(ecs.task(described))


def test_entry_point_and_command_work_as_in_docker(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        entry_point = ["sh", "-c", 'echo other "$@"', "sh"]
        cases: tuple[tuple[dict[str, Any], dict[str, Any], str], ...] = (
            ({}, {}, "entry image's"),
            ({"command": ["own"]}, {}, "entry own"),
            ({"command": ["own"]}, {"command": ["over", "ridden"]}, "entry over ridden"),
            ({"entryPoint": entry_point}, {}, "other"),
            ({"entryPoint": entry_point, "command": ["own"]}, {}, "other own"),
            ({"entryPoint": entry_point}, {"command": ["overridden"]}, "other overridden"),
        )
        started = []
        for definition, overrides, told in cases:
            revision = ecs.register(ecs.applied.container(**definition))
            answer = ecs.run(taskDefinition=revision, overrides=ecs.override(**overrides))
            started.append((answer, told))
        for answer, told in started:
            assert await _outcome(ecs, answer) == (0, [told])

    play(scenario)


def test_output_and_exit_code_are_those_of_the_command(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(ecs.applied.container(entryPoint=["python"]))
        code = "import sys; print('one'); print('two', file=sys.stderr); sys.exit(3)"
        answer = ecs.run(overrides=ecs.override(command=["-c", code]))
        status, lines = await _outcome(ecs, answer)
        assert (status, sorted(lines)) == (3, ["one", "two"])
        found = ecs.described(answer)
        assert found["stopCode"] == "EssentialContainerExited"
        assert found["stoppedReason"] == "Essential container in task exited"
        assert "startedAt" in found

    play(scenario)


def test_a_stopped_command_gets_sigterm(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(ecs.applied.container(entryPoint=["python"], command=["-c", _PATIENT]))
        answer = ecs.run()
        task = ecs.task(answer)
        await until(lambda: task.last_status == "RUNNING" and "up" in ecs.world.log(task))
        ecs.client.stop_task(cluster=CLUSTER, task=answer["taskArn"], reason="interrupted")
        assert await _outcome(ecs, answer) == (5, ["up", "told to stop"])
        found = ecs.described(answer)
        assert (found["stopCode"], found["stoppedReason"]) == ("UserInitiated", "interrupted")

    play(scenario)


_PATIENT = """
import signal, sys
def stop(*_):
    print("told to stop", flush=True)
    sys.exit(5)
signal.signal(signal.SIGTERM, stop)
print("up", flush=True)
while True:
    signal.pause()
"""


# ---- on a separate local AWS, with the AWS CLI, beside a service


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """A service with one task, in the cluster of the tests."""
    need("aws")
    home = tmp_path_factory.mktemp("run-task-aws")
    server = local.up(home=home, port=0, speed=rollouts.SPEED)
    try:
        made = rollouts.make(account_of(server, "333333333333"), desired=1)
        made.wait_for_status("SUCCESSFUL")
        yield made
    finally:
        local.down(home=home)


def _aws(running: Rollouts, *words: str) -> Any:
    """Run the AWS CLI and return its JSON output."""
    environment = running.account.environment()
    done = subprocess.run(
        ["aws", *words, "--output", "json"],
        env={**environment, "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_left(),
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout or "null")


def _run(running: Rollouts, code: str, *words: str) -> str:
    """Start a task that runs Python code instead of the app. Return its ARN."""
    overrides = {"containerOverrides": [{"name": "web", "command": ["-c", code]}]}
    network = running.service["networkConfiguration"]
    answer = _aws(
        running,
        *("ecs", "run-task", "--cluster", "c", "--task-definition", "once", "--launch-type", "FARGATE"),
        *("--network-configuration", json.dumps(network), "--overrides", json.dumps(overrides)),
        *words,
    )
    assert answer["failures"] == []
    return str(answer["tasks"][0]["taskArn"])


def _ended(running: Rollouts, arn: str) -> dict[str, Any]:
    _aws(running, "ecs", "wait", "tasks-stopped", "--cluster", "c", "--tasks", arn)
    found: dict[str, Any] = _aws(running, "ecs", "describe-tasks", "--cluster", "c", "--tasks", arn)["tasks"][
        0
    ]
    return found


def _log(running: Rollouts, arn: str) -> list[str]:
    stream = f"web/web/{arn.rsplit('/', maxsplit=1)[-1]}"
    found = _aws(
        running,
        *("logs", "get-log-events", "--log-group-name", "/ecs/mclass-task", "--log-stream-name", stream),
    )
    return [event["message"] for event in found["events"]]


@pytest.fixture(scope="module")
def once(beside: Rollouts) -> Rollouts:
    """Register the task definition of the service with Python as entry point, as family "once"."""
    ecs = beside.client("ecs")
    found = ecs.describe_task_definition(taskDefinition=beside.service["taskDefinition"])["taskDefinition"]
    (container,) = found["containerDefinitions"]
    ecs.register_task_definition(
        family="once",
        containerDefinitions=[{**container, "entryPoint": ["python"]}],
        **{
            name: found[name]
            for name in ("requiresCompatibilities", "networkMode", "cpu", "memory", "executionRoleArn")
        },
    )
    return beside


@pytest.mark.slow
@pytest.mark.xdist_group("run-task")
def test_the_aws_cli_runs_a_task_and_waits_for_its_end(once: Rollouts) -> None:
    code = "import app, os, sys; print('in', os.environ['MCLASS_VERSION']); sys.exit(3)"
    arn = _run(once, code, "--started-by", "a-test", "--client-token", "t-1")
    assert _run(once, code, "--started-by", "a-test", "--client-token", "t-1") == arn
    found = _ended(once, arn)
    assert found["containers"][0]["exitCode"] == 3
    assert (found["stopCode"], found["group"]) == ("EssentialContainerExited", "family:once")
    assert _log(once, arn) == ["in 1"]
    listed = ("ecs", "list-tasks", "--cluster", "c", "--started-by", "a-test", "--desired-status", "STOPPED")
    assert _aws(once, *listed)["taskArns"] == [arn]


@pytest.mark.slow
@pytest.mark.xdist_group("run-task")
def test_a_one_off_task_does_not_affect_a_service(once: Rollouts) -> None:
    before = once.service
    deployment = before["deployments"][0]["id"]
    arn = _run(once, _PATIENT, "--group", "service:s", "--started-by", deployment)
    _aws(once, "ecs", "wait", "tasks-running", "--cluster", "c", "--tasks", arn)
    once.wait(lambda: _log(once, arn) == ["up"])
    assert [task["taskArn"] for task in once.tasks()] != [arn]
    assert (once.service["runningCount"], len(once.tasks())) == (1, 1)
    assert once.version() == "1"
    _aws(once, "ecs", "stop-task", "--cluster", "c", "--task", arn, "--reason", "enough")
    found = _ended(once, arn)
    assert (found["containers"][0]["exitCode"], found["stoppedReason"]) == (5, "enough")
    assert _log(once, arn) == ["up", "told to stop"]
    after = once.service
    assert after["deployments"][0]["failedTasks"] == 0
    assert [event["message"] for event in after["events"]] == [event["message"] for event in before["events"]]


@pytest.mark.slow
@pytest.mark.xdist_group("run-task")
def test_a_task_without_permission_to_pull_has_a_stopped_reason(once: Rollouts) -> None:
    iam = once.client("iam")
    policy = iam.get_role_policy(RoleName="mclass-execution", PolicyName="execution")["PolicyDocument"]
    less = task_world.policy(once.account.account_id, without="ecr:BatchGetImage")
    iam.put_role_policy(RoleName="mclass-execution", PolicyName="execution", PolicyDocument=less)
    try:
        found = _ended(once, _run(once, "print('never')"))
    finally:
        iam.put_role_policy(
            RoleName="mclass-execution", PolicyName="execution", PolicyDocument=json.dumps(policy)
        )
    assert found["stopCode"] == "TaskFailedToStart"
    assert found["stoppedReason"].startswith("CannotPullContainerError")
    assert "ecr:BatchGetImage" in found["stoppedReason"]
