"""ECR's answers about scans as values, of basic and of enhanced scanning.

https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_DescribeImageScanFindings.html
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mclass_tf.environment import SEVERITIES

SCANNED: Final = ("COMPLETE", "ACTIVE")
"""ACTIVE: enhanced scanning has scanned the image, and scans it again whenever a vulnerability becomes known."""
SCANNING: Final = ("IN_PROGRESS", "PENDING")
LISTS: Final = ("findings", "enhancedFindings")
"""The keys of findings, of basic and of enhanced scanning."""
NOT_SCANNED: Final = "NOT_SCANNED"
"""Our name for the error ScanNotFoundException, in waivers and reports."""


class Fix(enum.Enum):
    """Whether a newer package without the vulnerability exists. Basic scanning does not say."""

    AVAILABLE = "available"
    NONE = "none"
    UNKNOWN = "unknown"


# PARTIAL: some of the packages have a fix. https://docs.aws.amazon.com/AmazonECR/latest/APIReference/API_EnhancedImageScanFinding.html
_FIXES = {"YES": Fix.AVAILABLE, "PARTIAL": Fix.AVAILABLE, "NO": Fix.NONE}


@dataclass(frozen=True, kw_only=True)
class ScanFinding:
    """A vulnerability in an image. `cve` is the scanner's id of it, mostly a CVE; `package` is "" if unknown."""

    cve: str
    severity: str
    package: str
    fix: Fix

    def __str__(self) -> str:
        fix = {Fix.NONE: ", no fix available", Fix.AVAILABLE: ", fix available"}.get(self.fix, "")
        return f"{self.cve} ({self.severity}{f', {self.package}' if self.package else ''}{fix})"


@dataclass(frozen=True, kw_only=True)
class ScanResult:
    """A scan. `findings` is None if ECR gave none, which is not the same as an empty list.

    `unlisted` counts findings, by severity, that ECR counted and did not list.
    """

    status: str
    description: str = ""
    findings: tuple[ScanFinding, ...] | None = None
    unlisted: Mapping[str, int]

    @classmethod
    def parse(cls, answer: Mapping[str, Any] | None) -> ScanResult:
        """Return the result of ECR's answer, with the findings of all its pages; of None: of an image without a scan."""
        if answer is None:
            return cls(status=NOT_SCANNED, unlisted={})
        status = answer.get("imageScanStatus") or {}
        found = answer.get("imageScanFindings")
        listed = None if found is None else tuple(_findings(found))
        counted = (found or {}).get("findingSeverityCounts") or {}
        seen = Counter(
            _severity(item.get("severity")) for key in LISTS for item in (found or {}).get(key) or ()
        )
        # A severity of counts that is not known might be the worst.
        unlisted = {_severity(name): int(count) - seen[_severity(name)] for name, count in counted.items()}
        return cls(
            status=str(status.get("status") or ""),
            description=str(status.get("description") or ""),
            findings=listed,
            unlisted={name: count for name, count in unlisted.items() if count > 0},
        )


def _findings(found: Mapping[str, Any]) -> Iterator[ScanFinding]:
    for item in found.get("findings") or ():
        attributes = {each.get("key"): each.get("value") for each in item.get("attributes") or ()}
        yield ScanFinding(
            cve=str(item.get("name") or "a finding without a name"),
            severity=_severity(item.get("severity")),
            package=str(attributes.get("package_name") or ""),
            fix=Fix.UNKNOWN,
        )
    for item in found.get("enhancedFindings") or ():
        if item.get("status") == "CLOSED":
            continue  # remediated
        details = item.get("packageVulnerabilityDetails") or {}
        packages = details.get("vulnerablePackages") or ()
        yield ScanFinding(
            cve=str(details.get("vulnerabilityId") or item.get("title") or "a finding without a name"),
            severity=_severity(item.get("severity")),
            package=", ".join(sorted({str(each["name"]) for each in packages if each.get("name")})),
            fix=_FIXES.get(str(item.get("fixAvailable")), Fix.UNKNOWN),
        )


def _severity(name: Any) -> str:
    """Return a known severity. Inspector's UNTRIAGED is undefined; one that nobody knows is taken for the worst."""
    text = str(name or "UNDEFINED")
    if text == "UNTRIAGED":
        return "UNDEFINED"
    return text if text in SEVERITIES else SEVERITIES[-1]
