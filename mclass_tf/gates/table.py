"""Verdicts as a table for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from mclass_tf.gates.verdict import Verdict


def render(verdicts: Sequence[Verdict], *, width: int = 100, colour: bool = False) -> str:
    lines = []
    for v in verdicts:
        for f in v.failed:
            lines += [f"{f.resource} {f.check} {f.file}:{f.line}", f"  {f.fix}"]
        for w in v.waived:
            lines.append(f"waived {w.finding.check} {w.finding.resource}")
        for p in v.problems:
            lines.append(f"{p.message}: {p.fix}")
        lines.append(
            f"{v.gate}: {v.checked} checked, {len(v.failed)} failed, {len(v.waived)} waived, {v.seconds:.2f}"
        )
    return "\n".join(lines)
