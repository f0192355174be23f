"""Clients of others during a blue/green deployment: AWS CLI 1 and 2, the newest boto3, the JavaScript SDK, ecs-deploy.

`nox -s foreign` installs them. Where one is absent, its test is skipped, and says so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import local
from tests.local import rollouts
from tests.local.conftest import account_of
from tests.local.rollouts import Rollouts

pytestmark = pytest.mark.slow

_STAGE = "POST_TEST_TRAFFIC_SHIFT"
_PAUSE = {"targetType": "PAUSE", "lifecycleStages": [_STAGE]}
_SECONDS = 120
_NODE = """
import { ECSClient, DescribeServiceDeploymentsCommand, ListServiceDeploymentsCommand } from "@aws-sdk/client-ecs";
const ecs = new ECSClient({ endpoint: process.env.AWS_ENDPOINT_URL });
const listed = await ecs.send(new ListServiceDeploymentsCommand({ cluster: "c", service: "s", status: ["IN_PROGRESS"] }));
const arns = listed.serviceDeployments.map((entry) => entry.serviceDeploymentArn);
const found = await ecs.send(new DescribeServiceDeploymentsCommand({ serviceDeploymentArns: arns }));
console.log(JSON.stringify(found.serviceDeployments.map((entry) => entry.lifecycleStage)));
"""
_BOTO3 = """
import json, boto3
ecs, cloudwatch = boto3.client("ecs"), boto3.client("cloudwatch")
listed = ecs.list_service_deployments(cluster="c", service="s", status=["IN_PROGRESS"])["serviceDeployments"]
arns = [entry["serviceDeploymentArn"] for entry in listed]
found = ecs.describe_service_deployments(serviceDeploymentArns=arns)["serviceDeployments"]
data = [{"MetricName": f"metric{number:04}", "Value": 1.0, "Unit": "Count"} for number in range(400)]
cloudwatch.put_metric_data(Namespace="many", MetricData=data)
pages = cloudwatch.get_paginator("list_metrics").paginate(Namespace="many")
print(json.dumps([[entry["lifecycleStage"] for entry in found], sum(len(page["Metrics"]) for page in pages)]))
"""


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The folder with the programs, and the environment variables for them."""

    programs: Path
    env: dict[str, str]

    def run(self, *command: str, cwd: Path | None = None) -> str:
        """Return what the program prints. It must succeed."""
        done = subprocess.run(
            command, env=self.env, cwd=cwd, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def of_others(self, name: str) -> str:
        """Return the path of a program that the environment of `nox -s foreign` contains."""
        return str(self.programs / name)


@pytest.fixture(scope="module")
def programs() -> Path:
    folder = os.environ.get("MCLASS_TF_FOREIGN")
    if folder is None:
        pytest.skip("MCLASS_TF_FOREIGN names no folder with clients of others: run `nox -s foreign`")
    return Path(folder)


@pytest.fixture(scope="module")
def release(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rollouts]:
    """Yield a service with a blue/green deployment that waits for an answer; it must succeed afterwards."""
    home = tmp_path_factory.mktemp("foreign-clients")
    server = local.up(home=home, port=0, speed=rollouts.SPEED)
    try:
        running = rollouts.make(account_of(server, "333333333333"), strategy={"strategy": "BLUE_GREEN"})
        running.wait_for_status("SUCCESSFUL")
        running.update(deploymentConfiguration={"strategy": "BLUE_GREEN", "lifecycleHooks": [_PAUSE]})
        running.update(taskDefinition=running.register("2"))
        running.wait(lambda: running.described["lifecycleStage"] == _STAGE)
        yield running
        running.answer(_STAGE, "CONTINUE")
        running.wait_for_status("SUCCESSFUL")
        assert running.version() == "2"
    finally:
        local.down(home=home)


@pytest.fixture
def clients(release: Rollouts, programs: Path) -> Clients:
    return Clients(programs=programs, env=release.account.environment())


def _is_seen_by(clients: Clients, aws: str) -> None:
    """The commands that show a release, and large or unusual requests."""

    def ask(*arguments: str) -> Any:
        return json.loads(clients.run(aws, *arguments, "--output", "json") or "null")

    listed = ask(
        "ecs", "list-service-deployments", "--cluster", "c", "--service", "s", "--status", "IN_PROGRESS"
    )
    arns = [entry["serviceDeploymentArn"] for entry in listed["serviceDeployments"]]
    found = ask("ecs", "describe-service-deployments", "--service-deployment-arns", *arns)
    assert [entry["lifecycleStage"] for entry in found["serviceDeployments"]] == [_STAGE]
    service = ask("ecs", "describe-services", "--cluster", "c", "--services", "s")["services"][0]
    assert service["status"] == "ACTIVE"
    assert ask("elbv2", "describe-target-groups")["TargetGroups"]
    assert ask("logs", "filter-log-events", "--log-group-name", "/ecs/mclass-task")["events"]
    data = [{"MetricName": f"metric{number:04}", "Value": 1.0} for number in range(400)]
    clients.run(aws, "cloudwatch", "put-metric-data", "--namespace", "cli", "--metric-data", json.dumps(data))
    assert len(ask("cloudwatch", "list-metrics", "--namespace", "cli")["Metrics"]) == 400


def test_aws_cli_1_shows_the_release(clients: Clients) -> None:
    _is_seen_by(clients, clients.of_others("aws"))


def test_aws_cli_2_shows_the_release(clients: Clients) -> None:
    found = [path for path in os.get_exec_path() if (Path(path) / "aws").is_file()]
    for folder in found:
        aws = str(Path(folder) / "aws")
        version = subprocess.run([aws, "--version"], capture_output=True, text=True, check=False).stdout
        if version.startswith("aws-cli/2"):
            _is_seen_by(clients, aws)
            return
    pytest.skip("no AWS CLI 2 is on PATH")


def test_the_newest_boto3_shows_the_release_and_stores_many_metrics(clients: Clients) -> None:
    stages, metrics = json.loads(clients.run(clients.of_others("python"), "-c", _BOTO3))
    assert (stages, metrics) == ([_STAGE], 400)


def test_the_javascript_sdk_shows_the_release(clients: Clients, tmp_path: Path) -> None:
    modules = clients.programs.parent / "javascript" / "node_modules"
    node = shutil.which("node")
    if node is None or not (modules / "@aws-sdk" / "client-ecs").is_dir():
        pytest.skip("node or @aws-sdk/client-ecs is absent")
    (tmp_path / "node_modules").symlink_to(modules)
    (tmp_path / "show.mjs").write_text(_NODE)
    assert json.loads(clients.run(node, "show.mjs", cwd=tmp_path)) == [_STAGE]


def test_ecs_deploy_runs_a_task_beside_the_release(clients: Clients, release: Rollouts) -> None:
    network = release.service["networkConfiguration"]["awsvpcConfiguration"]
    clients.run(
        *(clients.of_others("ecs"), "run", "c", "t", "--launchtype", "FARGATE"),
        *(part for subnet in network["subnets"] for part in ("--subnet", subnet)),
        *(part for group in network["securityGroups"] for part in ("--securitygroup", group)),
        "--public-ip",
    )
    listed = release.client("ecs").list_tasks(cluster="c", startedBy="ECS Deploy")["taskArns"]
    assert len(listed) == 1
