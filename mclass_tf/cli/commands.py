"""The commands on environments. Each runs a flow and returns its outcome."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from mclass_tf import describe, flows, terminal, verify
from mclass_tf.cli.call import Call, confirm, each, open_environment, require_terminal
from mclass_tf.cli.outcome import CommandOutcome
from mclass_tf.errors import ApprovalRefusedError, GateRefusedError, UsageError, VerificationError
from mclass_tf.gates import Verdict, sarif, table
from mclass_tf.plan import Action
from mclass_tf.session import Session


def bootstrap(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        changed = flows.bootstrap(open_environment(call, name))
        lines = (f"{bucket}: {', '.join(what) or 'as it must be'}" for bucket, what in changed.items())
        return CommandOutcome(text="\n".join(lines), document={"environment": name, "buckets": changed})

    return each(call, one)


def init(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        flows.init(open_environment(call, name))
        return CommandOutcome(
            text=f"{name} is initialised", document={"environment": name, "initialised": True}
        )

    return each(call, one)


def plan(call: Call) -> CommandOutcome:
    arguments = call.arguments
    if arguments.out is not None and arguments.all:
        raise UsageError("--out takes one plan; with --all there are several")
    _writable(arguments.out)
    _writable(arguments.sarif)
    verdicts: dict[str, Sequence[Verdict]] = {}

    def one(name: str) -> CommandOutcome:
        session = open_environment(call, name)
        planned = flows.make_plan(session, image=arguments.image)
        verdicts[name] = planned.decision.verdicts
        if arguments.out is not None and planned.decision.approved is not None:
            flows.export_plan(planned, arguments.out)
        return _planned(session, planned)

    outcome = each(call, one)
    if arguments.sarif is not None:
        _write_sarif(call, dict(sorted(verdicts.items())), arguments.sarif)
    return outcome


def _writable(file: Path | None) -> None:
    """Raise UsageError for an unwritable file before any slow work."""
    if file is not None and (file.is_dir() or not os.access(file.parent, os.W_OK)):
        raise UsageError(f"{file} cannot be written", hint="name a file in a folder that exists")


def _planned(session: Session, planned: flows.Planned) -> CommandOutcome:
    name = session.environment.name
    words = describe.describe(
        planned.plan, title=f"{name} on {session.cloud.label}", image=str(planned.image or "")
    )
    text = f"{words}\n\n{table.render(planned.decision.verdicts, width=_width())}"
    document = plan_document(name, planned)
    try:
        planned.decision.require()
    except GateRefusedError as error:
        # The table above has the findings; the error only counts them.
        counted = GateRefusedError(str(error).partition("\n")[0], hint=error.hint)
        return CommandOutcome.failed(counted, use_local=session.cloud.is_local, document=document, text=text)
    return CommandOutcome(text=text, document=document)


def plan_document(name: str, planned: flows.Planned) -> dict[str, Any]:
    made, saved = planned.plan, planned.saved
    return {
        "environment": name,
        "has_changes": made.has_changes,
        "summary": {
            **{a.value: made.count(a) for a in Action if a not in (Action.READ, Action.NOTHING)},
            "move": made.moved,
            "import": made.imported,
        },
        "resources": [
            {
                "address": change.address,
                "action": change.action.value,
                "moved_from": change.moved_from or None,
                "import_id": change.import_id or None,
                "deposed": change.deposed or None,
                "reason": change.reason or None,
                "attributes": [asdict(attribute) for attribute in change.attributes],
            }
            for change in made.resources
        ],
        "outputs": [asdict(output) for output in made.outputs],
        "approved": planned.decision.approved is not None,
        "gates": [{**asdict(verdict), "passed": verdict.passed} for verdict in planned.decision.verdicts],
        "plan": None if planned.decision.approved is None else str(saved.path),
        "sha256": saved.sha256,
        "state": {"lineage": saved.lineage, "serial": saved.serial},
        "image": None if planned.image is None else asdict(planned.image),
    }


def _write_sarif(call: Call, verdicts: Mapping[str, Sequence[Verdict]], file: Path) -> None:
    document = sarif.render(verdicts, call.project.folder)
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def apply(call: Call) -> CommandOutcome:
    arguments = call.arguments
    if arguments.plan is not None and arguments.all:
        raise UsageError("--plan names one plan; with --all there are several")
    sessions: dict[str, Session] = {}
    made: set[str] = set()
    shown: dict[str, str] = {}

    def prepare(name: str) -> CommandOutcome:
        session = sessions[name] = open_environment(call, name)
        planned = None if arguments.plan is not None else _plan_to_apply(call, session)
        if planned is None:
            return CommandOutcome()
        outcome = _planned(session, planned)
        call.reporter.block(outcome.text)
        shown[name] = planned.saved.sha256
        if planned.plan.has_changes:
            made.add(name)
        return replace(outcome, text="")

    prepared = each(call, prepare)
    if prepared.exit_code:
        return prepared
    _ask(call, {name: sessions[name] for name in sorted(made)})

    def one(name: str) -> CommandOutcome:
        flows.drop_stale_pauses(sessions[name])
        applied = flows.apply(sessions[name], file=arguments.plan, shown=shown.get(name))
        text = f"{name} is applied" if applied.changed else f"{name}: no changes"
        document = {"environment": name, "changed": applied.changed, "outputs": applied.outputs}
        return CommandOutcome(text=text, document=document)

    return each(call, one)


def _plan_to_apply(call: Call, session: Session) -> flows.Planned | None:
    """Make the plan to apply, unless a saved plan is still up to date."""
    old = flows.outdated(session)
    if old is None and flows.has_saved_plan(session):
        return None
    if old is None:
        if not call.arguments.yes:
            require_terminal("apply")
        return flows.make_plan(session)
    # The user has only seen the old plan. Apply a new one only if they can be asked, or agreed beforehand.
    if not (call.arguments.yes or sys.stdin.isatty()):
        raise old
    session.report(f"{old.message}: making a new plan")
    return flows.make_plan(session, image=old.image)


def _ask(call: Call, made: Mapping[str, Session]) -> None:
    """Ask before new plans are applied; raise ApprovalRefusedError at the first no."""
    for name, session in made.items():
        if not confirm(call, f"Apply this in {name} on {session.cloud.label}?"):
            # The next apply would use saved plans without asking.
            for planned in made.values():
                flows.discard_plan(planned)
            raise ApprovalRefusedError(f"{name} was left as it is", hint="nothing was changed")


def output(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        state = flows.applied_state(open_environment(call, name))
        outputs = state.outputs
        requested = call.arguments.name
        if requested is not None:
            if requested not in outputs:
                raise UsageError(
                    f"{name} has no output {requested!r}", hint=f"outputs: {', '.join(sorted(outputs))}"
                )
            return CommandOutcome(text=_plain(outputs[requested]), document={requested: outputs[requested]})
        width = max(map(terminal.width, outputs))
        text = "\n".join(
            f"{terminal.padded(key, width)}  {'(sensitive)' if key in state.sensitive else terminal.inline(_plain(value))}"
            for key, value in sorted(outputs.items())
        )
        return CommandOutcome(text=text, document=outputs)

    return each(call, one)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def verify_environment(call: Call) -> CommandOutcome:
    def one(name: str) -> CommandOutcome:
        report = flows.verify_environment(open_environment(call, name))
        document = {"environment": name, **report.to_json()}
        text = verify.render(report)
        if report.ok:
            return CommandOutcome(text=text, document=document)
        total = report.passed + report.failed
        error = VerificationError(
            f"{report.failed} of {total} checks failed",
            hint="each failed check, above, shows what it expected and how to fix it",
        )
        return CommandOutcome.failed(error, use_local=call.arguments.local, document=document, text=text)

    return each(call, one)


def destroy(call: Call) -> CommandOutcome:
    if call.arguments.all:
        raise UsageError("destroy takes one environment at a time")
    if not call.arguments.yes:
        require_terminal("destroy")

    def one(name: str) -> CommandOutcome:
        session = open_environment(call, name)
        title = f"{name} on {session.cloud.label}"
        done = flows.destroy(
            session,
            show=lambda made: call.reporter.block(describe.describe(made, title=title)),
            confirm=partial(confirm, call),
        )
        text = f"{name} is destroyed" if done.changed else f"{name}: there is nothing to destroy"
        return CommandOutcome(text=text, document={"environment": name, "destroyed": done.changed})

    return each(call, one)


def unlock(call: Call) -> CommandOutcome:
    name, lock_id = call.arguments.environment, call.arguments.lock_id
    if not call.arguments.yes:
        require_terminal("unlock")
    if not confirm(
        call, f"Release lock {lock_id} of {name}? The command that holds it must no longer be running."
    ):
        return CommandOutcome(text="the lock stays", document={"unlocked": False})
    flows.unlock(open_environment(call, name), lock_id=lock_id)
    return CommandOutcome(text=f"{name} is unlocked", document={"environment": name, "unlocked": True})


def _width() -> int:
    return min(shutil.get_terminal_size((100, 24)).columns, 140)
