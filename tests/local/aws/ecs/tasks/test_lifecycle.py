"""The lifecycle of a task, from PROVISIONING to STOPPED."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from mclass_tf.local.aws.ecs.model.runner import runner_holder
from mclass_tf.local.aws.ecs.tasks import spot
from tests.local import task_world
from tests.local.in_process import REGION
from tests.local.task_world import DEREGISTRATION_DELAY, PORT, World, until

_UP = ["PROVISIONING", "PENDING", "ACTIVATING", "RUNNING"]
_DOWN = ["DEACTIVATING", "STOPPING", "DEPROVISIONING", "STOPPED"]


def test_a_task_reaches_running_and_is_registered(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch()
        assert task.last_status == "PROVISIONING"
        await world.status(task, "RUNNING")
        interface = task.interface
        assert interface is not None
        assert interface.ports == {PORT: ("127.0.0.1", 20_000 + PORT)}
        found = world.live.interfaces.find(vpc_id=interface.vpc_id, private_ip=interface.private_ip)
        assert interface == found
        assert [interface.private_ip] == [address for address, _ in world.targets()]
        assert task.is_registered
        assert task.started_at is not None
        assert task.pull_started_at is not None
        assert task.pull_stopped_at is not None
        assert task.created_at <= task.pull_started_at <= task.pull_stopped_at <= task.started_at

    task_world.run(tmp_path, scenario)


def test_a_task_passes_through_every_status_in_order(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        seen = ["PROVISIONING"]
        task = world.launch()

        def note(topic: str) -> None:
            if topic == "ecs" and seen[-1] != task.last_status:
                seen.append(task.last_status)

        world.live.listen(note)
        await world.status(task, "RUNNING")
        world.stop(task)
        await world.status(task, "STOPPED")
        assert seen == _UP + _DOWN
        times = (task.stopping_at, task.execution_stopped_at, task.stopped_at)
        assert list(times) == sorted(time for time in times if time is not None)

    task_world.run(tmp_path, scenario)


def test_the_scheduler_drains_a_task_before_it_gets_sigterm(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        loop = asyncio.get_running_loop()
        world.stop(task, reason="Scaling activity initiated by (deployment ecs-svc/1)")
        assert task.desired_status == "STOPPED"
        await until(lambda: task.is_draining)
        began = loop.time()
        assert task.last_status == "DEACTIVATING"
        assert not task.is_registered
        assert [state for _, state in world.targets()] == ["draining"]
        assert container.signals == []
        await until(lambda: container.signals == ["SIGTERM"])
        assert loop.time() - began >= 0.9 * world.live.clock.real(DEREGISTRATION_DELAY)
        await world.status(task, "STOPPED")
        assert task.stop_code == "ServiceSchedulerInitiated"
        assert task.stopped_reason == "Scaling activity initiated by (deployment ecs-svc/1)"
        assert task.containers[0].exit_code == 143

    task_world.run(tmp_path, scenario, speed=40)


def test_stop_task_sends_sigterm_while_requests_still_come(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.ignores_sigterm = True
        world.stop(task, code="UserInitiated", reason="Task stopped by user", drain=False)
        await until(lambda: container.signals == ["SIGTERM"])
        assert task.is_registered
        await until(lambda: not task.is_registered)
        container.exit(0)
        await world.status(task, "STOPPED")
        assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "Task stopped by user")
        assert task.containers[0].exit_code == 0

    task_world.run(tmp_path, scenario, speed=10)


def test_a_container_that_ignores_sigterm_is_killed_after_stop_timeout(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running(world.applied.container(stopTimeout=1))
        container.ignores_sigterm = True
        loop = asyncio.get_running_loop()
        world.stop(task, drain=False)
        await until(lambda: container.signals == ["SIGTERM"])
        began = loop.time()
        await world.status(task, "STOPPED")
        assert container.signals == ["SIGTERM", "SIGKILL"]
        assert (
            loop.time() - began >= 0.9
        )  # stopTimeout is the container's own time: the clock does not scale it
        assert task.containers[0].exit_code == 137

    task_world.run(tmp_path, scenario)


def test_an_essential_container_that_exits_ends_the_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        sidecar = world.applied.container(name="sidecar", portMappings=[])
        task, _ = await world.running(world.applied.container(), sidecar)
        world.driver.named("mclass-server").exit(1)
        await world.status(task, "STOPPED")
        assert task.stop_code == "EssentialContainerExited"
        assert task.stopped_reason == "Essential container in task exited"
        assert {container.name: container.exit_code for container in task.containers} == {
            "mclass-server": 1,
            "sidecar": 143,
        }
        assert not task.is_registered
        assert [state for _, state in world.targets()] == ["draining"]

    task_world.run(tmp_path, scenario)


def test_a_task_whose_process_is_killed_from_outside_has_exit_code_137(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.exit(137)
        await world.status(task, "STOPPED")
        assert task.stop_code == "EssentialContainerExited"
        assert (task.containers[0].exit_code, task.containers[0].reason) == (137, None)

    task_world.run(tmp_path, scenario)


def test_a_container_that_exceeds_its_memory_has_a_reason(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.exit(137, is_out_of_memory=True)
        await world.status(task, "STOPPED")
        assert task.stopped_reason == "Essential container in task exited"
        assert task.containers[0].exit_code == 137
        assert task.containers[0].reason == "OutOfMemoryError: Container killed due to memory usage"

    task_world.run(tmp_path, scenario)


def test_a_container_that_is_not_essential_may_end(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running(
            world.applied.container(),
            world.applied.container(name="init", essential=False, portMappings=[]),
        )
        world.driver.named("init").exit(0)
        await until(lambda: task.containers[1].last_status == "STOPPED")
        assert task.last_status == "RUNNING"
        assert task.desired_status == "RUNNING"

    task_world.run(tmp_path, scenario)


def test_a_draining_task_whose_process_dies_is_not_waited_for(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        world.stop(task)
        await until(lambda: task.is_draining)
        container.exit(137)
        await world.status(task, "STOPPED")
        assert container.signals == []
        assert task.stop_code == "ServiceSchedulerInitiated"

    task_world.run(tmp_path, scenario, speed=1)


def test_the_first_stop_request_determines_the_reason(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running()
        world.stop(task, code="UserInitiated", reason="first", drain=False)
        world.stop(task, code="ServiceSchedulerInitiated", reason="second")
        await world.status(task, "STOPPED")
        assert (task.stop_code, task.stopped_reason) == ("UserInitiated", "first")

    task_world.run(tmp_path, scenario)


def test_a_task_is_stopped_while_it_pulls(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.driver.pull_gate.clear()
        task = world.launch()
        await until(lambda: task.pull_started_at is not None)
        world.stop(task)
        await world.status(task, "STOPPED")
        assert world.driver.started == []
        assert task.containers[0].exit_code is None
        assert world.targets() == []

    task_world.run(tmp_path, scenario)


def test_a_starting_container_is_stopped_too(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        world.driver.start_gate.clear()
        task = world.launch()
        await until(lambda: task.containers[0].runtime_id != "")
        world.stop(task, code="UserInitiated", reason="Task stopped by user", drain=False)
        await asyncio.sleep(0)
        world.driver.start_gate.set()
        await world.status(task, "STOPPED")
        assert [container.signals for container in world.driver.started] == [["SIGTERM"]]
        assert task.stopped_reason == "Task stopped by user"

    task_world.run(tmp_path, scenario)


def test_a_spot_interruption_sends_sigterm_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        monkeypatch.setattr(runner_holder, "runner", world.tasks)
        strategy = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
        settings = {**world.applied.launch().settings, "capacityProviderStrategy": strategy}
        task, container = await world.running(settings=settings)
        container.ignores_sigterm = True
        assert spot.interrupt(account_id=world.applied.account_id, region=REGION, task=task.arn) is task
        await until(lambda: container.signals == ["SIGTERM"])
        assert task.is_registered
        container.exit(143)
        await world.status(task, "STOPPED")
        assert task.stop_code == "SpotInterruption"
        assert task.stopped_reason == "Your Spot Task was interrupted."

    task_world.run(tmp_path, scenario, speed=10)


def test_a_task_on_fargate_is_never_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(world: World) -> None:
        monkeypatch.setattr(runner_holder, "runner", world.tasks)
        task, _ = await world.running()
        account = world.applied.account_id
        with pytest.raises(ValueError, match="runs on FARGATE, which is never interrupted"):
            spot.interrupt(account_id=account, region=REGION, task=task.id)
        with pytest.raises(ValueError, match="no task nothing runs"):
            spot.interrupt(account_id=account, region=REGION, task="nothing")

    task_world.run(tmp_path, scenario)


def test_a_bug_of_the_local_aws_stops_the_task_and_is_reported(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def fail(manifest_digest: str) -> None:
            raise ZeroDivisionError("oh")

        world.driver.pull = fail  # type: ignore[method-assign]
        task = world.launch()
        await world.status(task, "STOPPED")
        assert task.stop_code == "TaskFailedToStart"
        assert task.stopped_reason == "InternalError: ZeroDivisionError: oh"
        assert [problem.split(": ", 1)[1] for problem in world.live.problems] == ["ZeroDivisionError: oh"]

    task_world.run(tmp_path, scenario)


def test_a_task_stops_although_a_container_cannot_be_stopped(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        async def fail() -> None:
            raise ZeroDivisionError("oh")

        task, container = await world.running()
        container.terminate = fail  # type: ignore[method-assign]
        world.stop(task)
        await world.status(task, "STOPPED")
        assert len(world.live.problems) == 1
        interface = task.interface
        assert interface is not None
        assert world.live.interfaces.find(vpc_id=interface.vpc_id, private_ip=interface.private_ip) is None

    task_world.run(tmp_path, scenario)


def test_tasks_die_with_the_local_aws(tmp_path: Path) -> None:
    worlds: list[World] = []

    async def scenario(world: World) -> None:
        worlds.append(world)
        await world.running()

    task_world.run(tmp_path, scenario)
    assert worlds[0].driver.is_closed


def test_the_usage_of_running_tasks_is_reported(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, _ = await world.running()
        found = world.tasks.usage()
        assert [(task, 50_000_000, 1.5)] == [
            (entry, usage.memory_bytes, usage.cpu_seconds) for entry, usage in found
        ]
        world.stop(task)
        await world.status(task, "STOPPED")
        assert world.tasks.usage() == []

    task_world.run(tmp_path, scenario)


def test_stopped_tasks_are_described_for_an_hour(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task, container = await world.running()
        container.exit(0)
        await world.status(task, "STOPPED")
        account = world.applied.account_id
        await until(lambda: world.tasks.all(account, REGION) == [task])
        assert world.tasks.all("999999999999", REGION) == []
        world.live.clock.speed = 1e9  # an hour is over at once
        await until(lambda: world.tasks.all(account, REGION) == [])

    task_world.run(tmp_path, scenario)
