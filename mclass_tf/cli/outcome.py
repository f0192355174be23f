"""The outcome of a command, and how to show it."""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mclass_tf import aws, terminal
from mclass_tf.errors import Hint, MclassError
from mclass_tf.system import machine


@dataclass(frozen=True, kw_only=True)
class CommandOutcome:
    """The outcome of a command: `text` for people, `document` for --json, `problem` for standard error.

    `is_exact` text is for a program, such as a shell, and is printed unchanged.
    """

    text: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    exit_code: int = 0
    is_exact: bool = False

    @classmethod
    def failed(
        cls, error: MclassError, *, use_local: bool, document: Mapping[str, Any] | None = None, text: str = ""
    ) -> CommandOutcome:
        """Return the outcome of a command that failed with `error`; a `document` replaces the description of the error."""
        hint = _spelled_out(error.hint, use_local=use_local)
        shown = {
            "type": type(error).__name__,
            "message": str(error),
            "hint": hint,
            "exit_code": error.exit_code,
        }
        return cls(
            text=text,
            document={"error": shown} if document is None else document,
            problem=_problem(str(error), hint),
            exit_code=error.exit_code,
        )


def _problem(message: str, hint: str) -> str:
    """Return the message and the next step. The message is untrusted: none of its lines may look like the next step."""
    what = terminal.hanging(message)
    return f"{what}\n  next: {terminal.hanging(hint)}" if hint else what


def unexpected(error: Exception) -> MclassError:
    """Return the error to show for an unexpected exception: a shortage of the machine, a refusal by AWS, or a bug."""
    if os.environ.get("MCLASS_TF_DEBUG"):
        raise error
    bug = MclassError(f"{type(error).__name__}: {error}", hint="this is a bug; MCLASS_TF_DEBUG=1 shows where")
    return machine.shortage(error) or aws.refusal(error) or bug


def _spelled_out(hint: Hint, *, use_local: bool) -> Hint:
    """Spell out the commands of a hint, so that they can be pasted and act in the same cloud."""

    def command_line(words: tuple[str, ...]) -> tuple[str, ...]:
        option = ("--local",) if use_local and words[0] != "local" else ()
        return ("python", "-m", "mclass_tf", *words, *option)

    return Hint(*(piece if isinstance(piece, str) else command_line(piece) for piece in hint.pieces))


def together(outcomes: Mapping[str, CommandOutcome]) -> CommandOutcome:
    """Join the outcomes of several environments; the exit code is the highest."""
    failed = {name: outcome for name, outcome in outcomes.items() if outcome.exit_code}
    problems = (textwrap.indent(f"{name}: {outcome.problem}", "  ") for name, outcome in failed.items())
    document: dict[str, Any] = {"environments": {name: o.document for name, o in outcomes.items()}}
    flags = [o.document["has_changes"] for o in outcomes.values() if "has_changes" in o.document]
    if flags:
        document["has_changes"] = any(flags)
    return CommandOutcome(
        text="\n\n".join(o.text for o in outcomes.values() if o.text),
        document=document,
        problem="\n".join([f"{len(failed)} of {len(outcomes)} environments failed", *problems])
        if failed
        else "",
        exit_code=max(outcome.exit_code for outcome in outcomes.values()),
    )


def show_result(outcome: CommandOutcome, *, as_json: bool) -> None:
    """Print the JSON document or the text on standard output."""
    if as_json:
        print(terminal.json_text(outcome.document, encoding=sys.stdout.encoding))
    elif outcome.text:
        print(outcome.text if outcome.is_exact else terminal.safe(outcome.text))
    sys.stdout.flush()


def show_problem(outcome: CommandOutcome) -> None:
    """Print the problem, if any, on standard error."""
    if outcome.problem:
        print(terminal.safe(f"error: {outcome.problem}"), file=sys.stderr)
