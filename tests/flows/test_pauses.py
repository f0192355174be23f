"""A rollout that waits for its user, who answers from another process, and one that invokes a Lambda function."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.commands import CommandResult, run_interrupted
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.local.ecs_cluster import call
from tests.snapshots import RELEASED, Snapshots, copied_project
from tests.time_limits import seconds_left

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("pauses")]

_RELEASE = '\n[release]\nstrategy = "blue-green"\nbake_minutes = 0\nsmoke = ["/version"]\n'
_AFTER_TEST, _BEFORE_PRODUCTION = "post-test-traffic-shift", "pre-production-traffic-shift"


@pytest.fixture(scope="module")
def dev(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """Dev in a copy of this project, released blue/green, with version 1.0.0 serving."""
    project = copied_project(tmp_path_factory.mktemp("project"), _RELEASE)
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("pauses"), project=project) as commands:
        yield Dev(commands, snapshots.versions())


def _settings(project: Path) -> Path:
    return project / "environments" / "dev" / "environment.toml"


class Paused:
    """A paused release in its own process."""

    def __init__(self, running: subprocess.Popen[str], seen: list[str]) -> None:
        self.seen = seen
        self._running = running

    @property
    def told(self) -> str:
        return "".join(self.seen)

    def interrupt(self) -> CommandResult:
        self._running.send_signal(signal.SIGINT)
        return self.end()

    def end(self) -> CommandResult:
        """Wait for the end; return the result."""
        stdout, stderr = self._running.communicate(timeout=seconds_left())
        return CommandResult(self._running.returncode, stdout, self.told + stderr)


@contextmanager
def paused(dev: Dev, digest: str, *arguments: str) -> Iterator[Paused]:
    """Start a release with pauses, and return when it pauses or ends."""
    dev.rest()
    command = ("release", "dev", "--local", "--yes", "--json", "--image", digest, *arguments)
    with subprocess.Popen(
        dev.commands.argv(*command),
        env=dev.commands.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        seen: list[str] = []
        try:
            for line in running.stderr or ():
                seen.append(line)
                if line.startswith("paused at"):
                    break
            yield Paused(running, seen)
        finally:
            if running.poll() is None:
                running.kill()


def _hooks(dev: Dev) -> list[Any]:
    """Return the service's hooks, which the installed SDK does not know."""
    found = call(dev.client("ecs"), "DescribeServices", {"cluster": CLUSTER, "services": [SERVICE]})
    return found["services"][0]["deploymentConfiguration"].get("lifecycleHooks") or []


def _pauses(dev: Dev) -> list[Any]:
    return [hook["lifecycleStages"] for hook in _hooks(dev) if hook.get("targetType") == "PAUSE"]


def _answer(dev: Dev, command: str, *arguments: str) -> CommandResult:
    return dev.commands.run(command, "dev", "--local", "--json", *arguments)


def test_after_the_smoke_test_the_rollout_waits_until_somebody_continues_it(dev: Dev) -> None:
    two = dev.version("2.0.0")

    with paused(dev, two, "--pause-at", _AFTER_TEST) as release:
        assert "the new version answers" in release.told
        assert "`continue dev` goes on" in release.seen[-1]
        deployment = dev.status()["service_deployment"]
        assert (deployment["stage"], deployment["production"], deployment["test"]) == (
            "POST_TEST_TRAFFIC_SHIFT",
            0.0,
            100.0,
        )
        assert [each["then"] for each in deployment["waits"]] == ["ROLLBACK"]
        assert dev.answers()["version"] == "1.0.0"
        assert _pauses(dev) == [["POST_TEST_TRAFFIC_SHIFT"]]

        answer = _answer(dev, "continue")
        done = release.end()

    assert (answer.status, answer.document["outcome"]) == (0, "continued"), answer.stderr
    assert done.status == 0, done.stderr
    assert dev.answers()["version"] == "2.0.0"
    begun, ended = dev.records()[-1]
    assert begun["pause_at"] == ["POST_TEST_TRAFFIC_SHIFT"]
    assert (ended["outcome"], ended["is_verified"]) == ("released", True)
    assert _pauses(dev) == []


def test_without_a_rollout_under_way_continue_is_refused(dev: Dev) -> None:
    dev.rest()
    before = len(dev.records())

    for command in ("continue", "abort"):
        done = _answer(dev, command)
        assert (done.status, done.document["error"]["type"]) == (3, "NothingToAnswerError"), done.stderr

    assert len(dev.records()) == before


def test_an_abort_at_a_pause_keeps_the_old_version(dev: Dev) -> None:
    before = dev.answers()["version"]

    with paused(dev, dev.version("3.0.0"), "--pause-at", _BEFORE_PRODUCTION) as release:
        answer = _answer(dev, "abort")
        done = release.end()

    assert (answer.status, answer.document["outcome"]) == (0, "rolled back"), answer.stderr
    assert (done.status, done.document["outcome"]) == (6, "rolled back"), done.stderr
    assert "rolled back by a user" in done.document["cause"]
    assert dev.answers()["version"] == before
    assert _pauses(dev) == []
    assert {begun["command"] for begun, _ in dev.records()[-2:]} == {"abort", "release"}


def test_continue_adopts_the_rollout_of_a_dead_command(dev: Dev) -> None:
    four = dev.version("4.0.0")
    with paused(dev, four, "--pause-at", _AFTER_TEST) as release:
        left = release.interrupt()
    assert left.status == 130, left.stderr

    # Adopting it without naming a pause does not remove its pause.
    again = run_interrupted(
        dev.commands, "release", "dev", "--local", "--yes", "--image", four, at="`continue dev` goes on"
    )
    assert again.status == 130, again.stderr

    done = _answer(dev, "continue")

    assert (done.status, done.document["outcome"]) == (0, "released"), done.stderr
    assert dev.answers()["version"] == "4.0.0"
    begun, ended = dev.records()[-1]
    assert (begun["command"], begun["digest"], ended["is_verified"]) == ("continue", four, True)
    assert _pauses(dev) == []


def test_a_bad_version_fails_its_smoke_test_before_anybody_is_asked(dev: Dev) -> None:
    before = dev.answers()["version"]
    bad = dev.version("5.0.0-bad", MCLASS_FAULT_ERROR_RATE="1")

    with paused(dev, bad, "--pause-at", _AFTER_TEST) as release:
        done = release.end()

    assert done.status == 6, done.stderr
    assert "`continue dev" not in done.stderr
    assert "smoke test" in done.document["cause"]
    assert dev.answers()["version"] == before


def test_a_pause_that_nobody_answers_in_time_is_rolled_back(dev: Dev) -> None:
    before = dev.answers()["version"]
    pauses = ("--pause-at", "post-scale-up", "--pause-at", _BEFORE_PRODUCTION)

    with paused(dev, dev.version("3.0.0"), *pauses) as release:
        # The tasks are healthy by now: from here on the hour of a pause takes 30 s.
        dev.commands.ok("local", "up", "--speed", "120")
        try:
            assert _answer(dev, "continue").status == 0
            done = release.end()
        finally:
            dev.commands.ok("local", "up", "--speed", "10")

    assert (done.status, done.document["outcome"]) == (6, "rolled back"), done.stderr
    assert "paused at pre production traffic shift" in done.stderr
    assert "nobody answered a pause in time" in done.document["cause"]
    assert dev.answers()["version"] == before


def test_a_stage_at_which_ecs_cannot_wait_is_refused(dev: Dev) -> None:
    done = dev.commands.run("release", "dev", "--local", "--yes", "--json", "--pause-at", "bake-time")

    assert done.status == 2
    assert "post-production-traffic-shift" in done.document["error"]["message"]


def test_a_function_that_says_no_takes_the_rollout_back_and_one_that_says_yes_does_not(dev: Dev) -> None:
    before = dev.answers()["version"]
    six = dev.version("6.0.0")
    function, role = _function(dev, "SUCCEEDED"), _role(dev)
    text = _settings(dev.commands.project).read_text(encoding="utf-8")
    hooks = (
        f'\n[[release.hooks]]\nfunction_arn = "{function}"\nrole_arn = "{role}"\nstages = ["POST_SCALE_UP"]\n'
    )
    _settings(dev.commands.project).write_text(text + hooks, encoding="utf-8")
    try:
        _answers(dev, "FAILED")
        dev.rest()
        done = dev.release(six)

        assert done.status == 6, done.stderr
        assert "the Lambda hook mclass-hook failed" in done.document["cause"]
        assert dev.answers()["version"] == before

        _answers(dev, "SUCCEEDED")
        dev.released(six)

        assert dev.answers()["version"] == "6.0.0"
        (hook,) = _hooks(dev)
        assert hook["hookTargetArn"] == function
    finally:
        _settings(dev.commands.project).write_text(text, encoding="utf-8")

    dev.released(dev.version("2.0.0"))

    assert _hooks(dev) == []


def _code(answer: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        source = f"def handler(event, context):\n    print(event)\n    return {{'hookStatus': {answer!r}}}\n"
        file.writestr("hook.py", source)
    return archive.getvalue()


def _function(dev: Dev, answer: str) -> str:
    made = dev.client("lambda").create_function(
        FunctionName="mclass-hook",
        Runtime="python3.12",
        Role=_role(dev),
        Handler="hook.handler",
        Code={"ZipFile": _code(answer)},
    )
    return str(made["FunctionArn"])


def _answers(dev: Dev, answer: str) -> None:
    dev.client("lambda").update_function_code(FunctionName="mclass-hook", ZipFile=_code(answer))


def _role(dev: Dev) -> str:
    """Return a role with which ECS may invoke functions, and functions may run."""
    iam, name = dev.client("iam"), "mclass-hooks"
    trusted = {"Service": ["ecs.amazonaws.com", "lambda.amazonaws.com"]}
    try:
        return str(iam.get_role(RoleName=name)["Role"]["Arn"])
    except iam.exceptions.NoSuchEntityException:
        made = iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=_policy(Principal=trusted, Action="sts:AssumeRole")
        )
    allowed = _policy(Action="lambda:InvokeFunction", Resource="*")
    iam.put_role_policy(RoleName=name, PolicyName="invoke", PolicyDocument=allowed)
    return str(made["Role"]["Arn"])


def _policy(**statement: Any) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", **statement}]})
