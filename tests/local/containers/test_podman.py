"""Real images run as containers, by podman."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from mclass_tf.local.containers.choice import DelegatingDriver
from mclass_tf.local.containers.driver import (
    CHECK_TIMED_OUT,
    MOST_PROCESSES,
    ContainerStartError,
    RunningContainer,
)
from mclass_tf.local.http.server import Reply, Server
from tests.commands import ROOT
from tests.image.base_image import archive
from tests.image.podman import Podman, store
from tests.local.images import TAR, Blobs, app_image
from tests.local.tasks import PATIENCE, Stage, answer, ended
from tests.need import absent, need

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("podman")]
FOREVER = ("sh", "-c", "trap 'exit 3' TERM; echo up; while :; do sleep 0.1; done")


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    need("podman", "runc", "debootstrap")
    if os.geteuid() != 0:
        absent("podman", why="containers with a store of their own need root here: sudo")
    with store() as made:
        yield made


@pytest.fixture(scope="module")
def blobs(podman: Podman, tmp_path_factory: pytest.TempPathFactory) -> Blobs:
    return Blobs(tmp_path_factory.mktemp("blobs"))


@pytest.fixture(scope="module")
def digest(blobs: Blobs) -> str:
    """The app on an operating system, like an image of the Dockerfile, but without its slow build."""
    image = app_image()
    blobs.take(image)
    manifest = json.loads(blobs.blob(image.digest).read_bytes())
    config = json.loads(blobs.blob(manifest["config"]["digest"]).read_bytes())
    base = archive()
    with base.open("rb") as file:
        below = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    blobs.blob(below).symlink_to(base)
    config["config"]["Labels"] = {}
    config["rootfs"]["diff_ids"].insert(0, below)
    config["history"].insert(0, {"created_by": "base"})
    data = json.dumps(config).encode()
    manifest["config"].update(digest=blobs.add(data), size=len(data))
    manifest["layers"].insert(0, {"mediaType": TAR, "digest": below, "size": base.stat().st_size})
    return blobs.add(json.dumps(manifest).encode())


@asynccontextmanager
async def containers(folder: Path, blobs: Blobs, podman: Podman) -> AsyncIterator[Stage]:
    before = {name: os.environ.get(name) for name in podman.env}
    os.environ.update(podman.env)
    driver = DelegatingDriver(
        home=folder, images=blobs, instance_id=folder.name, url=_URL, serve_task=_serve_task
    )
    try:
        yield Stage(driver=driver, blobs=blobs, home=folder)
    finally:
        await driver.close()
        for name, value in before.items():
            os.environ.pop(name)
            os.environ.update({} if value is None else {name: value})


async def killed(running: RunningContainer) -> tuple[int, bool]:
    await running.kill()
    return await ended(running)


_URL = "http://127.0.0.1:9"  # of the local AWS, which containers reach only through their own listeners


def _serve_task(listener: socket.socket, task_id: str) -> Server:
    """A local AWS with only a task metadata endpoint."""

    def answer(environ: dict[str, Any]) -> Reply:
        name = f"{environ['HTTP_HOST'].partition(':')[0]}-{task_id}{environ['PATH_INFO'].replace('/', '-')}"
        return Reply(status=200, body=json.dumps({"TaskARN": f"arn:aws:ecs:r:1:task/c/{name}"}).encode())

    task_server = Server(listener=listener, app=answer)
    task_server.timeout = 0
    return task_server


def test_the_app_runs_as_the_task_definition_has_it(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    env = {
        "MCLASS_LAME_DUCK_SECONDS": "0",
        "ECS_CONTAINER_METADATA_URI_V4": f"{_URL}/v4/one",
        "PATH_OF": "1",
        "SEVERAL": "a\nb",
        "HOME": "/tmp",
    }

    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            running, output = await stage.start(
                digest,
                env=env,
                ports=[3000],
                memory_mib=256,
                user="10001:10001",
                is_root_read_only=True,
                writable_paths=["/tmp"],
                labels={"some": "label's"},
            )
            document = json.loads(await answer(running.addresses[3000], "/"))
            assert document["service"] == "mclass-server"
            assert document["task"] == "aws.localhost-t-v4-one-task"
            assert running.usage().memory_bytes > 1 << 20
            code = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:3000/health').status)"
            assert await running.run_check(["CMD", "python", "-c", code], seconds=60) == (0, "200\n")
            line = 'touch /tmp/x && id -u && echo "$SEVERAL $HOME" && ! touch /x 2>/dev/null && exit 9'
            assert await running.run_check(["CMD-SHELL", line], seconds=60) == (9, "10001\na\nb /tmp\n")
            assert (await running.run_check(["CMD", "sleep", "60"], seconds=0.5))[0] == CHECK_TIMED_OUT
            await running.terminate()
            assert await ended(running) == (0, False)
            assert json.loads(output.lines[-1])["message"] == "ended"

    asyncio.run(run())
    assert podman("ps", "--all", "--quiet") == ""
    assert podman("volume", "ls", "--quiet") == ""
    assert podman("images", "--quiet") == ""


def test_it_ends_as_it_should(tmp_path: Path, blobs: Blobs, digest: str, podman: Podman) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            running, output = await stage.start(digest, entry_point=FOREVER)
            await output.line("up")
            await running.terminate()
            assert await ended(running) == (3, False)

            running, output = await stage.start(digest, entry_point=FOREVER)
            await output.line("up")
            assert await killed(running) == (137, False)
            await running.terminate()
            await running.kill()

            running, output = await stage.start(
                digest, entry_point=("sh", "-c"), command=("echo out; echo err >&2; exit 7",)
            )
            assert await ended(running) == (7, False)
            assert sorted(output.lines) == ["err", "out"]

            with pytest.raises(
                ContainerStartError, match='exec: "no-such-program": executable file not found'
            ):
                await stage.start(digest, entry_point=("no-such-program",))

    asyncio.run(run())


def _showing(blobs: Blobs, digest: str) -> str:
    """The image with an entry point and a command that print their arguments."""
    manifest = json.loads(blobs.blob(digest).read_bytes())
    config = json.loads(blobs.blob(manifest["config"]["digest"]).read_bytes())
    config["config"].update(Entrypoint=["echo", "entry"], Cmd=["image's"])
    data = json.dumps(config).encode()
    manifest["config"].update(digest=blobs.add(data), size=len(data))
    return blobs.add(json.dumps(manifest).encode())


def test_the_command_is_the_images_unless_the_container_has_another(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            showing = _showing(blobs, digest)
            for more, told in (
                ({}, "entry image's"),
                ({"command": ["own"]}, "entry own"),
                ({"entry_point": ["echo", "other"]}, "other"),
                ({"entry_point": ["echo", "other"], "command": ["-x", "own"]}, "other -x own"),
                ({"entry_point": [""], "command": ["echo", "alone"]}, "alone"),
            ):
                running, output = await stage.start(showing, **more)
                assert await ended(running) == (0, False)
                assert output.lines == [told]

    asyncio.run(run())


def test_more_memory_than_the_limit_ends_it(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            running, _ = await stage.start(
                digest, env={"MCLASS_FAULT_LEAK_MIB_PER_SECOND": "30"}, memory_mib=96
            )
            assert await ended(running) == (137, True)

    asyncio.run(run())


PARENT = """
import asyncio, sys
from pathlib import Path
from tests.local.images import Blobs
from tests.local.tasks import Output
from mclass_tf.local.containers.choice import DelegatingDriver
from mclass_tf.local.containers.driver import ContainerSpec

class Server:

    def __init__(self, listener, task_id):
        self.timeout, self._listener = 0, listener

    def handle_request(self):
        pass

    def server_close(self):
        self._listener.close()

async def main(home, blobs, digest):
    images = Blobs(Path(blobs))
    driver = DelegatingDriver(home=Path(home), images=images, instance_id="killed", url="http://127.0.0.1:9", serve_task=Server)
    container = ContainerSpec(name="web", task_id="t", manifest_digest=digest, environment={}, output=Output())
    running = await driver.start(container)
    print("up", flush=True)
    await running.wait()

asyncio.run(main(*sys.argv[1:]))
"""


def test_containers_end_with_the_server_that_is_killed(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path), str(blobs.folder), digest],
        cwd=ROOT,
        env={**os.environ, **podman.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline() == "up\n"
        assert podman("ps", "--quiet") != ""
        parent.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    while podman("ps", "--all", "--quiet"):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_what_an_earlier_instance_left_is_removed_and_nobody_elses(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    home = hashlib.sha256(str(tmp_path.resolve()).encode()).hexdigest()[:12]

    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            await stage.driver.pull(digest)
            image = f"localhost/mclass-tf/{home}:{digest.removeprefix('sha256:')}"
            for name in (home, "another"):
                podman("create", "--name", name, "--label", f"mclass-tf.home={name}", image, "true")
        assert podman("ps", "--all", "--format", "{{.Names}}") == "another"

    try:
        asyncio.run(run())
    finally:
        podman("rm", "--all", "--force")


_SECRETS = {
    "SSH_PRIVATE_KEY": "-----BEGIN\nsecret of ssh\n-----END",
    "DOCKER_AUTH": '{"auths": {"x": "secret of docker"}}',
    "CONTAINER_TOKEN": " secret of container ",
    "CONTAINERS_CONF": "/secret/of/containers",
    "LANGUAGE_KEY": "secret of lang # not a comment",
    "HOME": "/tmp/secret",
    "LD_PRELOAD": "",
    "EMPTY": "",
    "QUOTED": "\"secret\" 'of' quotes \\n $HOME",
    "HANGUL": "비밀 🔑",
    "lower.with-dots": "secret of dots",
}


def test_variables_reach_a_container_as_they_are_and_no_command_line(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    """Including variables that configure podman itself."""
    code = "import json, os; print(json.dumps(dict(os.environ)), flush=True); import time; time.sleep(1000)"

    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            lines = _command_lines()
            running, output = await stage.start(
                digest, env=_SECRETS, entry_point=("python", "-c"), command=(code,)
            )
            found = json.loads(await output.line(""))
            assert found | _SECRETS == found
            assert not [line for line in lines() if "secret" in line]
            assert list((tmp_path / "tasks" / "podman").glob("*.env")) == []
            await running.kill()
            await ended(running)

    asyncio.run(run())


def _command_lines() -> Callable[[], list[str]]:
    """Collect all command lines of this machine until stopped."""
    seen: set[str] = set()
    over = threading.Event()

    def look() -> None:
        while not over.is_set():
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    seen.add(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))

    looking = threading.Thread(target=look)
    looking.start()

    def stop() -> list[str]:
        over.set()
        looking.join()
        return [line for line in seen if "json.dumps(dict" not in line]

    return stop


def test_a_path_of_a_mount_is_no_way_to_this_machine(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            for path in (f"{tmp_path}:/host", "/etc:/host:rw", "relative"):
                with pytest.raises(ContainerStartError, match="mount"):
                    await stage.start(digest, writable_paths=[path])
        assert podman("ps", "--all", "--quiet") == ""

    asyncio.run(run())


def test_a_door_is_closed_when_its_container_has_ended(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            url = {"AWS_ENDPOINT_URL": _URL, "OTHER": "http://127.0.0.1:5432/"}
            ports = []
            for _ in range(2):
                script = "echo $AWS_ENDPOINT_URL $OTHER; sleep 1000"
                running, output = await stage.start(
                    digest, env=url, entry_point=("sh", "-c"), command=(script,)
                )
                endpoint, other = (await output.line("")).split()
                assert other == "http://127.0.0.1:5432/"  # in a container, that is itself
                ports.append((running, int(endpoint.rpartition(":")[2])))
            (first, closed), (_, kept) = ports
            assert {closed, kept} <= _listening()
            await first.kill()
            await ended(first)
            assert closed not in _listening()
            assert kept in _listening()

    asyncio.run(run())


def _listening() -> set[int]:
    found = psutil.Process().net_connections(kind="tcp")
    return {connection.laddr.port for connection in found if connection.status == psutil.CONN_LISTEN}


def test_a_container_has_so_many_processes_and_no_more(
    tmp_path: Path, blobs: Blobs, digest: str, podman: Podman
) -> None:
    async def run() -> None:
        async with containers(tmp_path, blobs, podman) as stage:
            running, _ = await stage.start(digest, entry_point=FOREVER)
            (name,) = podman("ps", "--format", "{{.Names}}").split()
            assert podman("inspect", "--format", "{{.HostConfig.PidsLimit}}", name) == str(MOST_PROCESSES)
            await running.kill()
            await ended(running)

    asyncio.run(run())
