"""What a gate of image scans has decided about each finding, as text and as a document."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mclass_tf.flows.scans.result import ScanFinding
from mclass_tf.gates.image_waivers import ImageWaiver


class Decision(enum.Enum):
    """REFUSED, WAIVED by an entry of policy/waivers.toml, or UNFIXED: accepted because no fix is available."""

    REFUSED = "refused"
    WAIVED = "waived"
    UNFIXED = "unfixed"


@dataclass(frozen=True, kw_only=True)
class JudgedFinding:
    """A finding at or above the refused severity in one image, with the decision."""

    image: str
    finding: ScanFinding
    decision: Decision
    waiver: ImageWaiver | None = None

    def to_document(self) -> Mapping[str, Any]:
        finding = self.finding
        return {
            "image": self.image,
            "cve": finding.cve,
            "severity": finding.severity,
            "package": finding.package,
            "fix": finding.fix.value,
            "decision": self.decision.value,
            "waiver": self.waiver and f"{self.waiver.file}:{self.waiver.line}",
        }


@dataclass(frozen=True, kw_only=True)
class ScanReport:
    """The findings that count, and the waivers of scans that gave no result. `warnings` are waivers that match nothing."""

    findings: tuple[JudgedFinding, ...] = ()
    unjudged: tuple[tuple[str, ImageWaiver], ...] = ()
    warnings: tuple[str, ...] = ()

    def to_document(self) -> list[Mapping[str, Any]]:
        return [each.to_document() for each in self.findings]

    def lines(self) -> list[str]:
        """Return what a reader must know of an image that was accepted."""
        lines = [
            f"scan: {each.finding} is accepted: {_reason(each)}"
            for each in self.findings
            if each.decision is not Decision.REFUSED
        ]
        lines += [
            f"scan: {what} is accepted: waived until {waiver.expires}, {waiver.reason}"
            for what, waiver in self.unjudged
        ]
        return [*dict.fromkeys(lines), *self.warnings]


def _reason(judged: JudgedFinding) -> str:
    if judged.waiver is None:
        return "no fix is available, and refuse_unfixed = false"
    return f"waived until {judged.waiver.expires}, {judged.waiver.reason}"
