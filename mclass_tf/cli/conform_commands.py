"""The command that records the life of an environment, and compares two recordings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from mclass_tf import terminal
from mclass_tf.cli.call import Call, confirm, open_environment, require_terminal
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.cli.release_commands import report_above_progress, rollout_display
from mclass_tf.conformance import recording
from mclass_tf.conformance.compare import Difference, compare
from mclass_tf.conformance.recording import Recording
from mclass_tf.errors import Hint, UsageError, VerificationError
from mclass_tf.flows.conform.conform import Conformed
from mclass_tf.flows.conform.conform import conform as record
from mclass_tf.local.clock import FASTEST, SLOWEST

_DRAFT = ".part"


def conform(call: Call) -> CommandOutcome:
    """Record, or compare."""
    arguments = call.arguments
    if arguments.compare is not None:
        if arguments.environment is not None or arguments.out is not None:
            raise UsageError("--compare takes two recordings, and nothing else", hint="conform --compare A B")
        return _compared(*arguments.compare)
    if arguments.environment is None or arguments.out is None:
        raise UsageError("name an environment and a file", hint="conform ENV --out FILE")
    return _recorded(call, arguments.out)


def _recorded(call: Call, out: Path) -> CommandOutcome:
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        raise UsageError(f"{out} cannot be written", hint="name a file in a folder that exists")
    if not SLOWEST <= call.arguments.speed <= FASTEST:
        raise UsageError(
            f"a speed of {call.arguments.speed:g} is not possible", hint="choose one from 1 to 1000"
        )
    session = open_environment(call, call.arguments.environment)
    if not (call.arguments.yes or session.cloud.is_local):
        require_terminal("conform")
    live = rollout_display()
    session = report_above_progress(session, live)

    def agrees(what: str) -> bool:
        call.reporter.block(what)
        # The local AWS costs nothing, and is for this.
        return session.cloud.is_local or confirm(call, "Go on?")

    made = record(
        session, speed=call.arguments.speed, show=live.show, keep=partial(_write, out), confirm=agrees
    )
    document = _document(made, out)
    text = "\n".join(_summary(made, out, is_local=session.cloud.is_local))
    return CommandOutcome(text=text, document=document)


def _write(out: Path, made: Recording) -> None:
    """Write the file whole or not at all."""
    draft = out.with_name(f"{out.name}{_DRAFT}")
    draft.write_bytes(recording.encode(made))
    draft.replace(out)


def _summary(made: Conformed, out: Path, *, is_local: bool) -> Iterator[str]:
    chapters = made.recording.chapters
    entries = sum(len(chapter.entries) for chapter in chapters)
    yield f"recorded {len(chapters)} chapters with {entries} entries in {out}"
    for problem in made.problems:
        yield f"could not always be seen: {terminal.inline(problem)}"
    if not is_local:
        hours = f"{made.spent.hours:.1f} h, tasks {made.spent.task_hours:.1f} h"
        yield f"cost by list prices: ${made.spent.dollars:.2f} ({hours}); expected ${made.expected.dollars:.2f}"


def _document(made: Conformed, out: Path) -> dict[str, Any]:
    return {
        "recording": str(out.absolute()),
        "cloud": made.recording.cloud,
        "chapters": [
            {"name": chapter.name, "outcome": chapter.outcome, "seconds": chapter.seconds, "entries": len(chapter.entries)}
            for chapter in made.recording.chapters
        ],
        "cost": {"expected": round(made.expected.dollars, 2), "spent": round(made.spent.dollars, 2)},
        "problems": list(made.problems),
    }  # fmt: skip


def _compared(left: Path, right: Path) -> CommandOutcome:
    differences = compare(recording.read(left), recording.read(right))
    document = {
        "left": str(left),
        "right": str(right),
        "differences": [asdict(difference) for difference in differences],
    }
    if not differences:
        return CommandOutcome(text=f"{left} and {right} do not differ", document=document)
    error = VerificationError(
        f"the recordings {left} and {right} differ in {len(differences)} places",
        hint=Hint("docs/conformance.md says how to read each; ", ("conform", "--compare", str(left), str(right), "--json")),
    )  # fmt: skip
    failed = CommandOutcome.failed(error, use_local=False, text=_differences_text(differences))
    return replace(failed, document={**document, **failed.document})


def _differences_text(differences: Sequence[Difference]) -> str:
    lines: list[str] = []
    for chapter, some in groupby(differences, key=lambda difference: difference.chapter):
        lines.append(terminal.inline(chapter))
        for each in some:
            lines += [
                f"  {each.what}: {terminal.inline(each.entry)}",
                f"    left   {terminal.inline(each.left)}",
                f"    right  {terminal.inline(each.right)}",
                *([f"    source {terminal.inline(each.source)}"] if each.source else []),
            ]
    return "\n".join(lines)
