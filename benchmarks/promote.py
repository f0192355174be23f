"""Duration of `promote` beyond ECS's own time, compared with the steps of a release by hand."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import boto3

from benchmarks import machine
from benchmarks.command import CommandFailedError, Took, run, typical
from benchmarks.figure import Figure, Result
from benchmarks.stage import PROJECT, Stage, local_aws
from tests.commands import CommandLine
from tests.flows.released import Dev

SECONDS = 10.0
LIMIT = 1.0
_CLUSTER, _SERVICE, _FAMILY = "mclass-cluster", "mclass-service", "mclass-task"
_FINDINGS = (0, 1)  # by hand Checkov has no waivers: it exits with 1 although the gate passes
_PATIENCE = 300.0
_PAUSE = 0.2
_SPEED = "10"  # of the local AWS's clock: ECS's waits are subtracted anyway


@dataclass(frozen=True, kw_only=True)
class Hand:
    """The manual steps, in a shell set up by `local env prod`, in the folders that `promote` has initialised."""

    env: Mapping[str, str]
    folder: Path

    @classmethod
    def of(cls, stage: Stage, *, digest: str) -> Hand:
        folder = stage.folder / "hand"
        folder.mkdir()
        # A saved plan contains its variables. Once a day Checkov asks PyPI for updates: keep that out of both measurements.
        env = {key: value for key, value in stage.shell("prod").items() if key != "TF_CLI_ARGS_apply"}
        own = {
            "CKV_SKIP_PACKAGE_UPDATE_CHECK": "true",
            "TF_DATA_DIR": str(stage.folder / "home" / "work" / "local" / "prod" / "data"),
            "TF_VAR_image_digest": digest,
        }
        return cls(env=env | own, folder=folder)

    def release(self) -> dict[str, Took]:
        """Run every step except waiting. The image is already in the repository."""
        plan, document = self.folder / "plan.tfplan", self.folder / "plan.json"
        terraform, bin_ = PROJECT / "terraform", Path(sys.executable).parent

        def typed(*argv: str, into: Path | None = None, is_scan: bool = False) -> Took:
            folder = PROJECT if is_scan else terraform
            allowed = _FINDINGS if is_scan else (0,)
            return run(argv, folder=folder, env=self.env, into=into, allowed=allowed).took

        scan = (str(bin_ / "checkov"), "--config-file", "policy/checkov.yaml", "-f", str(document))
        update = (
            *(str(bin_ / "aws"), "ecs", "update-service", "--cluster", _CLUSTER, "--service", _SERVICE),
            *("--task-definition", _FAMILY),
        )
        return {
            "terraform plan": typed("terraform", "plan", f"-out={plan}"),
            "terraform show": typed("terraform", "show", "-json", str(plan), into=document),
            "checkov -f": typed(*scan, is_scan=True),
            "terraform apply": typed("terraform", "apply", str(plan)),
            "aws ecs update-service": typed(*update),
        }


@dataclass(frozen=True, kw_only=True)
class Promotion:
    """A promotion: seconds of the whole command, and before, during and after the service deployment."""

    took: Took
    before: float
    ecs: float
    after: float

    @property
    def overhead(self) -> float:
        return self.took.wall - self.ecs


def measure(rounds: int) -> Result:
    with local_aws("--speed", _SPEED) as made:
        hand = Hand.of(made, digest=_prepare(made))
        ecs = _ecs(made)
        promotions: list[Promotion] = []
        typed: list[dict[str, Took]] = []
        for _ in range(rounds):
            typed.append(hand.release())
            _rest(ecs)
            promotions.append(_promote(made, ecs))
    loads = machine.load()
    floors = [sum(took.wall for took in turn.values()) for turn in typed]
    ratios = [mine.overhead / floor for mine, floor in zip(promotions, floors, strict=True)]
    steps = ", ".join(f"{step} {typical([turn[step] for turn in typed]).wall:.1f}" for step in typed[0])
    cpu = median(each.took.cpu for each in promotions)
    hand_cpu = median(sum(took.cpu for took in turn.values()) for turn in typed)
    return Result(
        benchmark="promote",
        figures=(
            Figure(
                name="`promote`, beyond ECS's own time / plan, show, one scan, apply, update-service",
                value=median(ratios),
                unit="",
                limit=LIMIT,
                note=f"rounds {min(ratios):.2f} to {max(ratios):.2f}; processor time {cpu:.1f} s / {hand_cpu:.1f} s",
            ),
            Figure(
                name="`promote`, beyond ECS's own time",
                value=median(each.overhead for each in promotions),
                unit="s",
                limit=SECONDS,
                note=f"{median(each.before for each in promotions):.1f} s until UpdateService, "
                f"{median(each.after for each in promotions):.1f} s after its end; at a load of {loads}",
            ),
            Figure(name="floor: those steps by hand", value=median(floors), unit="s", note=steps),
        ),
        runs={
            "promote": [each.took for each in promotions],
            "promote, beyond ECS": [each.overhead for each in promotions],
            **{step: [turn[step] for turn in typed] for step in typed[0]},
        },
    )


def _prepare(made: Stage) -> str:
    """Prepare both environments for a routine promotion; return the image to release by hand."""
    made.mclass_tf("plan", "--all", "--local")
    made.mclass_tf("apply", "--all", "--local", "--yes")
    dev = Dev(CommandLine(project=PROJECT, home=made.folder / "home"))
    dev.released(dev.version("ours"))
    by_hand = dev.version("hand")
    made.mclass_tf("push", "prod", "--local", "--image", by_hand)
    made.mclass_tf("promote", "dev", "prod", "--local", "--yes")
    return by_hand


def _promote(made: Stage, ecs: Any) -> Promotion:
    began = time.time()
    done = made.mclass_tf("promote", "dev", "prod", "--local", "--yes", "--json")
    ended = time.time()
    document = json.loads(done.stdout)
    if document["outcome"] != "released":
        raise CommandFailedError(f"the promotion ended with {document['outcome']!r}")
    arns = [document["service_deployment"]]
    (deployment,) = ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"]
    created, finished = (deployment[at].timestamp() for at in ("createdAt", "finishedAt"))
    return Promotion(took=done.took, before=created - began, ecs=finished - created, after=ended - finished)


def _ecs(made: Stage) -> Any:
    env = made.shell("prod")
    make: Any = boto3.client
    return make(
        "ecs",
        endpoint_url=env["AWS_ENDPOINT_URL"],
        region_name=env["AWS_REGION"],
        aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        aws_session_token=env["AWS_SESSION_TOKEN"],
    )


def _rest(ecs: Any) -> None:
    """Wait until the service deployment has ended."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        primary = ecs.describe_services(cluster=_CLUSTER, services=[_SERVICE])["services"][0]["deployments"]
        if [each["rolloutState"] for each in primary] == ["COMPLETED"]:
            return
        time.sleep(_PAUSE)
    raise CommandFailedError(f"the deployment by hand was not over within {_PATIENCE:g} s")
