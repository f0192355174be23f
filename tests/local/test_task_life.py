"""The states of a task, and what happens in them."""

from __future__ import annotations

from pathlib import Path

from tests.local import task_world
from tests.local.task_world import PORT, World


def test_a_task_comes_to_run_and_is_registered(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch()
        assert task.last_status == "PROVISIONING"
        await world.status(task, "RUNNING")
        interface = task.interface
        assert interface is not None
        assert interface.ports == {PORT: ("127.0.0.1", 20_000 + PORT)}
        assert (
            world.live.interfaces.find(vpc_id=interface.vpc_id, private_ip=interface.private_ip) == interface
        )
        assert [interface.private_ip] == [address for address, _ in world.targets()]
        assert task.is_registered

    task_world.run(tmp_path, scenario)
