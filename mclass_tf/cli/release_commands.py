"""The commands release, rollback, render and status."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from mclass_tf import describe, flows, terminal
from mclass_tf.cli.call import Call, confirm, each, open_environment, require_terminal
from mclass_tf.cli.live import RolloutDisplay
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.errors import Hint, RolloutError, VerificationError
from mclass_tf.flows import Choice, Planned, Released
from mclass_tf.gates import table
from mclass_tf.ledger import AnalysisResult
from mclass_tf.service import ServiceDeployment
from mclass_tf.session import Session

_SHORT = 19  # of a digest: sha256: and twelve digits


def release(call: Call) -> CommandOutcome:
    if not call.arguments.yes:
        require_terminal("release")

    def work(session: Session, live: RolloutDisplay) -> Released:
        resume = partial(flows.resume, source=partial(open_environment, call))
        begin = resume if call.arguments.resume else partial(flows.release, digest=call.arguments.image)
        return begin(
            session,
            confirm=partial(confirm, call),
            show=live.show,
            on_interrupt=partial(ask_what_now, live),
            show_plan=partial(show_plan, call, session),
            pause_at=tuple(call.arguments.pause_at),
        )

    return rolled_out(open_environment(call, call.arguments.environment), work)


def rollback(call: Call) -> CommandOutcome:
    def work(session: Session, live: RolloutDisplay) -> Released:
        return flows.rollback(
            session,
            to=call.arguments.to,
            show=live.show,
            on_interrupt=partial(ask_what_now, live),
        )

    return rolled_out(open_environment(call, call.arguments.environment), work)


def rolled_out(session: Session, work: Callable[[Session, RolloutDisplay], Released]) -> CommandOutcome:
    """Do `work`, which releases an image in `session`'s environment; return its outcome."""
    live = rollout_display()
    try:
        released = work(report_above_progress(session, live), live)
    except RolloutError as error:
        return not_rolled_out(session, error)
    return served(session, released)


def rollout_display() -> RolloutDisplay:
    return RolloutDisplay(
        sys.stderr,
        width=shutil.get_terminal_size((100, 24)).columns if sys.stderr.isatty() else None,
    )


def report_above_progress(session: Session, live: RolloutDisplay) -> Session:
    """Return a session that reports above the displayed rollout."""
    return replace(session, report=partial(live.above, report=session.report))


def not_rolled_out(session: Session, error: RolloutError) -> CommandOutcome:
    failed = CommandOutcome.failed(error, use_local=session.cloud.is_local)
    return replace(failed, document={**rollout_document(session.environment.name, error), **failed.document})


def served(session: Session, released: Released) -> CommandOutcome:
    """Return the outcome of a release that serves, verified or not."""
    document = rollout_document(released.environment, released)
    if released.verification.ok:
        return CommandOutcome(text=_summary(released), document=document)
    report = released.verification
    total = report.passed + report.failed
    unverified = VerificationError(
        f"{released.digest} serves in {released.environment}, but {report.failed} of {total} checks failed",
        hint=Hint(("verify", released.environment), " shows which; the release is not proven"),
    )
    failed = CommandOutcome.failed(unverified, use_local=session.cloud.is_local)
    return replace(failed, document={**document, **failed.document}, text=_summary(released))


def rollout_document(environment: str, attempt: Released | RolloutError) -> dict[str, Any]:
    """Return an attempt for --json. A failed one has neither times nor a verification."""
    times, verification, analysis = {}, {}, attempt.analysis
    if isinstance(attempt, Released):
        report = attempt.verification
        counts = {"passed": report.passed, "failed": report.failed, "skipped": report.skipped}
        times = {"started_at": attempt.started_at.isoformat(), "ended_at": attempt.ended_at.isoformat()}
        verification = {"verification": counts}
    return {
        "environment": environment,
        "digest": attempt.digest,
        "outcome": attempt.outcome,
        "cause": attempt.cause,
        "task_definition": attempt.task_definition_arn,
        "service_deployment": attempt.service_deployment_arn or None,
        **times,
        "events": [{"at": event.at.isoformat(), "message": event.message} for event in attempt.events],
        **verification,
        "analysis": asdict(analysis) if isinstance(analysis, AnalysisResult) else analysis,
        "record": attempt.record,
    }


def _summary(released: Released) -> str:
    name, seconds = released.environment, (released.ended_at - released.started_at).total_seconds()
    revision = released.task_definition_arn.rsplit("/", 1)[-1]
    what = {
        "released": f"{released.digest} is released in {name} ({revision}, {seconds:.0f} s)",
        "unchanged": f"{name} runs {released.digest} already ({revision}): nothing to do",
        "rolled back": f"{name} runs {released.digest or 'nothing'} again ({revision}, {seconds:.0f} s)",
    }[released.outcome]
    analysis = released.analysis
    compared = [f"analysis {analysis.verdict}: {analysis.reason}"] if analysis is not None else []
    return "\n".join(map(terminal.inline, [what, *compared, f"recorded in {released.record}"]))


def show_plan(call: Call, session: Session, planned: Planned) -> None:
    if not planned.plan.has_changes:
        return
    words = describe.describe(planned.plan, title=f"{session.environment.name} on {session.cloud.label}")
    verdicts = table.render(
        planned.decision.verdicts, width=min(shutil.get_terminal_size((100, 24)).columns, 140)
    )
    call.reporter.block(f"{words}\n\n{verdicts}")


def ask_what_now(live: RolloutDisplay) -> Choice:
    """Ask how to handle an interrupt. Without a terminal, or at a second interrupt, detach."""
    live.keep()
    if not sys.stdin.isatty():
        return Choice.DETACH
    while True:
        question = "Keep going (k), or roll back (r)? Ctrl-C leaves it to ECS. "
        print(f"\n{question}", end="", file=sys.stderr, flush=True)
        answer = sys.stdin.readline()
        match answer.strip().lower():
            case "k" | "keep":
                return Choice.KEEP
            case "r" | "roll back" | "rollback":
                return Choice.ROLL_BACK
        if not answer:  # the terminal is closed
            return Choice.DETACH


def render(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        document = flows.render(open_environment(call, name), digest=call.arguments.image)
        return CommandOutcome(text=terminal.json_text(document), document=document, is_exact=True)

    return each(call, one)


def status(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        state = flows.status(open_environment(call, name))
        return CommandOutcome(text=status_text(state), document=status_document(state))

    return each(call, one)


def status_document(state: flows.ServiceStatus) -> dict[str, Any]:
    current = state.deployment
    return {
        "environment": state.environment,
        "digest": state.digest or None,
        "task_definition": state.task_definition_arn,
        "desired": state.desired,
        "running": state.running,
        "pending": state.pending,
        "deployments": [asdict(each) for each in state.deployments],
        "targets": dict(state.targets),
        "url": state.url,
        "address": state.address or None,
        "service_deployment": current and _deployment_document(current),
        "attempt": state.attempt and _attempt_document(state.attempt),
    }


def _attempt_document(unended: flows.PastAttempt) -> dict[str, Any]:
    return {
        "at": unended.at.isoformat(),
        "kind": unended.kind,
        "digest": unended.digest,
        "outcome": unended.outcome,
        "step": unended.step,
        "who": unended.who,
        "record": unended.record,
    }


def _deployment_document(current: ServiceDeployment) -> dict[str, Any]:
    return {
        "arn": current.arn,
        "status": current.status,
        "stage": current.stage or None,
        "production": current.production,
        "test": current.test,
        "waits": [
            {
                "hook": hook.id,
                "expires_at": hook.expires_at and hook.expires_at.isoformat(),
                "then": "ROLLBACK" if hook.rolls_back else "CONTINUE",
            }
            for hook in current.pauses
        ],
    }


def status_text(state: flows.ServiceStatus) -> str:
    revision = state.task_definition_arn.rsplit("/", 1)[-1]
    # During a rollout, the service has the new task definition, which may not get production traffic yet.
    runs = "runs" if state.deployment is None else "will run"
    lines = [
        f"{state.environment} {runs} {state.digest or 'no image yet'} ({revision})",
        f"  tasks    {state.running} of {state.desired} running, {state.pending} pending",
        *(
            f"           {each.task_definition_arn.rsplit('/', 1)[-1]}: {each.running} of {each.desired} running, "
            f"{each.healthy} healthy, {each.failed} failed"
            for each in state.deployments
        ),
        f"  targets  {', '.join(f'{count} {state}' for state, count in state.targets.items()) or 'none'}",
        f"  url      {state.url}",
    ]
    lines += [f"           on this machine: {state.address}"] if state.address else []
    if state.deployment is not None:
        lines += _rollout_text(state.environment, state.deployment)
    lines += _attempt_text(state.environment, state.attempt) if state.attempt is not None else []
    return "\n".join(map(terminal.inline, lines))


def _attempt_text(environment: str, unended: flows.PastAttempt) -> list[str]:
    where = f" at {unended.step}" if unended.step else ""
    what = f"{unended.kind} of {unended.digest[:_SHORT]}" if unended.digest else unended.kind
    lines = [f"  attempt  {what} {unended.outcome}{where}, begun {unended.at:%H:%M:%S} UTC"]
    if unended.outcome == flows.UNDER_WAY:
        return lines
    return [
        *lines,
        f"           continue: `release {environment} --resume`; or return: `rollback {environment}`",
    ]


def _rollout_text(environment: str, current: ServiceDeployment) -> list[str]:
    words = [part.lower().replace("_", " ") for part in (current.status, current.stage) if part]
    share = "" if current.production is None else f", new version: production {current.production:g} %"
    lines = [f"  rollout  {', '.join(words)}{share}, since {current.created_at:%H:%M:%S} UTC"]
    return lines + [
        f"           {flows.paused(environment, current.stage, hook)}" for hook in current.pauses[:1]
    ]
