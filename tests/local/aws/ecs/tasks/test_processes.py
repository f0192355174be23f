"""Tasks that run as processes: what a fake driver cannot test."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from mclass_tf.local.aws.ecs.model.task import Task
from mclass_tf.local.containers.process import ProcessDriver
from tests.local import task_world
from tests.local.images import Blobs
from tests.local.in_process import REGION
from tests.local.task_world import PORT, World, until
from tests.local.tasks import answer

_SERVER = """
import http.server, json, os, signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"pid": os.getpid(), "region": os.environ["AWS_REGION"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        print("asked", flush=True)
print("up", flush=True)
http.server.HTTPServer((os.environ["MCLASS_HOST"], int(os.environ["MCLASS_PORT"])), Handler).serve_forever()
"""
_HOG = "import time; time.sleep(0.2); x = bytearray(400 * 1024 * 1024); time.sleep(60)"
_LABELS = {
    "mclass-tf.builder": "builtin",
    "mclass-tf.host-variable": "MCLASS_HOST",
    "mclass-tf.port-variable": "MCLASS_PORT",
}


def _play(folder: Path, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> None:
    """Run tasks as processes, from an image that contains only Python."""
    blobs = Blobs(folder)
    digest = blobs.make(labels=_LABELS)
    applied = task_world.apply()
    task_world.push(applied.account_id, blobs.blob(digest).read_text(), tag="python")
    task_world.run(
        folder,
        scenario,
        applied=replace(applied, digest=digest),
        speed=10,
        make_driver=lambda: ProcessDriver(home=folder, images=blobs),
    )


def _launch(world: World, script: str, **settings: Any) -> Task:
    return world.launch(world.applied.container(command=["-c", script], **settings))


async def _ask(task: Task) -> dict[str, Any]:
    assert task.interface is not None
    found: dict[str, Any] = json.loads(await answer(task.interface.ports[PORT], "/"))
    return found


def test_a_process_serves_logs_passes_its_health_check_and_exits(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        check = f"import urllib.request; urllib.request.urlopen('http://127.0.0.1:{PORT}/')"
        health = {"command": ["CMD", "python", "-c", check], "interval": 5, "timeout": 10}
        task = _launch(world, _SERVER, healthCheck=health)
        await world.status(task, "RUNNING")
        await until(lambda: "up" in world.log(task))
        assert (await _ask(task))["region"] == REGION
        await until(lambda: task.health_status == "HEALTHY")
        assert world.tasks.usage()[0][1].memory_bytes > 1_000_000
        world.stop(task)
        await world.status(task, "STOPPED")
        assert task.containers[0].exit_code == 0
        assert "asked" in world.log(task)

    _play(tmp_path, scenario)


def test_a_process_killed_from_outside_stops_its_task(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = _launch(world, _SERVER)
        await until(lambda: task.last_status == "RUNNING" and "up" in world.log(task))
        os.kill((await _ask(task))["pid"], signal.SIGKILL)
        await world.status(task, "STOPPED")
        assert task.stop_code == "EssentialContainerExited"
        assert (task.containers[0].exit_code, task.containers[0].reason) == (137, None)

    _play(tmp_path, scenario)


def test_a_process_above_its_memory_limit_is_killed_with_a_reason(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = _launch(world, _HOG, memory=128)
        await world.status(task, "STOPPED")
        assert task.containers[0].exit_code == 137
        assert task.containers[0].reason == "OutOfMemoryError: Container killed due to memory usage"

    _play(tmp_path, scenario)


def test_a_missing_command_cannot_be_started(tmp_path: Path) -> None:
    async def scenario(world: World) -> None:
        task = world.launch(world.applied.container(entryPoint=["/no/such/program"]))
        await world.status(task, "STOPPED")
        assert task.stop_code == "TaskFailedToStart"
        assert str(task.stopped_reason).startswith("CannotStartContainerError: ")

    _play(tmp_path, scenario)
