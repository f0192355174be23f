"""The command rehearse: a release under traffic, perhaps with a fault, and its report."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from mclass_tf import environment
from mclass_tf.cli.call import Call, engine
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.cli.release_commands import report_above_progress, rollout_display
from mclass_tf.errors import MclassError, RolloutError, UsageError, VerificationError
from mclass_tf.flows.rehearse.rehearse import rehearse
from mclass_tf.flows.rehearse.request import RehearsalRequest
from mclass_tf.rehearsal import page, summary
from mclass_tf.rehearsal.report import Report, document
from mclass_tf.rehearsal.verdict import PASSED
from mclass_tf.session import Session, open_session

_DEFAULT = "dev"


def run(call: Call) -> CommandOutcome:
    arguments = call.arguments
    request = RehearsalRequest(
        rate=arguments.rate,
        seconds=arguments.seconds,
        requests=arguments.requests,
        speed=arguments.speed,
        fault=arguments.fault,
        without=arguments.without,
        strategy=arguments.strategy,
        source=arguments.source,
        at=arguments.at,
        runs=arguments.runs,
    )
    request.scenario()
    name = _environment(call)
    file = _file(call, name=name, request=request)
    # A rehearsal always runs on the local AWS, with or without --local.
    session = _open(call, name)
    source = None if request.source is None else _open(call, request.source)
    live = rollout_display()
    report = rehearse(report_above_progress(session, live), request, show=live.show, source=source)
    file.write_text(page.render(report), encoding="utf-8")
    return _outcome(report, file)


def _open(call: Call, name: str) -> Session:
    return open_session(call.project, name, use_local=True, engine=engine, report=call.reporter.line)


def _environment(call: Call) -> str:
    known = environment.names(call.project.folder)
    if call.arguments.environment is not None:
        return str(call.arguments.environment)
    if _DEFAULT in known:
        return _DEFAULT
    if len(known) == 1:
        return known[0]
    raise UsageError("name an environment", hint=f"environments: {', '.join(known) or 'none'}")


def _file(call: Call, *, name: str, request: RehearsalRequest) -> Path:
    """Return the path of the report; raise UsageError for an unwritable one before any slow work."""
    requested: Path | None = call.arguments.report
    scenario = request.fault or (f"without-{request.without}" if request.without else "")
    folder = call.project.home / "rehearsal"
    if requested is None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    origin = f"from-{request.source}" if request.source else ""
    parts = (name, origin, request.strategy, scenario, request.at)
    file = requested or folder / f"{'-'.join(part for part in parts if part)}.html"
    if file.is_dir() or not os.access(file.parent, os.W_OK):
        raise UsageError(f"{file} cannot be written", hint="name a file in a folder that exists")
    return file


def _outcome(report: Report, file: Path) -> CommandOutcome:
    width = min(shutil.get_terminal_size((100, 24)).columns, 120)
    text = f"{summary.render(report, width=width)}\n\nreport: {file.absolute()}"
    content = {**document(report), "report": str(file.absolute())}
    if report.outcome == PASSED:
        return CommandOutcome(text=text, document=content)
    return CommandOutcome.failed(_error(report), use_local=True, document=content, text=text)


def _error(report: Report) -> MclassError:
    """Return the error of a rehearsal that did not pass: the release's if it should have succeeded, else the verdict's."""
    release = report.shown.rehearsal.release
    hint = "the report shows which, and which setting would have prevented it"
    if not report.scenario and release is not None and release.outcome == "failed":
        return RolloutError(release.error or "the release failed", hint=hint, cause=release.cause)
    reasons = "; ".join(report.reasons) or report.outcome
    return VerificationError(f"the rehearsal {report.outcome}: {reasons}", hint=hint)
