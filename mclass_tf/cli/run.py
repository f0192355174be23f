"""Run one command line. Only this module turns errors into exit codes."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mclass_tf.cli.grammar import parser
from mclass_tf.cli.outcome import CommandOutcome, show_problem, show_result, unexpected
from mclass_tf.errors import ConfigurationError, InterruptedByUserError, MclassError, UsageError
from mclass_tf.system import process

if TYPE_CHECKING:
    from mclass_tf.cli.call import Call


def main(argv: Sequence[str]) -> int:
    """Run one command line; return its exit code."""
    try:
        arguments = parser().parse_args(argv)
    except UsageError as error:
        return _show(CommandOutcome.failed(error, use_local="--local" in argv), as_json="--json" in argv)
    failed = partial(CommandOutcome.failed, use_local=arguments.local)
    try:
        with process.interruptible():
            outcome = _run(arguments)
    except MclassError as error:
        outcome = failed(error)
    except KeyboardInterrupt:
        outcome = failed(InterruptedByUserError("interrupted", hint="nothing more was started"))
    except Exception as error:  # noqa: BLE001  (the only handler of unexpected errors)
        outcome = failed(unexpected(error))
    return _show(outcome, as_json=arguments.json)


def _show(outcome: CommandOutcome, *, as_json: bool) -> int:
    """Print the outcome; return the exit code, which is not 0 if standard output cannot be written."""
    exit_code = outcome.exit_code
    try:
        show_result(outcome, as_json=as_json)
    except OSError as error:
        # Python would flush again at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        # A reader that closed the pipe has read enough.
        if not isinstance(error, BrokenPipeError):
            exit_code = exit_code or ConfigurationError.exit_code
            outcome = replace(
                outcome, problem=f"standard output cannot be written: {error.strerror}\n{outcome.problem}"
            )
    with suppress(OSError):
        show_problem(outcome)
    return exit_code


def _run(arguments: argparse.Namespace) -> CommandOutcome:
    from mclass_tf.cli.call import Call, Reporter  # noqa: PLC0415  # --help does not need it
    from mclass_tf.session import Project  # noqa: PLC0415

    project = Project.find(os.environ, Path(arguments.project))
    run: Callable[[Call], CommandOutcome] = arguments.run
    return run(Call(arguments=arguments, project=project, reporter=Reporter()))
