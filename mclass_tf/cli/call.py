"""What commands share: opened environments, concurrent work, progress, questions to the user."""

from __future__ import annotations

import argparse
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache, partial

from mclass_tf import environment, terminal
from mclass_tf.cli.outcome import CommandOutcome, together, unexpected
from mclass_tf.errors import ConfigurationError, MclassError, UsageError
from mclass_tf.session import Project, Session, open_session
from mclass_tf.system import process
from mclass_tf.terraform import Engine, find_engine

_TERRAFORM_COMMANDS = frozenset({"apply", "destroy", "init", "plan", "release", "unlock"})
"""Commands that run Terraform. They wait for the Terraform of a dead command."""


class Reporter:
    """Reports progress on standard error, with the environment in front of each line if there are several."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def line(self, text: str, *, environment: str = "") -> None:
        """Report one event. Lines after the first are indented, so that no quoted line looks like ours."""
        self.block(terminal.hanging(text), environment=environment)

    def block(self, text: str, *, environment: str = "") -> None:
        """Show our own lines, such as a table. Quoted text in them must already be inline."""
        prefix = f"[{environment}] " if environment else ""
        lines = [prefix + part for part in terminal.safe(text).split("\n")]
        # A closed terminal or pipe must not stop the work.
        with self._lock, suppress(OSError):
            print("\n".join(lines), file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Call:
    """A parsed command line, and its project."""

    arguments: argparse.Namespace
    project: Project
    reporter: Reporter

    @property
    def names(self) -> tuple[str, ...]:
        known = environment.names(self.project.folder)
        if self.arguments.all:
            if self.arguments.environment is not None:
                raise UsageError("an environment and --all exclude each other")
            if not known:
                raise ConfigurationError(f"there is no environment in {self.project.folder / 'environments'}")
            return known
        if self.arguments.environment is None:
            raise UsageError(
                "name an environment, or add --all", hint=f"environments: {', '.join(known) or 'none'}"
            )
        return (self.arguments.environment,)


def open_environment(call: Call, name: str) -> Session:
    """Open an environment in the cloud that the command line names."""
    label = name if len(call.names) > 1 else ""
    session = open_session(
        call.project,
        name,
        use_local=call.arguments.local,
        engine=engine,
        report=partial(call.reporter.line, environment=label),
    )
    session.settle(waits=call.arguments.command in _TERRAFORM_COMMANDS)
    return session


@lru_cache(maxsize=1)
def engine() -> Engine:
    """Return the engine; find it once for all environments."""
    return find_engine(os.environ, run=process.run)


def each(call: Call, work: Callable[[str], CommandOutcome]) -> CommandOutcome:
    """Do `work` for each requested environment, at most --jobs at a time. A failure does not stop the others."""
    names = call.names
    if len(names) == 1:
        return work(names[0])
    use_local = call.arguments.local

    def caught(name: str) -> CommandOutcome:
        try:
            return work(name)
        except MclassError as error:
            return CommandOutcome.failed(error, use_local=use_local)
        except Exception as error:  # noqa: BLE001  (a bug in one environment must not hide the others)
            return CommandOutcome.failed(unexpected(error), use_local=use_local)

    with ThreadPoolExecutor(max_workers=min(call.arguments.jobs, len(names))) as pool:
        return together(dict(zip(names, pool.map(caught, names), strict=True)))


def confirm(call: Call, question: str) -> bool:
    """Ask on standard error; anything but yes is no. `--yes` answers yes."""
    if call.arguments.yes:
        return True
    print(f"{terminal.hanging(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def require_terminal(command: str, *, hint: str = "add --yes") -> None:
    """Raise UsageError with `hint` if nobody can answer a question."""
    if not sys.stdin.isatty():
        raise UsageError(f"{command} asks first, and standard input is not a terminal", hint=hint)
