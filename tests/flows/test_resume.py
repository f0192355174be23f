"""Releases killed at each step: the service serves throughout, the record names the step, and `--resume` finishes them."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.callers import ask
from tests.commands import CommandResult
from tests.flows.killed import asking, folders, killed, releasing, steps, until, waits
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.snapshots import SHIFTING, Snapshots, copied_project
from tests.time_limits import seconds_left

pytestmark = pytest.mark.slow

_RELEASE = """
[release]
strategy = "canary"
canary_percent = 20
canary_bake_minutes = 2
bake_minutes = 2
smoke = ["/version"]
before = ["python -c pass"]
"""
_STATE_LOCK = "mclass/terraform.tfstate.tflock"


@pytest.fixture
def dev(snapshots: Snapshots, tmp_path: Path) -> Iterator[Dev]:
    """Dev in a copy of this project, released by canaries; one for each test."""
    project = copied_project(tmp_path / "project", _RELEASE)
    with snapshots.started(SHIFTING, home=tmp_path / "home", project=project, speed=20) as commands:
        yield Dev(commands, snapshots.versions())


def other(dev: Dev) -> tuple[str, str]:
    """Return a version that does not serve, and its digest."""
    dev.rest()
    name = "2.0.0" if dev.status()["digest"] == dev.version("1.0.0") else "1.0.0"
    return name, dev.version(name)


def resume(dev: Dev) -> CommandResult:
    return dev.commands.run("release", "dev", "--local", "--resume", "--yes", "--json")


def trouble(
    dev: Dev,
    *,
    seconds: float,
    service: str = "ecs",
    code: str = "ThrottlingException",
    status: int = 400,
) -> None:
    """Make an AWS service fail for some time."""
    body = {"service": service, "seconds": seconds, "code": code, "status": status}
    ask(dev.commands.local_aws(), "troubles", body)


def goes_on(dev: Dev) -> None:
    """Continue somebody else's deployment, which inherited the release's pause."""
    until(lambda: waits(dev), "it waits")
    dev.commands.ok("continue", "dev", "--local")
    dev.rest()


def is_released_after(dev: Dev, done: CommandResult, name: str, digest: str, *, cut_off_at: str) -> None:
    """Check that the cut-off release is complete, in history, status and service."""
    assert done.status == 0, done.stderr
    assert (done.document["outcome"], done.document["digest"]) == ("released", digest)
    assert dev.answers()["version"] == name
    assert dev.status()["attempt"] is None
    latest, before = dev.history()[:2]
    assert (latest["outcome"], latest["verified"], latest["resumes"]) == ("released", True, before["record"])
    assert (before["outcome"], before["step"]) == ("cut off", cut_off_at)
    assert latest["record"] in before["cause"]


@pytest.mark.parametrize(
    "step", ["planning", "SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "verifying"]
)
def test_a_killed_release_serves_throughout_and_is_resumed(dev: Dev, step: str) -> None:
    name, digest = other(dev)

    with asking(dev) as answers:
        # A verification would be over before it is seen to have begun, so EC2 does not answer it.
        killed(dev, digest, at=step, on={"BAKE_TIME": lambda: trouble(dev, seconds=600, service="ec2")})
        trouble(dev, seconds=0, service="ec2")
        cut_off = dev.status()["attempt"]
        done = resume(dev)

    assert answers.failures == []
    assert answers.versions
    assert (cut_off["outcome"], cut_off["digest"]) == ("cut off", digest)
    is_released_after(dev, done, name, digest, cut_off_at=cut_off["step"])
    assert len(dev.records()[-1][1]["before"]) == 1
    assert "before the rollout" not in done.stderr or step == "planning", "it has run"
    if step in ("planning", "verifying"):  # Terraform's part was not begun, or is long over
        assert not dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"]


def test_a_release_that_is_killed_at_its_smoke_test_has_its_pause_answered(dev: Dev) -> None:
    name, digest = other(dev)

    with asking(dev) as answers:
        killed(dev, digest, at="SCALE_UP", then=lambda: waits(dev))
        meanwhile = dict(answers.versions)
        done = resume(dev)

    assert answers.failures == []
    assert name not in meanwhile, "production waits for the test"
    is_released_after(dev, done, name, digest, cut_off_at="SCALE_UP")
    assert dev.records()[-1][1]["smoke"] == [{"path": "/version", "problem": ""}]
    (service,) = dev.ecs("DescribeServices", cluster=CLUSTER, services=[SERVICE])["services"]
    assert not service["deploymentConfiguration"].get("lifecycleHooks"), "no pause is left behind"


def test_a_lock_left_by_a_killed_terraform_is_reported_and_after_unlock_the_release_resumes(
    dev: Dev,
) -> None:
    name, digest = other(dev)
    s3 = dev.client("s3")

    def is_locked() -> bool:
        found = s3.list_objects_v2(Bucket="mclass-tfstate-111111111111", Prefix=_STATE_LOCK)
        return bool(found.get("Contents"))

    with asking(dev) as answers:
        killed(dev, digest, at="applying", then=is_locked, is_stopped=False)  # Terraform is not begun yet
        for terraform in terraforms(dev.commands.home):  # it would go on to its end
            os.kill(terraform, signal.SIGKILL)
        until(lambda: not terraforms(dev.commands.home), "the orphaned Terraform ends")
        locked = resume(dev)
        told = re.search(r"unlock dev ([0-9a-f-]+) --local", locked.stderr)
        assert told, locked.stderr
        dev.commands.ok("unlock", "dev", told[1], "--yes", "--local")
        done = resume(dev)

    assert answers.failures == []
    assert locked.status == 4
    assert "so was Terraform in the middle of its work" in locked.stderr
    assert done.status == 0, done.stderr
    assert dev.answers()["version"] == name
    outcomes = [each["outcome"] for each in dev.history()[:3]]
    assert outcomes == ["released", "failed", "cut off"]
    assert dev.history()[2]["step"] == "applying"


def terraforms(home: Path) -> list[int]:
    """Return the Terraform processes that work on a plan in `home`."""
    pids = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().decode(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
        if "apply" in words and any(str(home) in word for word in words):
            pids.append(int(file.parent.name))
    return pids


def test_a_rollback_by_ecs_meanwhile_is_reported_and_the_old_version_serves(dev: Dev) -> None:
    _, digest = other(dev)
    serving = dev.answers()["version"]

    with asking(dev) as answers:
        killed(dev, digest, at="SCALE_UP", then=lambda: waits(dev))
        arn = dev.deployments()[0]["serviceDeploymentArn"]
        dev.ecs("StopServiceDeployment", serviceDeploymentArn=arn, stopType="ROLLBACK")
        done = resume(dev)

    assert done.status == 6, done.stderr
    assert done.document["outcome"] == "rolled back"
    assert "the release to dev failed; ECS rolled it back" in done.stderr
    assert answers.failures == []
    assert set(answers.versions) == {serving}
    assert [each["outcome"] for each in dev.history()[:2]] == ["rolled back", "cut off"]


def test_somebody_elses_later_deployment_is_left_alone_and_reported(dev: Dev) -> None:
    _, digest = other(dev)
    theirs = dev.service()["taskDefinition"]
    killed(dev, digest, at="BAKE_TIME")
    dev.point_at(theirs)

    done = resume(dev)

    assert done.status == 6, done.stderr
    assert done.document["outcome"] == "superseded"
    assert theirs.rsplit("/", 1)[-1] in done.stderr
    assert "continue dev --local" in done.stderr
    assert [each["outcome"] for each in dev.history()[:2]] == ["superseded", "cut off"]
    goes_on(dev)
    assert dev.service()["taskDefinition"] == theirs


def test_a_rollback_undoes_a_dead_release_and_leaves_nothing_to_resume(
    dev: Dev,
) -> None:
    _, digest = other(dev)
    serving = dev.answers()["version"]

    with asking(dev) as answers:
        killed(dev, digest, at="PRODUCTION_TRAFFIC_SHIFT")
        back = dev.rollback()

    assert back.status == 0, back.stderr
    assert answers.failures == []
    assert dev.answers()["version"] == serving
    assert [each["outcome"] for each in dev.history()[:2]] == ["rolled back", "cut off"]
    none = resume(dev)
    assert none.status == 3
    assert "no attempt was cut off in dev" in none.stderr


def test_temporary_throttling_of_ecs_and_s3_during_a_rollout_is_retried(dev: Dev) -> None:
    name, digest = other(dev)

    with asking(dev) as answers, releasing(dev, digest) as running:
        until(lambda: "SCALE_UP" in steps(dev, running.folder), "the rollout", within=seconds_left())
        trouble(dev, seconds=20)
        alive = resume(dev)
        trouble(dev, service="s3", seconds=5, code="SlowDown", status=503)
        done = running.end()

    assert alive.status == 5, "its command still runs"
    assert "release" in alive.stderr
    assert done.status == 0, done.stderr
    assert "AWS does not answer, asking again" in done.stderr
    assert answers.failures == []
    assert dev.answers()["version"] == name


def test_ecs_that_fails_beyond_our_patience_ends_the_command_and_the_release_is_resumed(dev: Dev) -> None:
    name, digest = other(dev)

    with asking(dev) as answers, releasing(dev, digest) as running:
        until(lambda: "SCALE_UP" in steps(dev, running.folder), "the rollout", within=seconds_left())
        trouble(dev, seconds=600, code="ServerException", status=500)
        failed = running.end()
        trouble(dev, seconds=0)
        recorded = dev.history()[0]
        done = resume(dev)

    assert failed.status == 6, failed.stderr
    assert "AWS has not answered for 30 s" in failed.stderr
    assert (recorded["outcome"], recorded["cause"]) == ("failed", "AWS did not answer")
    assert done.status == 0, done.stderr
    assert answers.failures == []
    assert dev.answers()["version"] == name
    assert dev.history()[0]["resumes"] == recorded["record"]


def test_what_another_deployer_does_in_mid_rollout_ends_the_release_as_superseded(dev: Dev) -> None:
    _, digest = other(dev)
    theirs = dev.service()["taskDefinition"]

    with asking(dev) as answers, releasing(dev, digest) as running:
        until(
            lambda: "PRODUCTION_TRAFFIC_SHIFT" in steps(dev, running.folder),
            "the shift",
            within=seconds_left(),
        )
        dev.client("ecs").update_service(cluster=CLUSTER, service=SERVICE, taskDefinition=theirs)
        done = running.end()

    assert done.status == 6, done.stderr
    assert "somebody else's deployment has taken the place" in done.stderr
    assert answers.failures == []
    assert dev.history()[0]["outcome"] == "superseded"
    goes_on(dev)
    assert dev.service()["taskDefinition"] == theirs


def test_a_release_that_is_not_approved_changes_nothing_and_is_recorded_as_refused(dev: Dev) -> None:
    _, digest = other(dev)
    before = dev.service()["taskDefinition"]
    ours, theirs = pty.openpty()
    os.write(ours, b"n\n")

    done = subprocess.run(
        dev.commands.argv("release", "dev", "--local", "--json", "--image", digest),
        env=dev.commands.variables(),
        stdin=theirs,
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds_left(),
    )
    os.close(ours)
    os.close(theirs)

    assert done.returncode == 5, done.stderr
    assert "dev was left as it is" in done.stderr
    assert dev.service()["taskDefinition"] == before
    assert dev.history()[0]["outcome"] == "refused"
    assert dev.status()["attempt"] is None


def test_an_environment_without_an_open_attempt_has_nothing_to_resume(dev: Dev) -> None:
    before = folders(dev)
    assert before

    done = resume(dev)

    assert done.status == 3
    assert "no attempt was cut off in dev" in done.stderr
    assert folders(dev) == before
