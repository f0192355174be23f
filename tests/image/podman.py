"""podman, with a store of its own, as it runs where there is neither systemd nor an overlay file system."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

PATIENCE = 60  # seconds until a test gives up on what it waits for
_LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@dataclass(frozen=True, kw_only=True)
class Podman:
    """Builds and runs; images and containers live below `store`, and vanish with it."""

    store: Path

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run(
            (
                *("podman", "--root", str(self.store / "root"), "--runroot", str(self.store / "run")),
                *("--storage-driver", "vfs", "--runtime", "runc", "--cgroup-manager", "cgroupfs"),
                *arguments,
            ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (
            f"podman {' '.join(arguments)}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stdout.strip()

    def build(self, context: Path, *, base: str, wheels: Path, tag: str, **arguments: str) -> str:
        """Build without any network, from `base` and `wheels`; return the manifest's digest."""
        given = {"BASE": base, "PIP_NO_INDEX": "1", **arguments}
        self(
            *("build", "--no-cache", "--network", "none", "--tag", tag, *_LIMITS),
            # vfs copies the whole image for each layer: none are kept on the way.
            *("--format", "oci", "--timestamp", "0", "--layers=false"),
            *("--build-context", f"wheels={wheels}"),
            *(word for name, value in given.items() for word in ("--build-arg", f"{name}={value}")),
            str(context),
        )
        return self("image", "inspect", "--format", "{{.Digest}}", tag)

    @contextmanager
    def running(self, image: str, **env: str) -> Iterator[Container]:
        """Run the image as the task definition does; enter when the service listens."""
        name = self(
            *("run", "--detach", *_LIMITS, "--log-driver", "k8s-file", "--publish", "127.0.0.1::3000"),
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
