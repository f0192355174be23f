"""Builds the command lines of podman and docker, which differ in a few options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mclass_tf.local.containers.driver import MOST_PROCESSES, ContainerSpec, ContainerStartError
from mclass_tf.local.containers.variables import Variables

HOME = "mclass-tf.home"
_INSTANCE = "mclass-tf.instance"


@dataclass(frozen=True, kw_only=True)
class ContainerEngine:
    """`name` is podman or docker, `path` its program. `home` and `instance_id` label the containers."""

    name: str
    path: str
    home: str
    instance_id: str

    @property
    def is_podman(self) -> bool:
        return self.name == "podman"

    @property
    def repository(self) -> str:
        """Return the repository name of the images that this home has loaded."""
        return f"localhost/mclass-tf/{self.home}"

    def reference(self, manifest_digest: str) -> str:
        return f"{self.repository}:{manifest_digest.removeprefix('sha256:')}"

    def create(
        self,
        container: ContainerSpec,
        *,
        name: str,
        variables: Variables,
        variables_file: str,
        hosts: Mapping[str, str],
    ) -> tuple[str, ...]:
        """Return the command that creates the container without starting it.

        Each port is published on a free port of 127.0.0.1, because the container's own address is unreachable if the engine is
        rootless or runs in a virtual machine, as on macOS. The command line has no values of variables, because every user of the
        machine can read it (`Variables`).
        """
        entry_point = tuple(container.entry_point or ())
        options = [
            *("--name", name, "--pull", "never"),
            *("--label", f"{HOME}={self.home}", "--label", f"{_INSTANCE}={self.instance_id}"),
            *(word for key, value in container.labels.items() for word in ("--label", f"{key}={value}")),
            *(word for port in container.ports for word in ("--publish", f"127.0.0.1::{port}")),
            *(word for host, ip in hosts.items() for word in ("--add-host", f"{host}:{ip}")),
            *(word for path in container.writable_paths for word in ("--volume", _volume_path(path))),
            *("--env-file", variables_file),
            *(word for key in variables.inherited for word in ("--env", key)),
            *self._limits(container),
            *(("--user", container.user) if container.user else ()),
            *(("--workdir", container.working_directory) if container.working_directory else ()),
            *(("--init",) if container.has_init else ()),
            *(("--entrypoint", entry_point[0]) if entry_point else ()),
        ]
        command = (*entry_point[1:], *(container.command or ()))
        return (self.path, "create", *options, self.reference(container.manifest_digest), *command)

    def _limits(self, container: ContainerSpec) -> list[str]:
        options = [f"--pids-limit={MOST_PROCESSES}"]
        if container.memory_mib is not None:
            # The same limit with swap, because Fargate has no swap.
            options += [f"--memory={container.memory_mib}m", f"--memory-swap={container.memory_mib}m"]
        if container.cpu_units:
            options += [f"--cpu-shares={container.cpu_units}"]
        if container.is_root_read_only:
            options += ["--read-only"]
        if self.is_podman:
            options += ["--read-only-tmpfs=false", "--http-proxy=false"]
        return options

    def start(self, name: str) -> tuple[str, ...]:
        """Return the command that starts the container and forwards its output until it ends."""
        return (self.path, "start", "--attach", name)

    def signal(self, name: str, number: int) -> tuple[str, ...]:
        return (self.path, "kill", "--signal", str(number), name)

    def inspect(self, name: str) -> tuple[str, ...]:
        return (self.path, "container", "inspect", name)

    def execute(self, name: str, command: tuple[str, ...]) -> tuple[str, ...]:
        return (self.path, "exec", name, *command)

    def load(self, archive: str) -> tuple[str, ...]:
        return (self.path, "load", "--quiet", "--input", archive)

    def remove(self, *names: str) -> tuple[str, ...]:
        """Return the command that kills and removes containers and their anonymous volumes."""
        own = ("--time", "0") if self.is_podman else ()
        return (self.path, "rm", "--force", "--volumes", *own, *names)

    def containers(self) -> tuple[str, ...]:
        """Return the command that lists the containers of this home, including those of earlier instances."""
        return (self.path, "ps", "--all", "--quiet", "--filter", f"label={HOME}={self.home}")

    def images(self) -> tuple[str, ...]:
        """Return the command that lists the names of the images of this home."""
        reference = f"reference={self.repository}"
        return (self.path, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", reference)

    def remove_images(self, *names: str) -> tuple[str, ...]:
        return (self.path, "rmi", *names)

    def remove_all(self) -> tuple[str, ...]:
        """Return a single command that removes the containers of this instance, for the reaper to run."""
        label = f"label={_INSTANCE}={self.instance_id}"
        own = "--time 0" if self.is_podman else ""
        script = f'ids=$("$1" ps --all --quiet --filter "$2") && [ -n "$ids" ] && "$1" rm --force --volumes {own} $ids'
        return ("/bin/sh", "-c", script, "sh", self.path, label)

    def gateway(self) -> tuple[str, ...]:
        """Return the command that prints this machine's address on the container network, among blank lines."""
        ranges = ".Subnets" if self.is_podman else ".IPAM.Config"
        network = "podman" if self.is_podman else "bridge"
        return (
            self.path,
            "network",
            "inspect",
            network,
            "--format",
            f"{{{{range {ranges}}}}}{{{{.Gateway}}}} {{{{end}}}}",
        )

    def rootless(self) -> tuple[str, ...]:
        """Return the command that reports a rootless engine: it prints `true`, or a list that contains `rootless`."""
        field = ".Host.Security.Rootless" if self.is_podman else "json .SecurityOptions"
        return (self.path, "info", "--format", f"{{{{{field}}}}}")


def _volume_path(path: str) -> str:
    """Check the container path of an anonymous volume. With a colon, it would mount a folder of this machine."""
    if not path.startswith("/") or ":" in path:
        raise ContainerStartError(
            f"the path {path!r} of a mount is no absolute path of a container, without a colon"
        )
    return path
