"""The task metadata endpoint and the credentials of a container."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import requests

from mclass_tf.local import LocalAws
from mclass_tf.local.metadata import Metadata
from tests.local import in_process, task_world
from tests.local.fake_driver import FakeContainer
from tests.local.in_process import REGION
from tests.local.task_world import LOG_GROUP, URL, World, until

_CHECK = {"command": ["CMD", "true"], "interval": 5}


class Endpoint:
    """The endpoint as a container reaches it."""

    def __init__(self, world: World) -> None:
        self._metadata = Metadata(exclusive=in_process.aws().exclusive)
        self._metadata.source = world.tasks

    def get(self, url: str) -> tuple[int, Any]:
        reply = self._metadata.answer({"PATH_INFO": url.removeprefix(URL), "REQUEST_METHOD": "GET"})
        assert reply is not None, f"{url} was passed on"
        return reply.status, json.loads(reply.body)

    def found(self, container: FakeContainer, path: str = "") -> Any:
        status, document = self.get(container.container.environment["ECS_CONTAINER_METADATA_URI_V4"] + path)
        assert status == 200
        return document


def test_a_container_finds_its_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(memory=256))
        found = Endpoint(world).found(container, "/task")
        assert found["TaskARN"] == task.arn
        assert found["Cluster"] == task.launch.cluster_arn
        assert (found["Family"], found["Revision"]) == ("mclass-task", "1")
        assert found["ServiceName"] == "mclass-service"
        assert (found["DesiredStatus"], found["KnownStatus"]) == ("RUNNING", "RUNNING")
        assert found["Limits"] == {"CPU": 0.25, "Memory": 512}
        assert found["LaunchType"] == "FARGATE"
        assert found["AvailabilityZone"] == task.availability_zone
        assert found["PullStartedAt"] <= found["PullStoppedAt"]
        assert found["PullStoppedAt"].endswith("Z")
        assert found["EphemeralStorageMetrics"]["Reserved"] == 20496
        assert [entry["Name"] for entry in found["Containers"]] == ["mclass-server"]

    task_world.run(tmp_path, scenario)


def test_a_container_finds_itself(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(healthCheck=_CHECK, memory=256))
        await until(lambda: task.health_status == "HEALTHY")
        found = Endpoint(world).found(container)
        assert task.interface is not None
        assert found["DockerId"].startswith(f"{task.id}-")
        assert (found["Name"], found["Image"]) == ("mclass-server", world.applied.image)
        assert found["ImageID"] == world.applied.digest
        assert found["Labels"]["com.amazonaws.ecs.task-arn"] == task.arn
        assert found["Limits"] == {"CPU": 0, "Memory": 256}
        assert found["Health"]["status"] == "HEALTHY"
        network = found["Networks"][0]
        assert network["IPv4Addresses"] == [task.interface.private_ip]
        assert network["MACAddress"] == task.interface.mac_address
        assert network["SubnetGatewayIpv4Address"] in {"10.0.128.1/24", "10.0.129.1/24"}
        assert found["LogDriver"] == "awslogs"
        assert found["LogOptions"] == {
            "awslogs-group": LOG_GROUP,
            "awslogs-region": REGION,
            "awslogs-stream": f"mclass-server/mclass-server/{task.id}",
        }

    task_world.run(tmp_path, scenario)


def test_statistics_tell_processor_time_and_memory(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        endpoint = Endpoint(world)
        stats = endpoint.found(container, "/stats")
        assert stats["cpu_stats"]["cpu_usage"]["total_usage"] == 1_500_000_000
        assert stats["memory_stats"]["usage"] == 50_000_000
        assert stats["memory_stats"]["limit"] == 512 * 1024 * 1024
        whole = endpoint.found(container, "/task/stats")
        assert list(whole) == [task.containers[0].runtime_id]

    task_world.run(tmp_path, scenario)


def test_nobody_finds_a_container_without_its_token(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        _task, container = await world.running()
        endpoint = Endpoint(world)
        assert endpoint.get(f"/v4/{'0' * 32}/task")[0] == 404
        mine = container.container.environment["ECS_CONTAINER_METADATA_URI_V4"]
        assert endpoint.get(mine)[0] == 200
        container.exit(0)
        await until(lambda: endpoint.get(mine)[0] == 404)  # the endpoint of a stopped task is gone

    task_world.run(tmp_path, scenario)


@pytest.mark.parametrize("path", ["/", "/v4/", "/v4/x", "/bucket/v4/key", "/v2/", "/v2/app/manifests/v1"])
def test_every_other_path_is_passed_on(path: str) -> None:
    metadata = Metadata(exclusive=in_process.aws().exclusive)
    assert metadata.answer({"PATH_INFO": path, "REQUEST_METHOD": "GET"}) is None


def test_a_container_acts_with_the_credentials_of_the_task_role(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        applied = world.applied
        applied.client("iam").create_role(
            RoleName="app", AssumeRolePolicyDocument=task_world.trust(applied.account_id)
        )
        role = f"arn:aws:iam::{applied.account_id}:role/app"
        _task, container = await world.running(definition={"taskRoleArn": role})
        url = container.container.environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
        endpoint = Endpoint(world)
        status, found = endpoint.get(url)
        assert (status, found["RoleArn"]) == (200, role)
        assert endpoint.get(url)[1] == found  # they are kept until they expire
        identity = in_process.identity(found["AccessKeyId"], found["SecretAccessKey"], found["Token"])
        assert identity["Account"] == applied.account_id
        assert identity["Arn"].startswith(f"arn:aws:sts::{applied.account_id}:assumed-role/app/")

    task_world.run(tmp_path, scenario)


# ---- over the port of the local AWS


def _send(server: LocalAws, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, str]:
    opening = {"Authorization": server.key.authorization}
    answer = requests.request(method, server.url + path, json=body, headers=opening, timeout=30)
    return answer.status_code, answer.text


def test_the_port_of_the_local_aws_serves_it(server: LocalAws) -> None:
    token = "0" * 32
    assert _send(server, "GET", f"/v4/{token}/task") == (404, f'"no container {token}"')
    assert _send(server, "GET", f"/v2/credentials/{token}")[0] == 404


def test_only_a_task_that_runs_can_be_interrupted(server: LocalAws) -> None:
    body = {"account_id": "111111111111", "region": REGION, "task": "nothing"}
    status, text = _send(server, "PUT", "/_mclass/ecs/interruptions", body)
    assert (status, "no task nothing runs in account 111111111111" in text) == (400, True)
