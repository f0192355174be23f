"""Run one command line: every error becomes an exit code here, and nowhere else."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mclass_tf import process
from mclass_tf.cli.grammar import parser
from mclass_tf.cli.outcome import Outcome, show
from mclass_tf.errors import InterruptedByUserError, MclassError

if TYPE_CHECKING:
    from mclass_tf.cli.call import Call


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    arguments = parser().parse_args(argv)
    failed = partial(Outcome.failed, use_local=arguments.local)
    try:
        with process.interruptible():
            outcome = _run(arguments)
    except MclassError as error:
        outcome = failed(error)
    except KeyboardInterrupt:
        outcome = failed(InterruptedByUserError("interrupted", hint="nothing more was started"))
    except Exception as error:  # the one place where the unexpected ends
        if os.environ.get("MCLASS_TF_DEBUG"):
            raise
        bug = f"{type(error).__name__}: {error}"
        outcome = failed(MclassError(bug, hint="this is a bug; MCLASS_TF_DEBUG=1 shows where"))
    try:
        show(outcome, as_json=arguments.json)
    except BrokenPipeError:
        # Whoever read our output has gone; Python would complain again at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return outcome.exit_code


def _run(arguments: argparse.Namespace) -> Outcome:
    from mclass_tf.cli.call import Call, Reporter  # noqa: PLC0415  # --help needs none of it
    from mclass_tf.session import Project  # noqa: PLC0415

    project = Project.find(os.environ, Path(arguments.project))
    run: Callable[[Call], Outcome] = arguments.run
    return run(Call(arguments=arguments, project=project, reporter=Reporter()))
