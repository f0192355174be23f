"""Runs a command as a shell does, and measures its time."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

_SHOWN = 2000  # characters of a failed command's output


@dataclass(frozen=True, kw_only=True)
class Took:
    """`wall` and `cpu` in seconds. `cpu` is user and system time of the command and of the children it waited for."""

    wall: float
    cpu: float

    def __add__(self, other: Took) -> Took:
        return Took(wall=self.wall + other.wall, cpu=self.cpu + other.cpu)


@dataclass(frozen=True, kw_only=True)
class Done:
    """The result of a command whose exit status was allowed."""

    took: Took
    stdout: str


class CommandFailedError(Exception):
    """A command ended with a status that makes its time meaningless."""


def run(
    argv: Sequence[str],
    *,
    folder: Path,
    env: Mapping[str, str],
    allowed: Sequence[int] = (0,),
    into: Path | None = None,
) -> Done:
    """Run `argv` to its end with output to files, as by `> plan.json`. `into` keeps standard output."""
    with (
        tempfile.TemporaryFile() as errors,
        tempfile.TemporaryFile() if into is None else into.open("w+b") as output,
    ):
        started = time.perf_counter()
        child = subprocess.Popen(
            argv, cwd=folder, env=dict(env), stdin=subprocess.DEVNULL, stdout=output, stderr=errors
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # including interrupts: the command must end before its folder is removed
            child.terminate()
            child.wait()
            raise
        wall = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        stdout = output.read().decode(errors="replace") if into is None else ""
        if child.returncode not in allowed:
            said = (errors.read().decode(errors="replace") or stdout)[-_SHOWN:]
            raise CommandFailedError(f"{' '.join(argv)} ended with {child.returncode}:\n{said}")
    return Done(took=Took(wall=wall, cpu=usage.ru_utime + usage.ru_stime), stdout=stdout)


def typical(runs: Sequence[Took]) -> Took:
    """Return the medians of several runs of the same command."""
    return Took(wall=median(run.wall for run in runs), cpu=median(run.cpu for run in runs))
