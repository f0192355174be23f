"""Releases and rollbacks of real tasks behind a real load balancer, in one dev environment shared by this file's tests."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from mclass_tf import image
from mclass_tf.image.layout import Descriptor
from tests.commands import CommandResult, run_interrupted
from tests.flows.killed import until
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.snapshots import RELEASED, Snapshots

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("release")]

ABSENT = "sha256:" + "e" * 64


@pytest.fixture(scope="module")
def dev(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """dev, applied, at ten times the speed of AWS."""
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("release")) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.fixture
def one(dev: Dev) -> str:
    return dev.version("1.0.0")


@pytest.fixture
def two(dev: Dev) -> str:
    return dev.version("2.0.0")


@pytest.fixture
def crashing(dev: Dev) -> str:
    return dev.version("3.0.0-crashing", MCLASS_FAULT_CRASH_AFTER_SECONDS="0")


@contextmanager
def releasing(dev: Dev, digest: str, *, at: str = "has started") -> Iterator[subprocess.Popen[str]]:
    """Start a release in its own process; enter when its progress contains `at`."""
    argv = dev.commands.argv("release", "dev", "--local", "--yes", "--image", digest)
    with subprocess.Popen(
        argv,
        env=dev.commands.variables(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stderr is not None
            assert any(at in line for line in running.stderr)
            yield running
        finally:
            running.kill()


def ended(running: subprocess.Popen[str]) -> CommandResult:
    stdout, stderr = running.communicate(timeout=120)
    return CommandResult(running.returncode, stdout, stderr)


def test_a_first_release_raises_the_service_and_its_scaling_and_is_recorded(dev: Dev, one: str) -> None:
    dev.empty()

    done = dev.release(one)

    assert done.status == 0, done.stderr
    document = done.document
    assert (document["digest"], document["outcome"], document["cause"]) == (one, "released", "")
    assert any("steady state" in event["message"] for event in document["events"])
    assert document["verification"]["failed"] == 0
    assert dev.service()["desiredCount"] >= 1
    target = dev.client("application-autoscaling").describe_scalable_targets(ServiceNamespace="ecs")
    assert target["ScalableTargets"][0]["MinCapacity"] == 1
    assert dev.answers()["version"] == "1.0.0"
    status = dev.status()
    assert status["digest"] == one
    assert status["targets"].get("healthy", 0) >= 1
    begun, end = dev.records()[-1]
    assert (begun["command"], begun["digest"], begun["environment"]) == ("release", one, "dev")
    assert begun["who"].startswith("arn:aws:sts::111111111111:")
    assert (end["outcome"], end["is_verified"]) == ("released", True)
    assert end["task_definition_arn"] == document["task_definition"]
    (planned,) = [step["details"] for step in end["steps"] if step["what"] == "planned"]
    assert planned["gates"][0]["passed"]
    assert planned["plan_sha256"]
    assert not dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"]


def test_the_same_release_again_says_so_and_changes_nothing(dev: Dev, one: str) -> None:
    dev.serves(one)
    before = dev.deployments()

    done = dev.release(one)

    assert done.status == 0
    assert done.document["outcome"] == "unchanged"
    assert dev.deployments() == before


def test_a_first_release_that_fails_leaves_the_service_at_0_and_says_so(dev: Dev, crashing: str) -> None:
    dev.empty()

    done = dev.release(crashing)

    assert done.status == 6, done.stderr
    assert done.document["outcome"] == "rolled back"
    assert "the service is back at 0 tasks" in done.stderr
    dev.rest()
    assert (dev.service()["desiredCount"], dev.service()["runningCount"]) == (0, 0)
    assert dev.status()["digest"] is None


def test_a_version_that_crashes_is_rolled_back_with_its_cause_while_the_old_one_serves(
    dev: Dev, one: str, crashing: str
) -> None:
    old = dev.runs(one)

    done = dev.release(crashing)

    assert done.status == 6
    document = done.document
    assert (document["digest"], document["outcome"]) == (crashing, "rolled back")
    assert "the container mclass-server exited with 1" in document["cause"]
    assert document["error"]["exit_code"] == 6
    assert "aws logs tail" in document["error"]["hint"]
    assert dev.service()["taskDefinition"] == old
    assert dev.answers()["version"] == "1.0.0"
    _, end = dev.records()[-1]
    assert (end["outcome"], end["is_verified"]) == ("rolled back", False)
    assert end["cause"] == document["cause"]


def test_an_image_that_was_not_pushed_is_refused_before_anything_is_done(dev: Dev) -> None:
    before = dev.records()

    done = dev.release(ABSENT)

    assert done.status == 3
    assert f"push dev --image {ABSENT} --local" in done.stderr
    assert dev.records() == before


def test_a_rollback_returns_to_the_release_before_and_twice_to_the_one_before_that(
    dev: Dev, one: str, two: str
) -> None:
    first = dev.released(dev.version("0.9.0"))
    second = dev.released(one)
    dev.released(two)

    once = dev.rollback()
    again = dev.rollback()

    assert (once.status, again.status) == (0, 0), once.stderr + again.stderr
    assert (once.document["outcome"], once.document["task_definition"]) == ("rolled back", second)
    assert again.document["task_definition"] == first
    assert dev.answers()["version"] == "0.9.0"


def test_resources_recreated_after_a_rollback_have_the_proven_image(
    dev: Dev, one: str, crashing: str
) -> None:
    dev.released(one)
    assert dev.release(crashing).status == 6
    dev.rest()
    assert not dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"]
    env = dev.commands.shell_environment("dev")
    tainted = subprocess.run(
        ["terraform", "taint", "module.service.aws_ecs_task_definition.this"],
        cwd=dev.commands.project / "terraform",
        env=env,
        check=False,
        capture_output=True,
        text=True,
    )
    assert tainted.returncode == 0, tainted.stderr

    planned = dev.commands.ok("plan", "dev", "--local").stdout
    dev.commands.ok("apply", "dev", "--local")

    assert env["TF_VAR_image_digest"] == one
    assert f"Image: {one}, which was proven last" in planned
    assert f"the state names {crashing}, whose release ended with 'rolled back'" in planned
    assert dev.commands.ok("output", "dev", "image_digest", "--local").stdout == f"{one}\n"
    assert one in dev.commands.ok("render", "dev", "--local").stdout
    assert dev.status()["digest"] == one


def test_a_rollback_goes_to_what_is_named_by_image_or_task_definition(dev: Dev, one: str, two: str) -> None:
    dev.runs(one)
    dev.runs(two)

    by_image = dev.rollback("--to", one)
    assert by_image.status == 0, by_image.stderr
    assert dev.answers()["version"] == "1.0.0"

    same = dev.rollback("--to", dev.service()["taskDefinition"].rsplit("/", 1)[-1])
    assert same.status == 0, same.stderr
    assert same.document["outcome"] == "unchanged"


def test_a_rollback_to_what_cannot_run_is_refused_and_changes_nothing(dev: Dev, one: str) -> None:
    running = dev.runs(one)
    ecs = dev.client("ecs")
    described = dev.commands.ok("render", "dev", "--local", "--json").document
    gone = ecs.register_task_definition(**described)["taskDefinition"]["taskDefinitionArn"]
    ecs.deregister_task_definition(taskDefinition=gone)

    inactive = dev.rollback("--to", gone)
    without_image = dev.rollback("--to", "mclass-task:1")
    unproven = dev.rollback("--to", ABSENT)
    unknown = dev.rollback("--to", "mclass-task:999")

    assert [each.status for each in (inactive, without_image, unproven, unknown)] == [3, 3, 3, 3]
    assert "is INACTIVE" in inactive.stderr
    assert "cannot run again" in without_image.stderr
    assert "was proven in dev" in unproven.stderr
    assert dev.service()["taskDefinition"] == running


def test_a_rollback_in_mid_release_has_ecs_take_it_back_and_the_release_says_so(
    dev: Dev, one: str, two: str
) -> None:
    old = dev.runs(one)

    with releasing(dev, two) as running, ThreadPoolExecutor(1) as pool:
        # On a busy machine the rollout could be over before a command has begun: meanwhile it takes as long as on AWS.
        dev.commands.ok("local", "up", "--speed", "1")
        try:
            rollback = pool.submit(dev.rollback)
            until(lambda: dev.deployments()[0]["status"].startswith("ROLLBACK"), "ECS is told")
        finally:
            dev.commands.ok("local", "up", "--speed", "10")
        back, release = rollback.result(), ended(running)

    assert back.status == 0, back.stderr
    assert back.document["outcome"] == "rolled back"
    assert back.document["digest"] == one
    assert release.status == 6, release.stderr
    assert "the release to dev failed; ECS rolled it back" in release.stderr
    assert dev.service()["taskDefinition"] == old
    assert dev.answers()["version"] == "1.0.0"


def test_somebody_elses_deployment_is_not_interfered_with(dev: Dev, one: str, two: str) -> None:
    first = dev.runs(one)
    dev.runs(two)
    dev.point_at(first)

    done = dev.release(dev.version("0.9.0"))

    assert done.status == 5
    assert "under way in dev" in done.stderr
    assert "rollback dev --local" in done.stderr
    dev.rest()
    assert dev.service()["taskDefinition"] == first


def test_a_release_that_somebody_else_supersedes_says_who_took_its_place(
    dev: Dev, one: str, two: str
) -> None:
    first = dev.runs(one)

    with releasing(dev, two) as running:
        dev.point_at(first)
        done = ended(running)

    assert done.status == 6, done.stderr
    assert "somebody else's deployment has taken the place" in done.stderr
    assert first.rsplit("/", 1)[-1] in done.stderr
    dev.rest()


def test_an_interrupt_without_a_terminal_detaches_and_the_same_release_adopts_the_rollout(
    dev: Dev, one: str, two: str
) -> None:
    dev.runs(one)

    left = run_interrupted(
        dev.commands, "release", "dev", "--local", "--yes", "--image", two, at="has started"
    )
    taken_up = dev.release(two)

    assert left.status == 130, left.stderr
    assert "ECS goes on with the rollout in dev by itself" in left.stderr
    assert "rollback dev --local" in left.stderr
    assert taken_up.status == 0, taken_up.stderr
    assert dev.answers()["version"] == "2.0.0"
    started = [each for each in dev.deployments() if each["status"] == "SUCCESSFUL"]
    assert taken_up.document["service_deployment"] in (None, started[0]["serviceDeploymentArn"])


def at_a_terminal(
    dev: Dev, digest: str, answer: Callable[[int, subprocess.Popen[bytes]], object]
) -> tuple[int, str]:
    """Release at a terminal, interrupt the rollout, and answer the question; return exit code and output."""
    ours, theirs = pty.openpty()
    shown = bytearray()
    asked = interrupts = False
    with subprocess.Popen(
        dev.commands.argv("release", "dev", "--local", "--yes", "--image", digest),
        env=dev.commands.variables(),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    ) as running:
        os.close(theirs)
        limit = threading.Timer(180, running.kill)
        limit.start()
        try:
            while piece := _read(ours):
                shown += piece
                if not interrupts and b"has started" in shown:
                    interrupts = True
                    running.send_signal(signal.SIGINT)
                if not asked and b"Keep going (k)" in shown:
                    asked = True
                    answer(ours, running)
        finally:
            limit.cancel()
            os.close(ours)
    return running.returncode, shown.decode()


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # how Linux tells that the other end of a terminal was closed
        return b""


def test_after_an_interrupt_at_a_terminal_the_user_may_roll_back(dev: Dev, one: str, two: str) -> None:
    old = dev.runs(one)

    status, shown = at_a_terminal(dev, two, lambda terminal, _: os.write(terminal, b"r\n"))

    assert status == 6, shown
    assert "the release to dev failed; ECS rolled it back" in shown
    assert dev.service()["taskDefinition"] == old


def test_after_an_interrupt_at_a_terminal_the_user_may_keep_watching(dev: Dev, one: str, two: str) -> None:
    dev.runs(one)

    status, shown = at_a_terminal(dev, two, lambda terminal, _: os.write(terminal, b"what\nk\n"))

    assert status == 0, shown
    assert dev.answers()["version"] == "2.0.0"


def test_a_second_interrupt_detaches(dev: Dev, one: str, two: str) -> None:
    dev.runs(one)

    status, shown = at_a_terminal(dev, two, lambda _, running: running.send_signal(signal.SIGINT))

    assert status == 130, shown
    assert "ECS goes on" in shown
    dev.rest()
    assert dev.status()["digest"] == two


def test_a_release_that_serves_but_fails_a_check_ends_with_7_and_is_not_proven(
    dev: Dev, one: str, two: str
) -> None:
    dev.runs(one)
    logs = dev.client("logs")
    logs.delete_retention_policy(logGroupName="/ecs/mclass-task")
    try:
        # Terraform would mend it first: so by rollback, which runs none.
        done = dev.rollback("--to", "mclass-task:" + dev.service()["taskDefinition"].rsplit(":", 1)[-1])
    finally:
        logs.put_retention_policy(logGroupName="/ecs/mclass-task", retentionInDays=7)

    assert done.status == 7
    assert done.document["verification"]["failed"] == 1
    assert "the release is not proven" in done.stderr
    assert dev.records()[-1][1]["is_verified"] is False


def test_the_guides_commands_do_the_same_by_hand(dev: Dev, one: str, two: str, tmp_path: Any) -> None:
    dev.runs(one)
    env = dev.commands.shell_environment("dev")
    rendered = dev.commands.ok("render", "dev", "--local", "--image", two)
    (tmp_path / "task-definition.json").write_text(rendered.stdout)

    for command in (
        "aws ecs register-task-definition --cli-input-json file://task-definition.json",
        f"aws ecs update-service --cluster {CLUSTER} --service {SERVICE} --task-definition mclass-task",
        f"aws ecs wait services-stable --cluster {CLUSTER} --services {SERVICE}",
    ):
        done = subprocess.run(
            command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    assert dev.answers()["version"] == "2.0.0"
    assert dev.status()["digest"] == two


def test_a_question_without_a_terminal_is_refused(dev: Dev, one: str) -> None:
    done = dev.commands.run("release", "dev", "--local", "--image", one)

    assert done.status == 2
    assert "--yes" in done.stderr


def _built_for_arm(dev: Dev, digest: str) -> tuple[str, str]:
    """Push the image again as one for ARM64, and an index that names that one alone; return their digests."""
    registry = image.Registry(
        image.log_in(dev.aws), "mclass-server", environment="dev", report=lambda _: None
    )
    manifest = json.loads(registry.manifest(digest).data)
    config = json.loads(registry.read(Descriptor(media_type="", digest=manifest["config"]["digest"], size=0)))
    ecr = dev.client("ecr")
    data = json.dumps({**config, "architecture": "arm64", "os": "linux"}).encode()
    blob = Descriptor(media_type="", digest=f"sha256:{hashlib.sha256(data).hexdigest()}", size=len(data))
    file = dev.commands.home / "arm-config"
    file.write_bytes(data)
    registry.send(file, blob)
    part = {**manifest["config"], "digest": blob.digest, "size": blob.size}
    own = json.dumps({**manifest, "config": part})
    platform = {"os": "linux", "architecture": "arm64"}
    put = ecr.put_image(repositoryName="mclass-server", imageManifest=own, imageTag="arm")
    arm = str(put["image"]["imageId"]["imageDigest"])
    entry = {"mediaType": manifest["mediaType"], "digest": arm, "size": len(own), "platform": platform}
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [entry]}
    put = ecr.put_image(repositoryName="mclass-server", imageManifest=json.dumps(index), imageTag="arm-index")
    return arm, str(put["image"]["imageId"]["imageDigest"])


def test_an_image_for_another_processor_is_refused_before_anything_changes(dev: Dev, one: str) -> None:
    dev.serves(one)
    before = dev.service()["taskDefinition"], dev.deployments()

    for digest in _built_for_arm(dev, one):
        done = dev.release(digest)
        assert done.status == 3, done.stderr
        assert f"{digest} is built for linux/arm64; the tasks of dev run on X86_64" in done.stderr
        assert "build --architecture X86_64" in done.stderr
    assert (dev.service()["taskDefinition"], dev.deployments()) == before
