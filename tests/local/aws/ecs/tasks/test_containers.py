"""The containers of a task: start order, health, settings and logs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mclass_tf.local.containers.driver import CHECK_TIMED_OUT, ContainerSpec
from tests.local import task_world
from tests.local.fake_driver import FakeContainer
from tests.local.in_process import REGION
from tests.local.task_world import LOG_GROUP, URL, World, until

_CHECK = {"command": ["CMD-SHELL", "curl localhost:3000"], "interval": 5, "timeout": 2, "retries": 2}


def _sidecar(world: World, name: str, **settings: Any) -> dict[str, Any]:
    return world.applied.container(name=name, portMappings=[], **settings)


def _names(world: World) -> list[str]:
    return [container.container.name for container in world.driver.started]


# ---- dependencies


@pytest.mark.parametrize(("condition", "code"), [("COMPLETE", 3), ("SUCCESS", 0)])
def test_a_container_waits_for_another_to_exit(condition: str, code: int, tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch(
            world.applied.container(dependsOn=[{"containerName": "init", "condition": condition}]),
            _sidecar(world, "init", essential=False),
        )
        await until(lambda: _names(world) == ["init"])
        assert task.last_status == "PENDING"
        world.driver.started[0].exit(code)
        await world.status(task, "RUNNING")
        assert _names(world) == ["init", "mclass-server"]

    task_world.run(tmp_path, scenario)


def test_a_container_waits_until_another_is_healthy(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch(
            world.applied.container(dependsOn=[{"containerName": "proxy", "condition": "HEALTHY"}]),
            _sidecar(world, "proxy", healthCheck=_CHECK),
        )
        await until(lambda: _names(world) == ["proxy"])
        assert task.containers[1].health_status == "UNKNOWN"
        await world.status(task, "RUNNING")
        assert task.containers[1].health_status == "HEALTHY"

    task_world.run(tmp_path, scenario)


def test_a_container_starts_after_its_dependency_and_stops_before_it(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running(
            world.applied.container(dependsOn=[{"containerName": "proxy", "condition": "START"}]),
            _sidecar(world, "proxy"),
        )
        assert _names(world) == ["proxy", "mclass-server"]
        proxy, server = world.driver.started
        server.ignores_sigterm = True
        world.stop(task, drain=False)
        await until(lambda: server.signals == ["SIGTERM"])
        await until(lambda: not task.is_registered)
        assert proxy.signals == []
        server.exit(0)
        await world.status(task, "STOPPED")
        assert proxy.signals == ["SIGTERM"]

    task_world.run(tmp_path, scenario)


def test_a_dependency_that_fails_ends_the_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch(
            world.applied.container(dependsOn=[{"containerName": "init", "condition": "SUCCESS"}]),
            _sidecar(world, "init", essential=False),
        )
        await until(lambda: _names(world) == ["init"])
        world.driver.started[0].exit(1)
        await world.status(task, "STOPPED")
        assert task.stop_code == "TaskFailedToStart"
        assert "container mclass-server depends on container init" in str(task.stopped_reason)

    task_world.run(tmp_path, scenario)


# ---- health


def _told_health(container: FakeContainer) -> list[float]:
    return [seconds for _, seconds in container.checks]


def test_a_container_is_healthy_after_its_first_success(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(healthCheck=_CHECK))
        assert task.health_status == "UNKNOWN"
        await until(lambda: task.health_status == "HEALTHY")
        assert task.containers[0].health_status == "HEALTHY"
        assert container.checks[0] == (("CMD-SHELL", "curl localhost:3000"), 2)  # the timeout is not scaled

    task_world.run(tmp_path, scenario)


def test_a_container_is_unhealthy_after_its_retries_and_may_recover(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(healthCheck=_CHECK))
        await until(lambda: task.health_status == "HEALTHY")
        container.check_result = (1, "connection refused")
        failed_from = len(container.checks)
        await until(lambda: task.health_status == "UNHEALTHY")
        assert len(container.checks) - failed_from >= 2
        assert task.containers[0].health_output == "connection refused"
        assert task.last_status == "RUNNING"  # what follows from it is the scheduler's business
        container.check_result = (0, "")
        await until(lambda: task.health_status == "HEALTHY")

    task_world.run(tmp_path, scenario)


def test_failures_in_the_start_period_do_not_count(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        check = {**_CHECK, "startPeriod": 200, "retries": 1}
        task = world.launch(world.applied.container(healthCheck=check))
        await until(lambda: len(world.driver.started) == 1)
        container = world.driver.started[0]
        container.check_result = (1, "not yet")
        began = asyncio.get_running_loop().time()
        await until(lambda: task.health_status == "UNHEALTHY")
        assert asyncio.get_running_loop().time() - began >= 0.9 * world.live.clock.real(200)
        assert len(container.checks) > 10

    task_world.run(tmp_path, scenario, speed=400)


def test_a_check_that_exceeds_its_timeout_has_failed(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(healthCheck={**_CHECK, "retries": 1}))
        container.check_result = (CHECK_TIMED_OUT, "")
        await until(lambda: task.health_status == "UNHEALTHY")
        assert task.containers[0].health_output == "Health check exceeded timeout (2s)"

    task_world.run(tmp_path, scenario)


def test_the_health_of_a_task_is_that_of_its_essential_containers(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running(
            world.applied.container(healthCheck=_CHECK),
            _sidecar(world, "extra", essential=False, healthCheck={**_CHECK, "retries": 1}),
        )
        world.driver.named("extra").check_result = (1, "")
        await until(lambda: task.containers[1].health_status == "UNHEALTHY")
        await until(lambda: task.health_status == "HEALTHY")

    task_world.run(tmp_path, scenario)


def test_an_exited_container_is_not_checked(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(healthCheck=_CHECK))
        await until(lambda: task.health_status == "HEALTHY")
        container.exit(0)
        await world.status(task, "STOPPED")
        checked = len(container.checks)
        await asyncio.sleep(5 * world.live.clock.real(_CHECK["interval"]))  # type: ignore[arg-type]
        assert len(container.checks) == checked

    task_world.run(tmp_path, scenario)


# ---- what it is started with


def _started(tmp_path: Path, *containers: dict[str, Any], **changed: Any) -> ContainerSpec:
    """Return the settings with which the driver starts the first container."""
    told: list[ContainerSpec] = []

    async def scenario(world: World) -> None:
        _, container = await world.running(
            *(world.applied.container(**settings) for settings in containers), **changed
        )
        told.append(container.container)

    task_world.run(tmp_path, scenario)
    return told[0]


def test_the_driver_gets_the_settings_of_the_definition(tmp_path: Path) -> None:
    container = _started(
        tmp_path,
        {
            "command": ["serve"],
            "entryPoint": ["/tini"],
            "workingDirectory": "/srv",
            "user": "1000:1000",
            "readonlyRootFilesystem": True,
            "mountPoints": [
                {"sourceVolume": "tmp", "containerPath": "/tmp", "readOnly": False},
                {"sourceVolume": "data", "containerPath": "/data", "readOnly": True},
            ],
            "linuxParameters": {"initProcessEnabled": True},
            "memory": 256,
            "cpu": 128,
        },
        definition={"volumes": [{"name": "tmp"}, {"name": "data"}]},
    )
    assert (container.command, container.entry_point) == (["serve"], ["/tini"])
    assert (container.working_directory, container.user) == ("/srv", "1000:1000")
    assert container.is_root_read_only
    assert container.writable_paths == ("/tmp",)
    assert container.has_init
    assert (container.memory_mib, container.cpu_units) == (256, 128)
    assert container.ports == (3000,)
    assert container.labels["com.amazonaws.ecs.task-definition-family"] == "mclass-task"


def test_a_container_without_limits_has_those_of_the_task(tmp_path: Path) -> None:
    container = _started(tmp_path, {})
    assert (container.memory_mib, container.cpu_units) == (512, 256)
    assert container.command is None


def test_overrides_take_precedence_over_the_definition(tmp_path: Path) -> None:
    container = _started(
        tmp_path,
        {
            "command": ["serve"],
            "environment": [{"name": "MODE", "value": "web"}, {"name": "A", "value": "1"}],
        },
        overrides={
            "memory": "1024",
            "containerOverrides": [
                {
                    "name": "mclass-server",
                    "command": ["migrate"],
                    "environment": [{"name": "MODE", "value": "migration"}],
                }
            ],
        },
    )
    assert container.command == ["migrate"]
    assert (container.environment["MODE"], container.environment["A"]) == ("migration", "1")
    assert container.memory_mib == 1024


def test_ecs_adds_its_own_variables(tmp_path: Path) -> None:
    environment = _started(tmp_path, {}).environment
    assert environment["AWS_REGION"] == environment["AWS_DEFAULT_REGION"] == REGION
    assert environment["AWS_EXECUTION_ENV"] == "AWS_ECS_FARGATE"
    assert environment["ECS_CONTAINER_METADATA_URI_V4"].startswith(f"{URL}/v4/")
    assert environment["AWS_ENDPOINT_URL"] == URL
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in environment


def test_the_definition_may_override_the_variables_of_ecs(tmp_path: Path) -> None:
    environment = _started(
        tmp_path,
        {
            "environment": [
                {"name": "AWS_REGION", "value": "us-east-1"},
                {"name": "AWS_ENDPOINT_URL", "value": "x"},
            ]
        },
    ).environment
    assert (environment["AWS_REGION"], environment["AWS_ENDPOINT_URL"]) == ("us-east-1", "x")


def test_each_container_has_a_metadata_address_of_its_own(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        await world.running(world.applied.container(), _sidecar(world, "sidecar"))
        addresses = {
            entry.container.environment["ECS_CONTAINER_METADATA_URI_V4"] for entry in world.driver.started
        }
        assert len(addresses) == 2

    task_world.run(tmp_path, scenario)


# ---- logs


def test_output_goes_to_the_log_stream_that_ecs_would_use(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        assert world.log(task) == []  # the stream is there before the first line
        for line in ("one", "", "두"):
            container.say(line)
        await until(lambda: world.log(task) == ["one", "두"])

    task_world.run(tmp_path, scenario)


def test_the_last_lines_are_logged_when_the_task_has_stopped(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.say("the end")
        container.exit(1)
        await world.status(task, "STOPPED")
        assert world.log(task) == ["the end"]

    task_world.run(tmp_path, scenario)


def test_a_line_above_the_size_limit_becomes_several_events(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.say("가" * 200_000)
        container.exit(0)
        await world.status(task, "STOPPED")
        found = world.log(task)
        assert "".join(found) == "가" * 200_000
        assert all(len(piece.encode()) <= 262_118 for piece in found)

    task_world.run(tmp_path, scenario)


def test_a_stream_keeps_its_latest_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mclass_tf.local.aws.kept_events.MOST_EVENTS", 3)

    async def scenario(world: World) -> None:
        task, container = await world.running()
        for batch in (("1", "2"), ("3", "4")):
            for line in batch:
                container.say(line)
            await until(lambda: batch[-1] in world.log(task))  # noqa: B023  it is called here
        assert world.log(task) == ["2", "3", "4"]

    task_world.run(tmp_path, scenario)


def test_a_container_keeps_running_when_its_log_group_is_deleted(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        world.applied.client("logs").delete_log_group(logGroupName=LOG_GROUP)
        container.say("lost")
        await asyncio.sleep(1.2)  # the batch is written
        assert task.last_status == "RUNNING"
        container.exit(0)
        await world.status(task, "STOPPED")

    task_world.run(tmp_path, scenario)


def test_the_driver_creates_the_log_group_on_request(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        options = {
            "awslogs-group": "/made/here",
            "awslogs-region": REGION,
            "awslogs-stream-prefix": "p",
            "awslogs-create-group": "true",
        }
        iam = world.applied.client("iam")
        iam.attach_role_policy(
            RoleName="mclass-execution", PolicyArn="arn:aws:iam::aws:policy/CloudWatchLogsFullAccess"
        )
        task, _ = await world.running(
            world.applied.container(logConfiguration={"logDriver": "awslogs", "options": options})
        )
        streams = world.applied.client("logs").describe_log_streams(logGroupName="/made/here")["logStreams"]
        assert [f"p/mclass-server/{task.id}"] == [stream["logStreamName"] for stream in streams]

    task_world.run(tmp_path, scenario)
