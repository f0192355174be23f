"""podman and buildah with their own store, configured for machines without systemd and with low container limits."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 60  # seconds that a test waits at most
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"

[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
"""
_STORAGE = """
[storage]
driver = "{driver}"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""


@dataclass(frozen=True, kw_only=True)
class Podman:
    """Builds and runs images. Images, containers and credentials are below `folder`, and disappear with it."""

    folder: Path

    @property
    def env(self) -> Mapping[str, str]:
        """Environment variables that make all containers tools use this store."""
        return {
            "CONTAINERS_CONF": str(self.folder / "containers.conf"),
            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
            "REGISTRY_AUTH_FILE": str(self.folder / "auth.json"),
        }

    def run(self, *command: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            env={**os.environ, **self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str) -> str:
        done = self.run("podman", *arguments)
        assert done.returncode == 0, (
            f"podman {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout.strip()

    @contextmanager
    def running(self, image: str, **env: str) -> Iterator[Container]:
        """Run the image as in the task definition; yield when the service listens."""
        name = self(
            *("run", "--detach", "--publish", "127.0.0.1::3000"),
            *("--read-only", "--read-only-tmpfs=false", "--user", "10001:10001"),
            *(word for key, value in env.items() for word in ("--env", f"{key}={value}")),
            image,
        )
        try:
            container = Container(podman=self, name=name, url=f"http://{self('port', name, '3000/tcp')}")
            container.logged("listening")
            yield container
        finally:
            self("rm", "--force", "--time", "0", "--volumes", name)


@contextmanager
def store() -> Iterator[Podman]:
    """An empty store, removed at the end."""
    # podman's run root may have at most 50 characters; pytest's folders are longer.
    folder = Path(tempfile.mkdtemp(prefix="mclass-"))
    podman = Podman(folder=folder)
    try:
        (folder / "containers.conf").write_text(_CONTAINERS)
        (folder / "auth.json").write_text("{}")
        for driver in ("overlay", "vfs"):  # the second if the first fails, as inside of a container
            (folder / "storage.conf").write_text(_STORAGE.format(driver=driver, folder=folder))
            if podman.run("podman", "info").returncode == 0:
                break
        yield podman
    finally:
        podman.run("podman", "rm", "--all", "--force", "--time", "0")
        _unmount(folder)
        shutil.rmtree(folder)  # up to a gigabyte, and pytest would keep three


def _unmount(folder: Path) -> None:
    """Unmount what a killed podman has left mounted, the innermost first."""
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for place in sorted((place for place in mounts if place.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", place], check=False)


@dataclass(frozen=True, kw_only=True)
class Container:
    """A running container of the service; `url` reaches its port 3000."""

    podman: Podman
    name: str
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE)

    def run(self, *command: str) -> str:
        return self.podman("exec", self.name, *command)

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.podman("logs", self.name).splitlines()]

    def logged(self, message: str) -> dict[str, Any]:
        """Wait for the record."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for record in self.log():
                if record["message"] == message:
                    return record
            assert time.monotonic() < deadline, f"no {message!r} in {self.log()}"

    def exit_code(self) -> int:
        """Wait for the end."""
        return int(self.podman("wait", self.name))
