"""Commands that run once in real tasks: by `run`, and before a rollout."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CommandResult, run_interrupted
from tests.flows.released import CLUSTER, Dev
from tests.snapshots import RELEASED, Snapshots, copied_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("one_off")]

FAMILY = "mclass-task-run"
TALKING = "import os, sys; print(os.environ['MCLASS_VERSION']); print('last', file=sys.stderr); sys.exit(3)"
WAITING = "import time; print('waiting', flush=True); time.sleep(600)"


@pytest.fixture(scope="module")
def dev(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Dev in a copy of this project, at ten times the speed of AWS."""
    project = copied_project(tmp_path_factory.mktemp("project"))
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("one_off"), project=project) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.fixture
def one(dev: Dev) -> str:
    """A first version, which serves."""
    digest = dev.version("1.0.0")
    dev.runs(digest)
    return digest


@pytest.fixture
def two(dev: Dev) -> str:
    return dev.version("2.0.0")


def run(dev: Dev, *argv: str, options: Sequence[str] = ()) -> CommandResult:
    return dev.commands.run("run", "dev", "--local", *options, "--", *argv)


@contextmanager
def before(dev: Dev, *commands: str) -> Iterator[None]:
    """Configure commands that run before each rollout in this context."""
    file = dev.commands.project / "environments" / "dev" / "environment.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(f"{text}\n[release]\nbefore = {json.dumps(commands)}\n", encoding="utf-8")
    try:
        yield
    finally:
        file.write_text(text, encoding="utf-8")


def python(script: str) -> str:
    return f'python -c "{script}"'


def task(dev: Dev, arn: str) -> Any:
    return dev.client("ecs").describe_tasks(cluster=CLUSTER, tasks=[arn], include=["TAGS"])["tasks"][0]


def revisions(dev: Dev, status: str) -> list[str]:
    pages = (
        dev.client("ecs").get_paginator("list_task_definitions").paginate(familyPrefix=FAMILY, status=status)
    )
    return [arn for page in pages for arn in page["taskDefinitionArns"]]


def ran_before(dev: Dev) -> list[tuple[str, int | None]]:
    """Return the commands that ran before the rollout of the last attempt."""
    return [(each["command"], each["exit_code"]) for each in dev.history()[0]["before"]]


def test_an_environment_without_a_release_has_nothing_to_run_a_command_in(dev: Dev) -> None:
    dev.empty()

    done = run(dev, "date")

    assert done.status == 3, done.stderr
    assert "dev runs no image yet" in done.stderr
    assert "release dev --local" in done.stderr


def test_a_command_runs_in_what_serves_and_its_output_and_exit_code_are_passed_on(dev: Dev, one: str) -> None:
    done = run(dev, "python", "-c", TALKING)

    assert (done.status, done.stdout) == (3, "1.0.0\nlast\n"), done.stderr
    assert "the command exited with 3" in done.stderr
    assert revisions(dev, "ACTIVE") == []


def test_as_json_the_commands_exit_code_and_ours_are_distinguished(dev: Dev, one: str) -> None:
    done = run(dev, "python", "-c", TALKING, options=["--json"])

    assert done.status == 3, done.stderr
    document = done.document
    assert (document["environment"], document["digest"], document["exit_code"]) == ("dev", one, 3)
    assert document["log_stream"] == f"mclass-server/mclass-server/{document['task'].rsplit('/', 1)[-1]}"
    assert "Essential container" in document["stopped_reason"]
    assert "error" not in document
    assert "1.0.0\nlast\n" in done.stderr


def test_a_one_off_task_has_the_services_network_roles_and_settings_and_serves_nobody(
    dev: Dev, one: str
) -> None:
    arn = run(dev, "true", options=["--json"]).document["task"]

    ran, service = task(dev, arn), dev.service()
    assert (ran["startedBy"], ran["group"]) == ("mclass-tf/run", f"family:{FAMILY}")
    details = {each["name"]: each["value"] for each in ran["attachments"][0]["details"]}
    assert details["subnetId"] in service["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
    ecs = dev.client("ecs")
    own = ecs.describe_task_definition(taskDefinition=ran["taskDefinitionArn"])["taskDefinition"]
    served = ecs.describe_task_definition(taskDefinition=service["taskDefinition"])["taskDefinition"]
    assert own["status"] == "INACTIVE"
    for key in ("taskRoleArn", "executionRoleArn", "cpu", "memory", "volumes"):
        assert own[key] == served[key]
    (container,), (serving,) = own["containerDefinitions"], served["containerDefinitions"]
    for key in ("image", "environment", "secrets", "logConfiguration", "readonlyRootFilesystem"):
        assert container[key] == serving[key]
    assert not container.get("portMappings")


def test_a_command_that_the_image_does_not_have_ends_with_6_and_ecs_reason(dev: Dev, one: str) -> None:
    done = run(dev, "nonesuch", options=["--json"])

    assert done.status == 6
    assert done.document["exit_code"] is None
    assert 'exec: "nonesuch": executable file not found' in done.document["error"]["message"]
    assert "the image has no such program" in done.stderr
    assert revisions(dev, "ACTIVE") == []


def test_an_interrupt_stops_the_task_and_ends_with_130(dev: Dev, one: str) -> None:
    done = run_interrupted(
        dev.commands, "run", "dev", "--local", "--json", "--", "python", "-c", WAITING, at="waiting"
    )

    assert done.status == 130, done.stderr
    document = done.document
    assert document["exit_code"] is None
    assert document["error"]["type"] == "InterruptedByUserError"
    stopped = task(dev, document["task"])
    assert (stopped["lastStatus"], stopped["stopCode"]) == ("STOPPED", "UserInitiated")
    assert revisions(dev, "ACTIVE") == []


def test_a_command_that_takes_too_long_is_stopped(dev: Dev, one: str) -> None:
    done = run(dev, "python", "-c", WAITING, options=["--timeout", "1"])

    assert done.status == 6
    assert "it was not over after 1 s" in done.stderr


def test_what_runs_before_a_rollout_runs_once_in_the_new_version(dev: Dev, one: str, two: str) -> None:
    first = python("import os; print('migrating to', os.environ['MCLASS_VERSION'])")

    with before(dev, first, "true"):
        done = dev.release(two)
        again = dev.release(two)

    assert done.status == 0, done.stderr
    assert "migrating to 2.0.0" in done.stderr
    assert done.stderr.index("migrating to 2.0.0") < done.stderr.index("has started")
    assert again.document["outcome"] == "unchanged"
    assert "migrating to" not in again.stderr
    unchanged, released = dev.history()[:2]
    assert unchanged["before"] == []
    assert [(each["command"], each["exit_code"]) for each in released["before"]] == [(first, 0), ("true", 0)]
    assert task(dev, released["before"][0]["task"])["startedBy"] == "mclass-tf/before"
    assert dev.answers()["version"] == "2.0.0"


def test_what_fails_before_a_rollout_ends_the_release_while_the_old_version_serves_and_runs_again_in_the_next(
    dev: Dev, one: str, tmp_path: Path
) -> None:
    old, deployments, digest = dev.service()["taskDefinition"], dev.deployments(), dev.version("3.0.0")
    # Processes of this machine share its files: it fails once.
    mark = f"f = pathlib.Path('{tmp_path / 'tried'}')"
    failing = python(
        f"import pathlib, sys; {mark}; print('altering'); sys.exit(0 if f.exists() else f.touch() or 4)"
    )

    with before(dev, "true", failing, "date"):
        done = dev.release(digest)

    assert done.status == 6, done.stderr
    document = done.document
    assert document["outcome"] == "failed"
    assert document["cause"] == f"`{failing}`, which runs before the rollout: exited with 4"
    assert "  altering" in done.stderr
    assert document["error"]["type"] == "BeforeFailedError"
    assert dev.service()["taskDefinition"] == old
    assert dev.deployments() == deployments, "no rollout was begun"
    assert dev.answers()["version"] == "1.0.0"
    _, end = dev.records()[-1]
    assert (end["outcome"], end["cause"], end["is_verified"]) == ("failed", document["cause"], False)
    assert ran_before(dev) == [("true", 0), (failing, 4)]
    assert revisions(dev, "ACTIVE") == []

    with before(dev, "true", failing):
        again = dev.release(digest)

    assert again.status == 0, again.stderr
    assert ran_before(dev) == [("true", 0), (failing, 0)]
    assert dev.answers()["version"] == "3.0.0"


def test_a_release_that_is_interrupted_before_its_rollout_shifts_nothing(dev: Dev, one: str) -> None:
    old = dev.service()["taskDefinition"]

    with before(dev, python(WAITING)):
        digest = dev.version("4.0.0")
        done = run_interrupted(
            dev.commands, "release", "dev", "--local", "--yes", "--image", digest, at="  waiting"
        )

    assert done.status == 130, done.stderr
    assert dev.service()["taskDefinition"] == old
    _, end = dev.records()[-1]
    assert end["outcome"] == "interrupted"
    assert dev.answers()["version"] == "1.0.0"
