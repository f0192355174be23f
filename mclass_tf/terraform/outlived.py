"""Messages about a Terraform that outlived the command that started it."""

from __future__ import annotations

import shlex
from pathlib import Path

from mclass_tf.errors import StillRunningError
from mclass_tf.system.runs import Run
from mclass_tf.terraform import messages


def still_running(run: Run, *, environment: str, output: Path) -> StillRunningError:
    """Return the error for a command that must wait for `run`; `output` is the file that `run` writes."""
    who = f"process {run.pid}" if run.pid else "its process id is not known"
    by_id = (
        f"`while kill -0 {run.pid}; do sleep 1; done`, or have it stop in order: `kill -INT {run.pid}`; then run this again"
        if run.pid
        else f"it has ended when nothing has {shlex.quote(str(output))} open; then run this again"
    )
    return StillRunningError(
        f"terraform {run.what} of {environment} has outlived its command and is still running ({who}, since {run.since})",
        hint=f"wait for it, since it writes its state at the end: {by_id}",
        pid=run.pid,
    )


def ended(run: Run, *, environment: str, state: str) -> str:
    """Return how an apply ended whose command was killed, in words; `state` describes the current state."""
    began = f"the command that applied {environment} (since {run.since}) was killed"
    if not run.group and not run.stdout:
        return f"{began} before Terraform began: nothing was applied; {state}"
    end = messages.end_of_apply(run.stdout, run.stderr)
    if end is None:
        return (
            f"{began}, and so was Terraform in the middle of its work: what it made last may be missing in the state; {state}. "
            f"What the next plan wants to create and AWS says exists already: `terraform import` it"
        )
    return f"{began}; Terraform went on to its end, and {end}; {state}"
