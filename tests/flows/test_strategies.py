"""Releases by each strategy, one after the other, and their rollbacks, of real tasks behind a real load balancer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mclass_tf.aws import Access, Aws
from tests.commands import ROOT
from tests.flows.killed import asking
from tests.flows.released import CLUSTER, SERVICE, Dev
from tests.snapshots import RELEASED, Snapshots, copied_project

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("strategies")]

_FILE = "environments/dev/environment.toml"
_SETTINGS = {
    "rolling": "",
    "blue-green": 'bake_minutes = 0\nsmoke = ["/version"]\n',
    "canary": 'canary_percent = 20\ncanary_bake_minutes = 0\nbake_minutes = 0\nsmoke = ["/version"]\n',
    "linear": 'step_percent = 50\nstep_bake_minutes = 0\nbake_minutes = 0\nsmoke = ["/version"]\n',
}


@pytest.fixture(scope="module")
def dev(snapshots: Snapshots, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    """A dev, of a copy of this project, in which version 1.0.0 serves."""
    project = copied_project(tmp_path_factory.mktemp("project"))
    with snapshots.started(RELEASED, home=tmp_path_factory.mktemp("strategies"), project=project) as commands:
        yield Dev(commands, snapshots.versions())


@pytest.fixture(scope="module")
def aws(dev: Dev) -> Aws:
    """Dev's account."""
    env = dev.commands.shell_environment("dev")
    return Aws(
        Access(
            region=env["AWS_REGION"],
            endpoint_url=env["AWS_ENDPOINT_URL"],
            access_key_id=env["AWS_ACCESS_KEY_ID"],
            secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
            session_token=env["AWS_SESSION_TOKEN"],
        )
    )


def _service(aws: Aws) -> Any:
    request = {"cluster": CLUSTER, "services": [SERVICE]}
    return aws.call_ecs("DescribeServices", request)["services"][0]


def _goes_by(dev: Dev, strategy: str) -> None:
    """Have dev release by a strategy from now on."""
    text = (ROOT / _FILE).read_text(encoding="utf-8")
    chosen = f'\n[release]\nstrategy = "{strategy}"\n{_SETTINGS[strategy]}'
    (dev.commands.project / _FILE).write_text(text + chosen, encoding="utf-8")


def _in_use(dev: Dev) -> str:
    """Return the target group that production traffic goes to."""
    outputs = dev.commands.ok("output", "dev", "--local", "--json").document
    (rule,) = dev.client("elbv2").describe_rules(RuleArns=[outputs["production_listener_rule_arn"]])["Rules"]
    groups = rule["Actions"][0]["ForwardConfig"]["TargetGroups"]
    (found,) = [group["TargetGroupArn"] for group in groups if group["Weight"] > 0]
    return str(found)


def _strategies(dev: Dev, aws: Aws, count: int) -> list[str]:
    """Return the strategies of the latest service deployments, the oldest first, as ECS has them."""
    arns = [each["serviceDeploymentArn"] for each in dev.deployments()[:count]]
    # boto3's model does not have them yet.
    answer = aws.call_ecs("DescribeServiceDeployments", {"serviceDeploymentArns": arns})
    found = {each["serviceDeploymentArn"]: each for each in answer["serviceDeployments"]}
    return [found[arn]["deploymentConfiguration"].get("strategy", "ROLLING") for arn in reversed(arns)]


def _has_changes(dev: Dev) -> bool:
    return bool(dev.commands.ok("plan", "dev", "--local", "--json").document["has_changes"])


def test_every_strategy_takes_over_from_every_other_and_rolls_back_and_nobody_notices(
    dev: Dev, aws: Aws
) -> None:
    one, two, three = (dev.version(f"{number}.0.0-switched") for number in (1, 2, 3))
    _goes_by(dev, "rolling")
    dev.released(one)
    first = _in_use(dev)

    with asking(dev) as answers:
        _goes_by(dev, "canary")
        was_wired = "advancedConfiguration" in _service(aws)["loadBalancers"][0]
        before = len(dev.deployments())
        dev.released(two)
        # ECS is to know of both target groups before the first deployment that shifts traffic.
        expected = ["CANARY"] if was_wired else ["ROLLING", "CANARY"]
        assert _strategies(dev, aws, len(dev.deployments()) - before) == expected
        assert dev.answers()["version"] == "2.0.0-switched"
        second = _in_use(dev)
        assert second != first

        _goes_by(dev, "rolling")  # while the other group is the one in use
        dev.released(three)
        assert (_strategies(dev, aws, 1), _in_use(dev)) == (["ROLLING"], second)
        assert dev.answers()["version"] == "3.0.0-switched"
        _rolls_back(dev, to="2.0.0-switched")
        assert (_strategies(dev, aws, 1), _in_use(dev)) == (["ROLLING"], second)

        for strategy, name, group in (
            ("linear", "LINEAR", first),
            ("canary", "CANARY", first),
            ("blue-green", "BLUE_GREEN", first),
        ):
            _goes_by(dev, strategy)
            dev.released(three)
            assert (_strategies(dev, aws, 1), _in_use(dev)) == ([name], group)
            assert dev.answers()["version"] == "3.0.0-switched"
            _rolls_back(dev, to="2.0.0-switched")
            assert _in_use(dev) == second

    assert not answers.failures
    assert set(answers.versions) == {"1.0.0-switched", "2.0.0-switched", "3.0.0-switched"}


def _rolls_back(dev: Dev, *, to: str) -> None:
    """Go back to the release before, after which Terraform has nothing to do."""
    done = dev.rollback()
    assert done.status == 0, done.stderr
    assert dev.answers()["version"] == to
    assert not _has_changes(dev)


def test_blue_green_serves_after_its_smoke_test_and_a_bad_version_never_does(dev: Dev, aws: Aws) -> None:
    _goes_by(dev, "blue-green")
    one, two = dev.version("1.0.0"), dev.version("2.0.0")
    bad = dev.version("3.0.0-bad", MCLASS_FAULT_ERROR_RATE="1")
    dev.released(one)  # the first is rolling

    dev.released(two)

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
