"""Renders verdicts as SARIF 2.1.0 for GitHub code scanning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from mclass_tf.gates.verdict import Finding, Problem, Verdict, Waiver
from mclass_tf.terminal import inline

SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"

_ROOT: Final = "PROJECTROOT"
# The location of a finding without one in the project's HCL: code scanning hides results without a location.
_FALLBACK: Final = "terraform/main.tf"


def render(verdicts: Mapping[str, Sequence[Verdict]], project: Path) -> dict[str, Any]:
    """Return the document: one run for each gate and environment. Paths are relative to `project`, the base of each run.

    Code scanning keeps runs with different `automationDetails.id` apart, so findings of prod do not close those of dev.
    """
    runs = [_run(verdict, name, project) for name, judged in verdicts.items() for verdict in judged]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": runs}


def _run(verdict: Verdict, environment: str, project: Path) -> dict[str, Any]:
    findings = [*((f, None) for f in verdict.failed), *((w.finding, w.waiver) for w in verdict.waived)]
    rules = {finding.check: finding for finding, _ in findings}
    order = {check: index for index, check in enumerate(sorted(rules))}
    return {
        "tool": {
            "driver": {
                "name": f"mclass-tf/{verdict.gate}",
                "informationUri": "https://www.checkov.io",
                "rules": [_rule(rules[check]) for check in order],
            }
        },
        "automationDetails": {"id": f"mclass-tf/{verdict.gate}/{environment}/"},
        "columnKind": "unicodeCodePoints",
        "originalUriBaseIds": {_ROOT: {"uri": f"{project.resolve().as_uri()}/"}},
        "invocations": [
            {
                "executionSuccessful": verdict.checked > 0 and not verdict.blocking,
                "toolExecutionNotifications": [_notification(problem) for problem in verdict.problems],
            }
        ],
        "results": [_sarif_result(finding, waiver, order[finding.check]) for finding, waiver in findings],
    }


def _rule(finding: Finding) -> dict[str, Any]:
    return {
        "id": finding.check,
        "name": finding.check,
        "shortDescription": {"text": finding.title},
        "fullDescription": {"text": finding.title},
        "help": {"text": finding.fix, "markdown": f"{finding.fix}\n\n[{finding.check}]({finding.guideline})"},
        "helpUri": finding.guideline,
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["security", "terraform"], "precision": "high", "security-severity": "7.0"},
    }


def _sarif_result(finding: Finding, waiver: Waiver | None, index: int) -> dict[str, Any]:
    return {
        "ruleId": finding.check,
        "ruleIndex": index,
        "level": "error",
        "message": {"text": _text(f"{finding.resource}: {finding.title}. Fix: {finding.fix}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": finding.file or _FALLBACK, "uriBaseId": _ROOT},
                    "region": {"startLine": finding.line or 1},
                },
                "logicalLocations": [{"fullyQualifiedName": finding.resource, "kind": "resource"}],
            }
        ],
        # Line numbers move; the rule and the resource do not.
        "partialFingerprints": {"checkAndResource/v1": _fingerprint(finding.check, finding.resource)},
        "suppressions": list(_suppressions(waiver)),
    }


def _fingerprint(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]


def _suppressions(waiver: Waiver | None) -> Iterable[dict[str, Any]]:
    """An empty list states that the finding is not suppressed. Code scanning closes suppressed findings."""
    if waiver is not None:
        yield {
            "kind": "external",
            "status": "accepted",
            "justification": f"{waiver.reason} (until {waiver.expires.isoformat()})",
            "location": {
                "physicalLocation": {
                    "artifactLocation": {"uri": waiver.file, "uriBaseId": _ROOT},
                    "region": {"startLine": waiver.line},
                }
            },
        }


def _notification(problem: Problem) -> dict[str, Any]:
    return {
        "level": "error" if problem.blocking else "warning",
        "message": {"text": _text(f"{problem.message}. Fix: {problem.fix}")},
    }


def _text(text: str) -> str:
    """Return a one-line message without links: in SARIF's plain text, [text](address) is a link.

    https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/sarif-v2.1.0-os.html#_Toc34317467
    """
    return inline(text).replace("](", "] (")
