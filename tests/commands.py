"""Runs the command line in a process of its own, as a user does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from mclass_tf import local
from tests.time_limits import seconds_left
from tests.warm import CommandForker

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class CommandResult:
    """The result of a command."""

    status: int
    stdout: str
    stderr: str

    @property
    def document(self) -> Any:
        return json.loads(self.stdout)


@dataclass(frozen=True)
class CommandLine:
    """`python -m mclass_tf` on one project with its own home folder, as a user runs it."""

    project: Path
    home: Path
    env: Mapping[str, str] = field(default_factory=dict)

    def variables(self, **env: str) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "TF_VAR_"))}
        return {**kept, "MCLASS_TF_HOME": str(self.home), **self.env, **env}

    def argv(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "mclass_tf", "--project", str(self.project), *arguments]

    def run(self, *arguments: str, **env: str) -> CommandResult:
        """Run a command to its end, within the time left for the test."""
        seconds, variables, (_, _, _, *own) = seconds_left(), self.variables(**env), self.argv(*arguments)
        try:
            if not warm().differs(variables):
                return CommandResult(*warm().run(own, env=variables, seconds=seconds))
            done = subprocess.run(
                self.argv(*arguments),
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
            )
        except subprocess.TimeoutExpired as error:
            said = error.stderr or b""  # bytes, even in text mode
            raise AssertionError(
                f"{' '.join(arguments)}: has not ended within {seconds:.0f} s\n{said.decode(errors='replace')}"
            ) from None
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def ok(self, *arguments: str, **env: str) -> CommandResult:
        """Run a command that must succeed."""
        done = self.run(*arguments, **env)
        assert done.status == 0, f"{' '.join(arguments)}: exit {done.status}\n{done.stdout}\n{done.stderr}"
        return done

    def local_aws(self) -> local.LocalAws:
        """The running local AWS of this home folder."""
        running = local.status(home=self.home / "local")
        assert running is not None
        return running

    def shell_environment(self, environment: str) -> dict[str, str]:
        """The variables with which plain Terraform and any AWS client act on `environment` on the local AWS."""
        found: dict[str, str] = self.ok("local", "env", environment, "--json").document
        return {**self.variables(), **found}


@cache
def warm() -> CommandForker:
    """The process that commands are forked from."""
    return CommandForker()


def run_interrupted(commands: CommandLine, *arguments: str, at: str, **env: str) -> CommandResult:
    """Run a command, and interrupt it like Ctrl-C when a line of its progress contains `at`."""
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
        stdout, stderr = running.communicate(timeout=min(120, seconds_left()))
        return CommandResult(running.returncode, stdout, "".join(seen) + stderr)
