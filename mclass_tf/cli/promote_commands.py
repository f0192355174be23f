"""The commands promote and history."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from mclass_tf import environment, flows, terminal
from mclass_tf.cli.call import Call, confirm, each, engine, open_environment, require_terminal
from mclass_tf.cli.live import RolloutDisplay
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.cli.release_commands import ask_what_now, rolled_out, show_plan
from mclass_tf.errors import PromotionRefusedError, RefusedError, UsageError
from mclass_tf.flows import Difference, PastAttempt, PromotionDisplay, Released
from mclass_tf.session import Session, evaluator, open_session

_WIDEST = 40
_SHORT = 19  # of a digest: sha256: and twelve digits


def promote(call: Call) -> CommandOutcome:
    names = path(call.arguments.path)
    try:
        _require_answer(call, names[1])
    except RefusedError as error:
        return _refused(names[1], error, use_local=call.arguments.local)
    source, session = (_open(call, name) for name in names)
    promoted: list[flows.Promoted] = []

    def work(target: Session, live: RolloutDisplay) -> Released:
        done = flows.promote(
            source,
            target,
            confirm=partial(confirm, call),
            shown=PromotionDisplay(
                rollout=live.show,
                plan=partial(show_plan, call, session),
                differences=partial(_show_differences, call, names),
            ),
            on_interrupt=partial(ask_what_now, live),
            pause_at=tuple(call.arguments.pause_at),
        )
        promoted.append(done)
        return done.released

    try:
        outcome = rolled_out(session, work)
    except RefusedError as error:
        return _refused(names[1], error, use_local=session.cloud.is_local)
    for done in promoted:
        more = {
            "promoted_from": done.origin and asdict(done.origin),
            "sent": done.sent,
            "findings": done.scan.to_document(),
        }
        outcome = replace(outcome, document={**outcome.document, **more})
    return outcome


def _require_answer(call: Call, name: str) -> None:
    """Raise PromotionRefusedError if the environment does not allow --yes, UsageError if nobody can answer."""
    loaded = environment.load(call.project.folder, name, evaluate=evaluator(engine, os.environ))
    if loaded.promotion.allow_yes:
        if not call.arguments.yes:
            require_terminal("promote")
        return
    settings = f"environments/{name}/{environment.SETTINGS}"
    if call.arguments.yes:
        raise PromotionRefusedError(
            f"{name} does not let --yes answer for a promotion; nothing was changed",
            hint=f"run it at a terminal without --yes, or set `allow_yes = true` under [promotion] of {settings}",
        )
    require_terminal("promote", hint=f"run it at a terminal: `allow_yes = false` in {settings}")


def _refused(name: str, error: RefusedError, *, use_local: bool) -> CommandOutcome:
    failed = CommandOutcome.failed(error, use_local=use_local)
    # A held lease has another attempt's digest, and the other refusals have none.
    digest = error.digest if isinstance(error, PromotionRefusedError) else ""
    refusal: dict[str, Any] = {
        "environment": name,
        "digest": digest,
        "outcome": "refused",
        "cause": str(error),
    }
    if isinstance(error, PromotionRefusedError) and error.findings:
        refusal["findings"] = list(error.findings)
    return replace(failed, document={**refusal, **failed.document})


def path(words: Sequence[str]) -> tuple[str, str]:
    """Return source and target, written as "dev prod", "dev→prod" or "dev->prod"."""
    text = " ".join(words).strip()
    names = [name for name in re.split(r"\s*(?:→|->)\s*|\s+", text) if name]
    # Unquoted, the shell turns dev->prod into "dev-", and dev -> prod into "dev" and "-".
    if text.endswith("-") and len([name for name in names if name != "-"]) == 1:
        raise UsageError(
            f"{text!r} names one environment: the shell has taken the > and written a file",
            hint="quote it: promote 'dev->prod', or write promote dev prod",
        )
    if len(names) != 2:  # noqa: PLR2004
        got = f"only {names[0]}" if len(names) == 1 else " ".join(names) or "neither"
        raise UsageError(
            f"promote needs FROM and TO; got {got}", hint="promote dev prod, or promote 'dev->prod'"
        )
    if names[0] == names[1]:
        raise UsageError(f"{names[0]} cannot be promoted to itself", hint="promote dev prod")
    return names[0], names[1]


def _open(call: Call, name: str) -> Session:
    return open_session(
        call.project,
        name,
        use_local=call.arguments.local,
        engine=engine,
        report=partial(call.reporter.line, environment=""),
    )


def _show_differences(call: Call, names: tuple[str, str], differences: Sequence[Difference]) -> None:
    call.reporter.block(differences_text(names, differences))


def differences_text(names: tuple[str, str], differences: Sequence[Difference]) -> str:
    """Return a table of the differences, a line for each value."""
    if not differences:
        return f"{names[0]} and {names[1]} are configured alike"
    rows = [
        ("", *names),
        *(_difference(each, each.name) for each in differences if each.what == "input"),
        *(_difference(each, f"output {each.name}") for each in differences if each.what == "output"),
    ]
    return "\n".join(f"  {line}" for line in _aligned(rows))


def _difference(difference: Difference, name: str) -> tuple[str, ...]:
    return (terminal.inline(name), *(_cut(value) for value in (difference.source, difference.target)))


def _cut(text: str) -> str:
    return terminal.cut(terminal.inline(text), _WIDEST)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, with aligned columns."""
    widths = [max(map(terminal.width, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(terminal.padded, row, widths)).rstrip() for row in rows]


def history(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        attempts = flows.history(open_environment(call, name), limit=call.arguments.limit)
        return CommandOutcome(text=history_text(name, attempts), document=history_document(name, attempts))

    return each(call, one)


def history_document(environment: str, attempts: Sequence[PastAttempt]) -> dict[str, Any]:
    return {
        "environment": environment,
        "attempts": [
            {
                "at": past.at.isoformat(),
                "kind": past.kind,
                "digest": past.digest,
                "revision": past.revision,
                "outcome": past.outcome,
                "step": past.step,
                "cause": past.cause,
                "verified": past.is_verified,
                "who": past.who,
                "seconds": past.seconds,
                "task_definition": past.task_definition_arn,
                "promoted_from": past.promoted_from and asdict(past.promoted_from),
                "record": past.record,
                "before": [
                    {"command": ran.command, "task": ran.task_arn or None, "exit_code": ran.exit_code}
                    for ran in past.before
                ],
                "resumes": past.resumes or None,
                "analysis": past.analysis and asdict(past.analysis),
                "traffic": past.traffic and asdict(past.traffic),
            }
            for past in attempts
        ],
    }


def history_text(environment: str, attempts: Sequence[PastAttempt]) -> str:
    """Return a table of the attempts, latest first, each with its cause of failure below."""
    if not attempts:
        return f"nothing was released in {environment} yet"
    rows = [[terminal.inline(cell) for cell in _row(past)] for past in attempts]
    lines = []
    for past, line in zip(attempts, _aligned(rows), strict=True):
        lines.append(line)
        lines += [f"    {past.cause}"] if past.cause else []
        if past.analysis is not None and past.analysis.reason not in past.cause:
            lines.append(f"    analysis {past.analysis.verdict}: {past.analysis.reason}")
    return "\n".join(map(terminal.inline, lines))


def _row(past: PastAttempt) -> tuple[str, ...]:
    source = f" from {past.promoted_from.environment}" if past.promoted_from else ""
    unverified = past.outcome in ("released", "unchanged", "rolled back") and not past.is_verified
    return (
        f"{past.at:%Y-%m-%d %H:%M:%S}",
        f"{past.kind}{source}",
        past.digest[:_SHORT] or "-",
        past.revision[:12] or "-",
        f"{past.outcome}{f' at {past.step}' if past.step else ''}{', not verified' if unverified else ''}",
        "-" if past.seconds is None else f"{past.seconds:.0f} s",
        past.who.rpartition(":")[2],
    )
