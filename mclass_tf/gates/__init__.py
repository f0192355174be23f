"""The gates judge every plan before it may be applied.

Call `prepare(environment, project)` while Terraform plans, then `evaluate(saved, subject)`. `write_approval(path, approved)`
stores the approval of `decision.require()` beside the plan, and `read_approval()` reads it before the apply.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mclass_tf.environment import Environment
from mclass_tf.errors import GateRefusedError, Hint, PlanRefusedError
from mclass_tf.gates import sarif, table
from mclass_tf.gates.approval import ApprovedPlan, approve, policy_digest, read_approval, write_approval
from mclass_tf.gates.checkov import CheckovGate
from mclass_tf.gates.gate import Gate, Subject
from mclass_tf.gates.verdict import Finding, Problem, Verdict, WaivedFinding, Waiver
from mclass_tf.plan import SavedPlan

__all__ = [
    "GATES",
    "ApprovedPlan",
    "Finding",
    "Gate",
    "GateDecision",
    "Problem",
    "Subject",
    "Verdict",
    "WaivedFinding",
    "Waiver",
    "evaluate",
    "policy_digest",
    "prepare",
    "read_approval",
    "sarif",
    "table",
    "write_approval",
]

GATES: Final[tuple[Gate, ...]] = (CheckovGate(),)


@dataclass(frozen=True, kw_only=True)
class GateDecision:
    """The verdicts of all gates. `approved` is None unless every gate passed."""

    verdicts: tuple[Verdict, ...]
    approved: ApprovedPlan | None

    def require(self) -> ApprovedPlan:
        """Return the approved plan, or raise GateRefusedError with every finding and its fix."""
        if self.approved is not None:
            return self.approved
        reasons = [reason for verdict in self.verdicts for reason in _reasons(verdict)]
        count = sum(len(verdict.failed) + len(verdict.blocking) for verdict in self.verdicts)
        head = f"the gates refuse this plan: {count} {'finding' if count == 1 else 'findings'}"
        raise GateRefusedError(
            "\n".join((head, *reasons)),
            hint="fix them and plan again, or add a temporary waiver to policy/waivers.toml",
        )


def prepare(
    environment: Environment, project: Path, *, cache: Path | None = None, gates: Sequence[Gate] = GATES
) -> None:
    """Let every gate start its slow work in the background while Terraform plans. Returns at once.

    A gate may store in `cache`, a private folder, what depends only on files, but never a verdict.
    """
    for gate in gates:
        gate.prepare(environment=environment, project=project, cache=cache)


def evaluate(
    saved: SavedPlan, subject: Subject, *, gates: Sequence[Gate] = GATES, today: dt.date | None = None
) -> GateDecision:
    """Judge the plan. Raise PlanRefusedError if `saved` is altered, unfinished or for another environment."""
    if saved.environment != subject.environment.name:
        raise PlanRefusedError(
            f"the plan is for environment {saved.environment!r}, not for {subject.environment.name!r}",
            hint=Hint("plan again: ", ("plan", subject.environment.name)),
        )
    saved.verify_bytes()
    if subject.plan.document.get("errored"):
        raise PlanRefusedError(
            "Terraform could not finish this plan: it shows only part of what would be",
            hint=Hint("fix what Terraform reports and plan again: ", ("plan", subject.environment.name)),
        )
    day = today or dt.datetime.now(tz=dt.UTC).date()
    policy = policy_digest(subject.project)
    verdicts = tuple(gate.evaluate(subject, today=day) for gate in gates)
    return GateDecision(verdicts=verdicts, approved=approve(saved=saved, verdicts=verdicts, policy=policy))


def _reasons(verdict: Verdict) -> list[str]:
    lines: list[str] = []
    for finding in verdict.failed:
        where = f" ({finding.file}:{finding.line})" if finding.file else ""
        lines += [f"  {finding.check} {finding.resource}{where}: {finding.title}", f"    fix: {finding.fix}"]
    for problem in verdict.blocking:
        lines += [f"  {verdict.gate}: {problem.message}", f"    fix: {problem.fix}"]
    if verdict.checked == 0 and not lines:
        lines.append(f"  {verdict.gate}: it checked nothing, so it proves nothing")
    return lines
