"""Releases and rollbacks by each strategy, with real tasks behind a real load balancer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.aws import Aws
from tests.commands import ROOT
from tests.flows.killed import asking
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.snapshots import RELEASED, SHIFTING, Snapshots, copied_project

pytestmark = pytest.mark.slow

_FILE = "environments/dev/environment.toml"
_SETTINGS = {
    "rolling": "",
    "blue-green": 'bake_minutes = 0\nsmoke = ["/version"]\n',
    "canary": 'canary_percent = 20\ncanary_bake_minutes = 0\nbake_minutes = 0\nsmoke = ["/version"]\n',
    "linear": 'step_percent = 50\nstep_bake_minutes = 0\nbake_minutes = 0\nsmoke = ["/version"]\n',
}


@pytest.fixture
def dev(request: pytest.FixtureRequest, snapshots: Snapshots, tmp_path: Path) -> Iterator[Dev]:
    """Dev in a copy of this project, with version 1.0.0 serving, or the snapshot `SHIFTING` if the test asks for it."""
    project = copied_project(tmp_path / "project")
    snapshot = getattr(request, "param", RELEASED)
    with snapshots.started(snapshot, home=tmp_path / "home", project=project) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.fixture
def aws(dev: Dev) -> Aws:
    return dev.aws


def _service(aws: Aws) -> Any:
    request = {"cluster": CLUSTER, "services": [SERVICE]}
    return aws.call_ecs("DescribeServices", request)["services"][0]


def _goes_by(dev: Dev, strategy: str) -> None:
    """Set the strategy of dev."""
    text = (ROOT / _FILE).read_text(encoding="utf-8")
    chosen = f'\n[release]\nstrategy = "{strategy}"\n{_SETTINGS[strategy]}'
    (dev.commands.project / _FILE).write_text(text + chosen, encoding="utf-8")


def _in_use(dev: Dev) -> str:
    """Return the target group of production traffic."""
    outputs = dev.commands.ok("output", "dev", "--local", "--json").document
    (rule,) = dev.client("elbv2").describe_rules(RuleArns=[outputs["production_listener_rule_arn"]])["Rules"]
    groups = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
    (found,) = [group["TargetGroupArn"] for group in groups if group["Weight"] > 0]
    return str(found)


def _strategies(dev: Dev, aws: Aws, count: int) -> list[str]:
    """Return ECS's strategies of the latest service deployments, oldest first."""
    arns = [each["serviceDeploymentArn"] for each in dev.deployments()[:count]]
    # boto3's model does not have them yet.
    answer = aws.call_ecs("DescribeServiceDeployments", {"serviceDeploymentArns": arns})
    found = {each["serviceDeploymentArn"]: each for each in answer["serviceDeployments"]}
    return [found[arn]["deploymentConfiguration"].get("strategy", "ROLLING") for arn in reversed(arns)]


def _has_changes(dev: Dev) -> bool:
    return bool(dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"])


def test_a_canary_follows_a_rolling_release_and_vice_versa_without_failed_requests(
    dev: Dev, aws: Aws
) -> None:
    first = _in_use(dev)
    assert "advancedConfiguration" not in _service(aws)["loadBalancers"][0]

    with asking(dev) as answers:
        _goes_by(dev, "canary")
        before = len(dev.deployments())
        dev.released(dev.version("2.0.0"))
        # ECS is to know of both target groups before the first deployment that shifts traffic.
        assert _strategies(dev, aws, len(dev.deployments()) - before) == ["ROLLING", "CANARY"]
        assert dev.answers()["version"] == "2.0.0"
        second = _in_use(dev)
        assert second != first

        _goes_by(dev, "rolling")  # while the other group is the one in use
        dev.released(dev.version("1.0.0"))
        assert (_strategies(dev, aws, 1), _in_use(dev)) == (["ROLLING"], second)
        assert dev.answers()["version"] == "1.0.0"
        _rolls_back(dev, to="2.0.0")
        assert (_strategies(dev, aws, 1), _in_use(dev)) == (["ROLLING"], second)

    assert not answers.failures
    assert set(answers.versions) == {"1.0.0", "2.0.0"}


@pytest.mark.parametrize("dev", [SHIFTING], indirect=True, ids=["shifting"])
@pytest.mark.parametrize(
    ("strategy", "name"), [("linear", "LINEAR"), ("canary", "CANARY"), ("blue-green", "BLUE_GREEN")]
)
def test_a_strategy_follows_a_blue_green_release_and_rolls_back_without_failed_requests(
    dev: Dev, aws: Aws, strategy: str, name: str
) -> None:
    before = _in_use(dev)

    with asking(dev) as answers:
        _goes_by(dev, strategy)
        dev.released(dev.version("1.0.0"))
        assert _strategies(dev, aws, 1) == [name]
        assert _in_use(dev) != before
        assert dev.answers()["version"] == "1.0.0"
        _rolls_back(dev, to="2.0.0")
        assert _in_use(dev) == before

    assert not answers.failures
    assert set(answers.versions) == {"1.0.0", "2.0.0"}


def _rolls_back(dev: Dev, *, to: str) -> None:
    """Roll back to the previous release, and check that the plan is empty."""
    done = dev.rollback()
    assert done.status == 0, done.stderr
    assert dev.answers()["version"] == to
    assert not _has_changes(dev)


@pytest.mark.parametrize("dev", [SHIFTING], indirect=True, ids=["shifting"])
def test_a_new_version_that_could_not_be_tested_from_here_is_refused_before_anything_changes(
    dev: Dev,
) -> None:
    _goes_by(dev, "blue-green")
    header = dev.commands.ok("output", "dev", "--local", "--json").document["test_header"]
    before, serving = len(dev.deployments()), dev.answers()["version"]
    # As from within a company's network: the load balancer faces the internet.
    dev.commands.ok("local", "up", "--client-address", "10.99.0.7")

    refused = dev.release(dev.version("1.0.0" if serving == "2.0.0" else "2.0.0"))

    assert refused.status == 3, refused.stderr
    assert "does not answer this machine" in refused.stderr
    assert "alb.ingress_cidr_blocks" in refused.stderr
    assert header["value"] not in refused.stderr + refused.stdout
    assert len(dev.deployments()) == before
    dev.commands.ok("local", "up", "--client-address", "203.0.113.25")
    assert dev.answers()["version"] == serving


def test_blue_green_serves_after_its_smoke_test_and_a_bad_version_never_does(dev: Dev, aws: Aws) -> None:
    _goes_by(dev, "blue-green")
    bad = dev.version("3.0.0-bad", MCLASS_FAULT_ERROR_RATE="1")

    dev.released(dev.version("2.0.0"))

    begun, ended = dev.records()[-1]
    assert begun["strategy"] == "BLUE_GREEN"
    assert ended["smoke"] == [{"path": "/version", "problem": ""}]
    assert ended["is_verified"]
    assert dev.answers()["version"] == "2.0.0"
    assert not _service(aws)["deploymentConfiguration"].get("lifecycleHooks")

    done = dev.release(bad)

    assert done.status == 6, done.stderr
    assert done.document["outcome"] == "rolled back"
    assert "smoke test" in done.document["cause"]
    assert dev.records()[-1][1]["smoke"][0]["problem"]
    assert dev.answers()["version"] == "2.0.0"

    back = dev.rollback()

    assert back.status == 0, back.stderr
    assert dev.answers()["version"] == "1.0.0"
    assert not _has_changes(dev)


@pytest.mark.parametrize(
    ("dev", "strategy"),
    [(RELEASED, "rolling"), (SHIFTING, "blue-green")],
    indirect=["dev"],
    ids=["rolling", "blue-green"],
)
def test_the_container_gets_another_port_and_name_without_failed_requests(
    dev: Dev, aws: Aws, strategy: str
) -> None:
    """The runbook of docs/releasing.md: say both in terraform.tfvars, release, and roll back if need be."""
    old, new = ("1.0.0", "2.0.0") if strategy == "rolling" else ("2.0.0", "1.0.0")
    groups = dev.commands.ok("output", "dev", "--local", "--json").document["target_group_arns"]
    _goes_by(dev, strategy)
    variables = dev.commands.project / "environments/dev/terraform.tfvars"
    moved = 'container = { name = "web", port = 8080 }\nenvironment_variables = { MCLASS_PORT = "8080" }\n'
    variables.write_text(f"{variables.read_text(encoding='utf-8')}\n{moved}", encoding="utf-8")

    with asking(dev) as answers:
        dev.released(dev.version(new))
        assert _reached(aws) == ("web", 8080)
        assert dev.answers()["version"] == new
        assert dev.commands.ok("output", "dev", "--local", "--json").document["target_group_arns"] == groups
        done = dev.rollback()
        assert done.status == 0, done.stderr
        assert dev.answers()["version"] == old

    assert not answers.failures
    assert set(answers.versions) == {"1.0.0", "2.0.0"}
    assert not _has_changes(dev)


def _reached(aws: Aws) -> tuple[str, int]:
    """Return the container and the port that the service registers its tasks with."""
    (entry,) = _service(aws)["loadBalancers"]
    return entry["containerName"], entry["containerPort"]
