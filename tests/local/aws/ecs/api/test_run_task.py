"""RunTask: standalone tasks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.ecs.models import ecs_backends

from mclass_tf.local.aws.ecs.api.client_tokens import ClientTokens
from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.scheduler.reconcile import reconcile
from mclass_tf.local.aws.ecs.tasks import spot
from mclass_tf.local.aws.service_metrics import ServiceMetrics
from mclass_tf.local.clock import Clock
from mclass_tf.local.metadata import Metadata
from tests.local import in_process, run_task_world, task_world
from tests.local.in_process import REGION
from tests.local.run_task_world import CLUSTER, Ecs, Play
from tests.local.task_world import URL, until


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    return run_task_world.player(tmp_path, monkeypatch)


# ---- running


def test_a_task_runs_and_stops_with_its_exit_code(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run()
        assert (answer["lastStatus"], answer["desiredStatus"]) == ("PROVISIONING", "RUNNING")
        assert (answer["group"], answer["launchType"]) == ("family:mclass-task", "FARGATE")
        assert "startedBy" not in answer
        await ecs.world.status(ecs.task(answer), "RUNNING")
        ecs.world.driver.started[0].say("hello")
        ecs.world.driver.started[0].exit(3)
        found = await ecs.ended(answer)
        assert found["stopCode"] == "EssentialContainerExited"
        assert found["stoppedReason"] == "Essential container in task exited"
        assert found["containers"][0]["exitCode"] == 3
        assert ecs.world.log(ecs.task(answer)) == ["hello"]
        assert ecs.world.targets() == []

    play(scenario)


def test_the_logs_are_complete_when_the_task_is_stopped(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run()
        task = ecs.task(answer)
        seen: list[list[str]] = []

        def look(_topic: str) -> None:
            if task.is_stopped and not seen:
                seen.append(ecs.world.log(task))

        ecs.world.live.listen(look)
        await ecs.world.status(task, "RUNNING")
        ecs.world.driver.started[0].say("the last line")
        ecs.world.driver.started[0].exit(0)
        await until(lambda: bool(seen))
        assert seen == [["the last line"]]

    play(scenario)


def test_a_container_that_exits_immediately_has_been_running(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        start = ecs.world.driver.start

        async def start_and_end(container: Any) -> Any:
            running = await start(container)
            running.exit(0)
            return running

        ecs.world.driver.start = start_and_end  # type: ignore[method-assign]
        found = await ecs.ended(ecs.run())
        assert (found["stopCode"], found["containers"][0]["exitCode"]) == ("EssentialContainerExited", 0)
        assert found["startedAt"] <= found["stoppedAt"]

    play(scenario)


def test_several_tasks_are_spread_over_the_zones(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        tasks = [ecs.task(answer) for answer in ecs.run_all(count=4)]
        for task in tasks:
            await ecs.world.status(task, "RUNNING")
        zones = [task.availability_zone for task in tasks]
        assert sorted(zones) == [f"{REGION}a"] * 2 + [f"{REGION}c"] * 2
        cluster = ecs.client.describe_clusters(clusters=[CLUSTER])["clusters"][0]
        assert cluster["runningTasksCount"] == 4

    play(scenario)


def test_a_task_is_described_with_the_attributes_of_its_request(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(tags=[{"key": "team", "value": "mclass"}, {"key": "kind", "value": "service"}])
        answer = ecs.run(
            taskDefinition="mclass-task:2",
            group="migrations",
            startedBy="release/12_a-b",
            enableECSManagedTags=True,
            propagateTags="TASK_DEFINITION",
            tags=[{"key": "kind", "value": "migration"}],
            platformVersion="1.4.0",
            referenceId="anything",
        )
        assert (answer["group"], answer["startedBy"]) == ("migrations", "release/12_a-b")
        assert {tag["key"]: tag["value"] for tag in answer["tags"]} == {
            "team": "mclass",
            "kind": "migration",
            "aws:ecs:clusterName": CLUSTER,
        }
        assert answer["taskDefinitionArn"].endswith("mclass-task:2")
        assert ecs.described(answer)["tags"] == answer["tags"]

    play(scenario)


def test_overrides_reach_the_container(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        environment = [{"name": "A", "value": "of the definition"}, {"name": "B", "value": "kept"}]
        ecs.register(ecs.applied.container(environment=environment, entryPoint=["sh"], command=["-c", "x"]))
        overrides = {
            **ecs.override(
                command=["-c", "migrate"], environment=[{"name": "A", "value": "other"}], cpu=128, memory=700
            ),
            "cpu": "512",
            "memory": "1024",
            "ephemeralStorage": {"sizeInGiB": 30},
            "inferenceAcceleratorOverrides": [],
        }
        answer = ecs.run(overrides=overrides)
        await ecs.world.status(ecs.task(answer), "RUNNING")
        container = ecs.world.driver.started[0].container
        assert (container.entry_point, container.command) == (["sh"], ["-c", "migrate"])
        assert (container.environment["A"], container.environment["B"]) == ("other", "kept")
        assert (container.cpu_units, container.memory_mib) == (128, 700)
        found = ecs.described(answer)
        assert (found["cpu"], found["memory"]) == ("512", "1024")
        assert found["ephemeralStorage"] == {"sizeInGiB": 30}
        assert (found["containers"][0]["cpu"], found["containers"][0]["memory"]) == ("128", "700")
        assert found["overrides"]["containerOverrides"] == overrides["containerOverrides"]

    play(scenario)


def test_an_empty_override_changes_nothing(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(ecs.applied.container(command=["own"]))
        answer = ecs.run(
            overrides={"containerOverrides": [ecs.override(command=[])["containerOverrides"][0]]}
        )
        await ecs.world.status(ecs.task(answer), "RUNNING")
        assert ecs.world.driver.started[0].container.command == ["own"]

    play(scenario)


def test_overridden_roles_are_used(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        account = ecs.applied.account_id
        iam = ecs.applied.client("iam")
        iam.create_role(RoleName="migrator", AssumeRolePolicyDocument=task_world.trust(account))
        role = f"arn:aws:iam::{account}:role/migrator"
        answer = ecs.run(overrides={"taskRoleArn": role}, enableExecuteCommand=True)
        await ecs.world.status(ecs.task(answer), "RUNNING")
        environment = ecs.world.driver.started[0].container.environment
        metadata = Metadata(exclusive=in_process.aws().exclusive)
        metadata.source = ecs.world.tasks
        path = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"].removeprefix(URL)
        reply = metadata.answer({"PATH_INFO": path, "REQUEST_METHOD": "GET"})
        assert reply is not None
        assert json.loads(reply.body)["RoleArn"] == role
        found = await ecs.ended(ecs.run(overrides={"executionRoleArn": role}))
        assert found["stopCode"] == "TaskFailedToStart"
        assert "ecr:GetAuthorizationToken" in found["stoppedReason"]

    play(scenario)


def test_the_default_capacity_is_that_of_the_cluster(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.client.put_cluster_capacity_providers(
            cluster=CLUSTER,
            capacityProviders=["FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=[{"capacityProvider": "FARGATE_SPOT", "weight": 1}],
        )
        answer = ecs.run(launchType=None)
        assert answer["capacityProviderName"] == "FARGATE_SPOT"
        strategy = [{"capacityProvider": "FARGATE", "weight": 1}]
        own = ecs.run(launchType=None, capacityProviderStrategy=strategy)
        assert own["capacityProviderName"] == "FARGATE"
        task = ecs.task(answer)
        await ecs.world.status(task, "RUNNING")
        spot.interrupt(account_id=ecs.applied.account_id, region=REGION, task=task.arn)
        assert (await ecs.ended(answer))["stopCode"] == "SpotInterruption"

    play(scenario)


# ---- stopping


def test_a_running_task_is_stopped(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run()
        await ecs.world.status(ecs.task(answer), "RUNNING")
        stopped = ecs.client.stop_task(cluster=CLUSTER, task=answer["taskArn"], reason="no longer wanted")
        assert stopped["task"]["desiredStatus"] == "STOPPED"
        found = await ecs.ended(answer)
        assert (found["stopCode"], found["stoppedReason"]) == ("UserInitiated", "no longer wanted")
        assert ecs.world.driver.started[0].signals == ["SIGTERM"]
        assert found["containers"][0]["exitCode"] == 143

    play(scenario)


def test_a_task_is_stopped_before_it_runs(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.world.driver.pull_gate.clear()
        answer = ecs.run()
        await ecs.world.status(ecs.task(answer), "PENDING")
        ecs.client.stop_task(cluster=CLUSTER, task=answer["taskArn"])
        found = await ecs.ended(answer)
        assert (found["stopCode"], found["stoppedReason"]) == ("UserInitiated", "Task stopped by user")
        assert "startedAt" not in found
        assert ecs.world.driver.started == []

    play(scenario)


def test_a_task_without_permission_to_pull_does_not_start(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        account = ecs.applied.account_id
        ecs.applied.client("iam").put_role_policy(
            RoleName=ecs.applied.execution_role,
            PolicyName="start-tasks",
            PolicyDocument=task_world.policy(account, without="ecr:BatchGetImage"),
        )
        found = await ecs.ended(ecs.run())
        assert found["stopCode"] == "TaskFailedToStart"
        assert found["stoppedReason"].startswith("CannotPullContainerError")
        assert "exitCode" not in found["containers"][0]
        assert "startedAt" not in found

    play(scenario)


def test_a_failing_health_check_is_described_and_stops_nothing(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        check = {"command": ["CMD", "true"], "interval": 5, "timeout": 2, "retries": 1}
        ecs.register(ecs.applied.container(healthCheck=check))
        answer = ecs.run()
        task = ecs.task(answer)
        await ecs.world.status(task, "RUNNING")
        container = ecs.world.driver.started[0]
        container.check_result = (1, "no")
        await until(lambda: task.health_status == "UNHEALTHY")
        known = len(container.checks)
        await until(lambda: len(container.checks) > known + 1)
        assert (task.last_status, task.desired_status, container.signals) == ("RUNNING", "RUNNING", [])
        assert ecs.listed() == {answer["taskArn"]}

    play(scenario)


def test_tasks_are_listed_by_their_attributes(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(family="other")
        one, two = ecs.run(startedBy="one"), ecs.run(startedBy="two", taskDefinition="other")
        await ecs.world.status(ecs.task(one), "RUNNING")
        await ecs.world.status(ecs.task(two), "RUNNING")
        assert ecs.listed(startedBy="one") == {one["taskArn"]}
        assert ecs.listed(family="other") == {two["taskArn"]}
        assert ecs.listed() == {one["taskArn"], two["taskArn"]}
        ecs.client.stop_task(cluster=CLUSTER, task=one["taskArn"])
        await ecs.ended(one)
        assert ecs.listed() == {two["taskArn"]}
        assert ecs.listed(desiredStatus="STOPPED") == {one["taskArn"]}
        spaced = ecs.run(startedBy="ECS Deploy")  # that of `ecs run` of ecs-deploy
        assert ecs.listed(startedBy="ECS Deploy") == {spaced["taskArn"]}

    play(scenario)


def test_a_cluster_with_a_running_task_cannot_be_deleted(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run()
        with pytest.raises(ClientError, match="ClusterContainsTasksException"):
            ecs.client.delete_cluster(cluster=CLUSTER)
        ecs.client.stop_task(cluster=CLUSTER, task=answer["taskArn"])
        await ecs.ended(answer)
        ecs.client.delete_cluster(cluster=CLUSTER)
        assert ecs.refused()[0] == "ClusterNotFoundException"

    play(scenario)


# ---- beside services


def _service(ecs: Ecs, **changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = ecs.client.create_service(
        cluster=CLUSTER,
        serviceName="mclass-service",
        taskDefinition="mclass-task",
        launchType="FARGATE",
        networkConfiguration=ecs.applied.network,
        loadBalancers=[
            {
                "targetGroupArn": ecs.applied.target_group_arn,
                "containerName": "mclass-server",
                "containerPort": task_world.PORT,
            }
        ],
        **changes,
    )["service"]
    return made


def test_a_service_ignores_standalone_tasks(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        made = _service(ecs, desiredCount=1)
        (own,) = ecs.listed(serviceName="mclass-service")
        await ecs.world.status(ecs.task({"taskArn": own}), "RUNNING")
        disguised = ecs.run(group="service:mclass-service", startedBy=made["deployments"][0]["id"])
        await ecs.world.status(ecs.task(disguised), "RUNNING")
        service = ecs_backends[ecs.applied.account_id][REGION].services[f"{CLUSTER}:mclass-service"]
        with in_process.aws().exclusive():
            reconcile(service)
        found = ecs.client.describe_services(cluster=CLUSTER, services=["mclass-service"])["services"][0]
        assert (found["runningCount"], found["pendingCount"]) == (1, 0)
        assert ecs.listed(serviceName="mclass-service") == {own}
        assert ecs.task(disguised).desired_status == "RUNNING"
        assert len(ecs.world.targets()) == 1
        ecs.client.stop_task(cluster=CLUSTER, task=disguised["taskArn"])
        await ecs.ended(disguised)
        with in_process.aws().exclusive():
            reconcile(service)
        assert ecs.listed() == {own}
        found = ecs.client.describe_services(cluster=CLUSTER, services=["mclass-service"])["services"][0]
        assert [entry["failedTasks"] for entry in found["deployments"]] == [0]

    play(scenario)


def test_a_standalone_task_appears_in_no_service_metrics_and_names_no_service(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run(group="service:mclass-service")
        await ecs.world.status(ecs.task(answer), "RUNNING")
        metrics = ServiceMetrics(exclusive=in_process.aws().exclusive, tasks=ecs.world.tasks)
        with in_process.aws().exclusive():
            metrics.measure(now=1.0)
            metrics.measure(now=2.0)
        assert ecs.applied.client("cloudwatch").list_metrics(Namespace="AWS/ECS")["Metrics"] == []
        metadata = Metadata(exclusive=in_process.aws().exclusive)
        metadata.source = ecs.world.tasks
        environment = ecs.world.driver.started[0].container.environment
        path = environment["ECS_CONTAINER_METADATA_URI_V4"].removeprefix(URL) + "/task"
        reply = metadata.answer({"PATH_INFO": path, "REQUEST_METHOD": "GET"})
        assert reply is not None
        document = json.loads(reply.body)
        assert document["TaskARN"] == answer["taskArn"]
        assert "ServiceName" not in document

    play(scenario)


# ---- rejected requests

_OF_CONTAINER = "mclass-server"


def _with_override(**changes: Any) -> dict[str, Any]:
    return {"overrides": {"containerOverrides": [{"name": _OF_CONTAINER, **changes}]}}


def _network(**changes: Any) -> dict[str, Any]:
    return {"networkConfiguration": {"awsvpcConfiguration": {"subnets": ["subnet-0"], **changes}}}


_INVALID = "InvalidParameterException"
_REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no tasks": ({"count": 0}, _INVALID, "count must be from 1 to 10, not 0"),
    "too many tasks": ({"count": 11}, _INVALID, "count must be from 1 to 10, not 11"),
    "no definition": ({"taskDefinition": ""}, _INVALID, "TaskDefinition can not be blank."),
    "unknown definition": ({"taskDefinition": "nobody"}, "ClientException", "TaskDefinition not found."),
    "unknown revision": (
        {"taskDefinition": "mclass-task:9"},
        "ClientException",
        "TaskDefinition not found.",
    ),
    "unknown cluster": ({"cluster": "nobody"}, "ClusterNotFoundException", "Cluster not found."),
    "EC2": ({"launchType": "EC2"}, _INVALID, "on Fargate only, not on EC2"),
    "no capacity": ({"launchType": None}, _INVALID, "on Fargate only"),
    "both capacities": (
        {"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]},
        _INVALID,
        "Specify either launchType or capacityProviderStrategy, but not both.",
    ),
    "unknown provider": (
        {"launchType": None, "capacityProviderStrategy": [{"capacityProvider": "mine", "weight": 1}]},
        _INVALID,
        "The capacity provider mine is not associated with the cluster.",
    ),
    "platform": ({"platformVersion": "2.0.0"}, "PlatformUnknownException", "does not exist"),
    "no network": (
        {"networkConfiguration": None},
        _INVALID,
        "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
    ),
    "unknown subnet": (_network(), _INVALID, "Error retrieving subnet information"),
    "subnets": (_network(subnets=["subnet-0"] * 17), _INVALID, "subnets can have at most 16 items."),
    "groups": (_network(securityGroups=["sg-0"] * 6), _INVALID, "securityGroups can have at most 5 items."),
    "public IP": (_network(assignPublicIp="MAYBE"), _INVALID, "assignPublicIp should be one of"),
    "long group": ({"group": "g" * 256}, _INVALID, "at most 255 characters"),
    "long starter": ({"startedBy": "s" * 129}, _INVALID, "startedBy must have at most 128"),
    "token": ({"clientToken": "t" * 65}, _INVALID, "clientToken must be at most 64 characters"),
    "tags of a service": ({"propagateTags": "SERVICE"}, _INVALID, "TASK_DEFINITION or NONE"),
    "tag twice": (
        {"tags": [{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]},
        _INVALID,
        "Duplicate tag keys",
    ),
    "AWS's tag": ({"tags": [{"key": "aws:x", "value": "1"}]}, _INVALID, "aws: prefixed tag key names"),
    "many tags": ({"tags": [{"key": str(n), "value": ""} for n in range(51)]}, _INVALID, "at most 50"),
    "unknown container": (
        {"overrides": {"containerOverrides": [{"name": "other", "command": ["x"]}]}},
        _INVALID,
        "Override for container named other is not a container in the TaskDefinition.",
    ),
    "nameless override": (
        {"overrides": {"containerOverrides": [{"command": ["x"]}]}},
        _INVALID,
        "Override for container named None",
    ),
    "long overrides": (
        _with_override(command=["x" * 8192]),
        _INVALID,
        "Container Overrides length must be at most 8192",
    ),
    "memory": (
        _with_override(memory=1024),
        _INVALID,
        "The 'memory' setting for container 'mclass-server' is greater than for the task.",
    ),
    "cpu": (
        _with_override(cpu=512),
        _INVALID,
        "The 'cpu' setting for container 'mclass-server' is greater than for the task.",
    ),
    "size": ({"overrides": {"memory": "600"}}, "ClientException", "No Fargate configuration exists"),
    "storage": ({"overrides": {"ephemeralStorage": {"sizeInGiB": 5}}}, "ClientException", "21 to 200 GiB"),
    "other account's role": (
        {"overrides": {"taskRoleArn": "arn:aws:iam::999999999999:role/r"}},
        "AccessDeniedException",
        "Cross-account pass role is not allowed.",
    ),
    "files of variables": (
        _with_override(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::b/f.env"}]),
        _INVALID,
        "does not model overrides.containerOverrides.environmentFiles",
    ),
    "commands without a role": (
        {"enableExecuteCommand": True},
        _INVALID,
        "The execute command failed because a valid task role is not being used.",
    ),
    "placement": (
        {"placementStrategy": [{"type": "random"}]},
        _INVALID,
        "does not model placementStrategy: it must be empty",
    ),
}


def test_a_rejected_request_starts_nothing(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        found = {name: ecs.refused(**changes) for name, (changes, _, _) in _REFUSED.items()}
        assert {name: code for name, (_, code, _) in _REFUSED.items()} == {
            name: code for name, (code, _) in found.items()
        }
        wrong = {
            name: found[name][1] for name, (_, _, words) in _REFUSED.items() if words not in found[name][1]
        }
        assert wrong == {}
        assert ecs.world.tasks.all(ecs.applied.account_id, REGION) == []

    play(scenario)


def test_a_task_must_be_as_large_as_its_containers(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        ecs.register(ecs.applied.container(memory=600), memory="1024")
        code, words = ecs.refused(overrides={"memory": "512"})
        assert code == _INVALID
        assert words == "The 'memory' setting for container 'mclass-server' is greater than for the task."
        assert ecs.run(overrides={"memory": "512", **ecs.override(memory=300)})["memory"] == "512"

    play(scenario)


def test_an_inactive_revision_starts_nothing(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        arn = ecs.register()
        ecs.client.deregister_task_definition(taskDefinition=arn)
        assert ecs.refused(taskDefinition=arn) == ("ClientException", "TaskDefinition is inactive")
        assert ecs.run()["taskDefinitionArn"].endswith("mclass-task:1")

    play(scenario)


def test_nothing_is_started_before_tasks_can_run(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(ecs: Ecs) -> None:
        monkeypatch.setattr(runner_holder, "runner", None)
        assert ecs.refused() == (
            "ClientException",
            "The local AWS runs no tasks now: it is starting, or going down.",
        )

    play(scenario)


# ---- client tokens


def test_a_repeated_request_starts_nothing(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        first = ecs.run_all(clientToken="one", count=2)
        again = ecs.run_all(clientToken="one", count=2)
        assert [task["taskArn"] for task in again] == [task["taskArn"] for task in first]
        assert len(ecs.listed()) == 2
        assert ecs.run(clientToken="other")["taskArn"] not in {task["taskArn"] for task in first}
        ecs.client.create_cluster(clusterName="second", capacityProviders=["FARGATE"])
        elsewhere = ecs.run(clientToken="one", cluster="second")
        assert "/second/" in elsewhere["taskArn"]

    play(scenario)


def test_a_token_cannot_be_reused_for_another_request(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        first = ecs.run(clientToken="one")
        with pytest.raises(ClientError) as error:
            ecs.run(clientToken="one", startedBy="another")
        assert error.value.response["Error"]["Code"] == "ConflictException"
        response: Mapping[str, Any] = error.value.response
        assert response["resourceIds"] == [first["taskArn"]]
        assert ecs.listed() == {first["taskArn"]}

    play(scenario)


def test_a_token_expires_an_hour_after_its_task_stopped_or_after_a_day(play: Play) -> None:
    async def scenario(ecs: Ecs) -> None:
        answer = ecs.run()
        task, tokens, clock = ecs.task(answer), ClientTokens(), Clock()
        request = {"count": 1}

        def found(clock: Clock) -> object:
            tokens.keep("c", "one", request=request, tasks=[task])
            return tokens.find("c", "one", request=request, clock=clock)

        assert found(clock) == (task,)
        assert found(Clock(speed=1e12)) is None  # a day is over at once
        ecs.client.stop_task(cluster=CLUSTER, task=answer["taskArn"])
        await ecs.ended(answer)
        assert found(clock) == (task,)
        assert task.stopped_at is not None
        task.stopped_at -= 3601
        assert found(clock) is None

    play(scenario)
