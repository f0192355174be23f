"""What tests of every folder share: the command line in a process of its own, and environments that are applied."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Done:
    """How a command line ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class CommandLine:
    """`python -m mclass_tf` on one project with a home of its own, as a user runs it."""

    project: Path
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def variables(self, **env: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_VAR_"))}
        return {**kept, "MCLASS_TF_HOME": str(self.home), **self.env, **env}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "mclass_tf", "--project", str(self.project), *arguments]

    def run(self, *arguments: str, **env: str) -> Done:
        done = subprocess.run(
            self.argv(*arguments),
            env=self.variables(**env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=900,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, **env: str) -> Done:
        """Run what must succeed."""
        done = self.run(*arguments, **env)
        assert done.status == 0, f"{' '.join(arguments)}: exit {done.status}\n{done.stdout}\n{done.stderr}"
        return done

    def shell_environment(self, environment: str) -> dict[str, str]:
        """The variables with which plain Terraform and any AWS client act on `environment` on the local AWS."""
        found: dict[str, str] = self.ok("local", "env", environment, "--json").document
        return {**self.variables(), **found}


def pytest_configure() -> None:
    """Heed interrupts, and let children heed them: a shell that runs the tests in its background has both ignore them."""
    for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def interrupted(commands: CommandLine, *arguments: str, at: str, **env: str) -> Done:
    """Run a command and interrupt it, as Ctrl-C does, when a line of its progress holds `at`."""
    with subprocess.Popen(
        commands.argv(*arguments),
        env=commands.variables(**env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        seen = []
        for line in running.stderr or ():
            seen.append(line)
            if at in line:
                break
        running.send_signal(signal.SIGINT)
        stdout, stderr = running.communicate(timeout=120)
        return Done(running.returncode, stdout, "".join(seen) + stderr)


@dataclass(frozen=True)
class Applied:
    """dev and prod, planned, gated and applied on one local AWS."""

    commands: CommandLine

    def environment(self, name: str) -> Mapping[str, Any]:
        """Return the outputs of `name`."""
        outputs: Mapping[str, Any] = self.commands.ok("output", name, "--local", "--json").document
        return outputs

    def shell_environment(self, name: str) -> dict[str, str]:
        return self.commands.shell_environment(name)


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Applied]:
    """Both environments, applied. It takes a minute: tests that use it share a worker (xdist_group "applied")."""
    commands = CommandLine(project=ROOT, home=tmp_path_factory.mktemp("applied"))
    commands.ok("local", "up", "--port", "0")
    try:
        commands.ok("plan", "--all", "--local")
        commands.ok("apply", "--all", "--local")
        yield Applied(commands)
    finally:
        commands.ok("local", "down")
