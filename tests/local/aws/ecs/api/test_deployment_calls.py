"""The API calls for tasks, service deployments and service revisions."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from mclass_tf.local.aws.pages import SHORT
from tests.local.conftest import REGION, Account, Network
from tests.local.ecs_cluster import Ecs, cluster, list_all, task_definition


@pytest.fixture
def ecs(fresh: Account, network: Network) -> Iterator[Ecs]:
    """A service without tasks, after two deployments."""
    with cluster(fresh, network) as made:
        made.client.create_service(**made.service)
        made.client.register_task_definition(**task_definition())
        made.client.update_service(cluster="c", service="s", taskDefinition="t:2")
        yield made


def _listed(ecs: Ecs, **filters: Any) -> list[dict[str, Any]]:
    """List the service deployments of every page, latest first."""
    found = list_all(ecs.client, **filters)
    return found[::-1]


def _described(ecs: Ecs, arn: str) -> dict[str, Any]:
    found: dict[str, Any] = ecs.client.describe_service_deployments(serviceDeploymentArns=[arn])[
        "serviceDeployments"
    ][0]
    return found


def test_service_deployments_are_listed_the_latest_last(ecs: Ecs) -> None:
    first, latest = ecs.client.list_service_deployments(cluster="c", service="s")["serviceDeployments"]
    prefix = f"arn:aws:ecs:{REGION}:{ecs.account.account_id}"
    assert latest["serviceDeploymentArn"].startswith(f"{prefix}:service-deployment/c/s/")
    assert latest["targetServiceRevisionArn"].startswith(f"{prefix}:service-revision/c/s/")
    assert [latest["status"], first["status"]] == ["SUCCESSFUL", "SUCCESSFUL"]
    assert first["createdAt"] < latest["createdAt"] <= latest["startedAt"] <= latest["finishedAt"]


def test_service_deployments_are_filtered_and_paged(ecs: Ecs) -> None:
    latest, first = _listed(ecs)
    assert _listed(ecs, status=["IN_PROGRESS"]) == []
    hour = dt.timedelta(hours=1)
    assert [latest, first] == _listed(ecs, createdAt={"after": first["createdAt"] - hour})
    assert _listed(ecs, createdAt={"before": first["createdAt"] - hour}) == []
    page = ecs.client.list_service_deployments(cluster="c", service="s", maxResults=1)
    assert [first] == page["serviceDeployments"]
    following = ecs.client.list_service_deployments(cluster="c", service="s", nextToken=page["nextToken"])
    assert [latest] == following["serviceDeployments"]


def test_a_page_is_shorter_than_what_was_asked_for(ecs: Ecs) -> None:
    ecs.client.update_service(cluster="c", service="s", forceNewDeployment=True)
    page = ecs.client.list_service_deployments(cluster="c", service="s", maxResults=100)
    assert len(page["serviceDeployments"]) == SHORT
    assert len(_listed(ecs)) == 3


def test_a_service_may_be_named_by_its_arn_alone(ecs: Ecs) -> None:
    arn = ecs.described()["serviceArn"]
    assert len(ecs.client.list_service_deployments(service=arn)["serviceDeployments"]) == 2


def test_a_service_deployment_names_the_revisions_it_replaced(ecs: Ecs) -> None:
    latest, first = _listed(ecs)
    found = _described(ecs, latest["serviceDeploymentArn"])
    assert [first["targetServiceRevisionArn"]] == [entry["arn"] for entry in found["sourceServiceRevisions"]]
    assert found["targetServiceRevision"]["arn"] == latest["targetServiceRevisionArn"]
    assert found["deploymentCircuitBreaker"] == {
        "status": "MONITORING_COMPLETE",
        "failureCount": 0,
        "threshold": 3,
    }
    assert found["alarms"]["alarmNames"] == ["a"]


def test_a_service_revision_describes_what_was_deployed(ecs: Ecs) -> None:
    arn = _listed(ecs)[1]["targetServiceRevisionArn"]
    found = ecs.client.describe_service_revisions(serviceRevisionArns=[arn, f"{arn}0"])
    revision = found["serviceRevisions"][0]
    assert revision["taskDefinition"].endswith("task-definition/t:1")
    assert revision["networkConfiguration"] == ecs.service["networkConfiguration"]
    assert revision["containerImages"] == [{"containerName": "web", "image": "example/web"}]
    assert [{"arn": f"{arn}0", "reason": "MISSING"}] == found["failures"]


def test_unknown_service_deployments_are_failures(ecs: Ecs) -> None:
    arn = f"{_listed(ecs)[0]['serviceDeploymentArn']}x"
    found = ecs.client.describe_service_deployments(serviceDeploymentArns=[arn])
    assert ([], [{"arn": arn, "reason": "MISSING"}]) == (found["serviceDeployments"], found["failures"])


def _in_progress(ecs: Ecs) -> str:
    """Start a deployment that cannot complete, since its image does not exist. Return the ARN of its service deployment."""
    ecs.client.update_service(cluster="c", service="s", desiredCount=1, forceNewDeployment=True)
    latest = _listed(ecs)[0]
    assert latest["status"] == "IN_PROGRESS"
    return str(latest["serviceDeploymentArn"])


def test_a_stopped_service_deployment_rolls_back(ecs: Ecs) -> None:
    arn = _in_progress(ecs)
    ecs.call("StopServiceDeployment", {"serviceDeploymentArn": arn, "stopType": "ROLLBACK"})
    found = _described(ecs, arn)
    assert found["status"] == "ROLLBACK_IN_PROGRESS"
    assert found["rollback"]["serviceRevisionArn"] == _listed(ecs)[1]["targetServiceRevisionArn"]
    ecs.delete()


def test_rollback_is_the_only_stop_type(ecs: Ecs) -> None:
    arn = _in_progress(ecs)
    with pytest.raises(ClientError, match="The valid values are ROLLBACK"):
        ecs.call("StopServiceDeployment", {"serviceDeploymentArn": arn, "stopType": "ABORT"})
    ecs.delete()


def test_a_service_deployment_that_has_ended_cannot_be_stopped(ecs: Ecs) -> None:
    arn = _listed(ecs)[0]["serviceDeploymentArn"]
    with pytest.raises(ClientError, match="ConflictException"):
        ecs.call("StopServiceDeployment", {"serviceDeploymentArn": arn})


def test_a_deployment_that_is_not_paused_cannot_be_continued(ecs: Ecs) -> None:
    arn = _listed(ecs)[0]["serviceDeploymentArn"]
    with pytest.raises(ClientError, match="InvalidParameterException"):
        ecs.call("ContinueServiceDeployment", {"serviceDeploymentArn": arn, "hookId": "h"})


def test_an_unknown_service_deployment_is_not_found(ecs: Ecs) -> None:
    for operation in ("StopServiceDeployment", "ContinueServiceDeployment"):
        with pytest.raises(ClientError, match="ServiceDeploymentNotFoundException"):
            ecs.call(operation, {"serviceDeploymentArn": "arn:x", "hookId": "h"})


# ---- tasks


def _stopped_task(ecs: Ecs) -> str:
    """Return a task of the service that has failed to start."""
    _in_progress(ecs)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        listed = ecs.client.list_tasks(cluster="c", serviceName="s", desiredStatus="STOPPED")["taskArns"]
        if listed:
            return str(listed[0])
        time.sleep(0.05)
    raise AssertionError("no task has stopped")


def test_a_task_is_described(ecs: Ecs) -> None:
    arn = _stopped_task(ecs)
    found = ecs.client.describe_tasks(cluster="c", tasks=[arn, "nobody"], include=["TAGS"])
    task = found["tasks"][0]
    assert (task["taskArn"], task["group"], task["launchType"]) == (arn, "service:s", "FARGATE")
    assert (task["desiredStatus"], task["stopCode"]) == ("STOPPED", "TaskFailedToStart")
    assert (task["cpu"], task["memory"]) == ("256", "512")
    assert task["startedBy"].startswith("ecs-svc/")
    assert {"team", "aws:ecs:clusterName", "aws:ecs:serviceName"} == {tag["key"] for tag in task["tags"]}
    assert task["containers"][0]["name"] == "web"
    assert [entry["reason"] for entry in found["failures"]] == ["MISSING"]
    ecs.delete()


@pytest.mark.parametrize(
    ("filters", "is_listed"),
    [
        ({"family": "t"}, True),
        ({"family": "other"}, False),
        ({"startedBy": "nobody"}, False),
        ({"launchType": "FARGATE"}, True),
        ({"launchType": "EC2"}, False),
    ],
)
def test_tasks_are_listed_by_filter(ecs: Ecs, filters: dict[str, Any], is_listed: bool) -> None:  # noqa: FBT001
    arn = _stopped_task(ecs)
    found = ecs.client.list_tasks(cluster="c", desiredStatus="STOPPED", **filters)["taskArns"]
    assert is_listed is (arn in found)
    ecs.delete()


def test_an_unknown_task_cannot_be_stopped(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="The referenced task was not found"):
        ecs.client.stop_task(cluster="c", task="0" * 32)


def test_describe_tasks_requires_tasks(ecs: Ecs) -> None:
    with pytest.raises(ClientError, match="Tasks cannot be empty"):
        ecs.client.describe_tasks(cluster="c", tasks=[])


# ---- with the AWS CLI


def _aws(ecs: Ecs, *arguments: str) -> str:
    """Run the aws CLI, which must succeed."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name("aws")), "ecs", *arguments],
        env=ecs.account.environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_the_aws_cli_waits_until_a_service_is_stable(ecs: Ecs) -> None:
    _aws(ecs, "wait", "services-stable", "--cluster", "c", "--services", "s")


def test_a_service_names_its_deployment_and_its_revisions(ecs: Ecs) -> None:
    """With the AWS CLI: the installed boto3 does not know these attributes."""
    latest = _listed(ecs)[0]
    found = json.loads(_aws(ecs, "describe-services", "--cluster", "c", "--services", "s"))["services"][0]
    assert found["currentServiceDeployment"] == latest["serviceDeploymentArn"]
    assert [latest["targetServiceRevisionArn"]] == [
        entry["arn"] for entry in found["currentServiceRevisions"]
    ]
