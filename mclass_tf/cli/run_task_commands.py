"""The command `run ENV -- CMD`: run CMD once, in the image that serves."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any, TextIO

from mclass_tf import flows, terminal
from mclass_tf.cli.call import Call, open_environment
from mclass_tf.cli.outcome import CommandOutcome


def run(call: Call) -> CommandOutcome:
    session = open_environment(call, call.arguments.environment)
    # With --json, standard output is reserved for the document.
    stream = sys.stderr if call.arguments.json else sys.stdout
    ran = flows.run_command(
        session, call.arguments.argv, show=partial(_show, stream), timeout=call.arguments.timeout
    )
    document = run_document(ran)
    error = ran.finished.error
    if error is None:
        exit_code = ran.finished.exit_code or 0
        session.report(f"the command exited with {exit_code}{_why(ran)}")
        return CommandOutcome(document=document, exit_code=exit_code)
    failed = CommandOutcome.failed(error, use_local=session.cloud.is_local)
    return replace(failed, document={**document, **failed.document})


def run_document(ran: flows.RunResult) -> dict[str, Any]:
    finished = ran.finished
    return {
        "environment": ran.environment,
        "digest": ran.digest,
        "task": finished.task_arn or None,
        "exit_code": finished.exit_code,
        "stopped_reason": finished.stopped_reason,
        "log_stream": finished.log and finished.log.name,
    }


def _why(ran: flows.RunResult) -> str:
    """Return ECS's reason for the container's exit, such as that it ran out of memory, or ""."""
    reason = ran.finished.container_reason
    return f": {reason}" if reason else ""


def _show(stream: TextIO, line: str) -> None:
    # A closed pipe (`| head`) must not stop the work.
    with suppress(OSError):
        print(terminal.safe(line), file=stream, flush=True)
