"""The waivers of policy/waivers.toml for images: they accept a vulnerability, or a scan without a result, for a time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from mclass_tf.gates.verdict import Problem

CVE: Final = "cve"
SCAN_STATUS: Final = "scan_status"
WAIVABLE_STATUSES: Final = (
    "FAILED",
    "FINDINGS_UNAVAILABLE",
    "IMAGE_ARCHIVED",
    "LIMIT_EXCEEDED",
    "NOT_SCANNED",
    "SCAN_ELIGIBILITY_EXPIRED",
    "UNSUPPORTED_IMAGE",
)
"""The ends of a scan that tell nothing about the image, and do not become better by waiting."""


@dataclass(frozen=True, kw_only=True)
class ImageWaiver:
    """Accepts a vulnerability (`kind` "cve") or an end of scans ("scan_status"), named `value`, until the end of `expires`.

    `environments` are those that the image may be promoted to.
    """

    kind: str
    value: str
    environments: tuple[str, ...]
    reason: str
    expires: dt.date
    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: the waiver of {self.value}"


@dataclass(frozen=True, kw_only=True)
class ImageWaivers:
    """The waivers of one environment on one day."""

    waivers: tuple[ImageWaiver, ...] = ()
    today: dt.date = dt.date.min

    @classmethod
    def of(cls, waivers: Iterable[ImageWaiver], *, environment: str, today: dt.date) -> ImageWaivers:
        return cls(waivers=tuple(each for each in waivers if environment in each.environments), today=today)

    def matching(self, kind: str, value: str) -> tuple[ImageWaiver, ...]:
        return tuple(each for each in self.waivers if (each.kind, each.value) == (kind, value))

    def valid(self, kind: str, value: str) -> ImageWaiver | None:
        """Return a waiver that accepts this today."""
        return next((each for each in self.matching(kind, value) if each.expires >= self.today), None)

    def problems(self, used: Sequence[ImageWaiver]) -> tuple[Problem, ...]:
        """Return a blocking problem for each expired waiver, and a warning for each that matched nothing."""
        expired = [
            Problem(
                message=f"{each} expired on {each.expires}",
                fix="fix the finding and delete the waiver, or give it a new reason and date"
                if each in used
                else "it matches nothing any more: delete it",
                blocking=True,
            )
            for each in self.waivers
            if each.expires < self.today
        ]
        unused = [
            Problem(
                message=f"{each} matches nothing",
                fix="delete it, or take this environment out of it",
                blocking=False,
            )
            for each in self.waivers
            if each.expires >= self.today and each not in used
        ]
        return (*expired, *unused)
