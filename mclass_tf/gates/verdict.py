"""The verdict of a gate on a plan: findings, the waivers that accept them, and problems of the gate itself."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One rule that one resource breaks.

    `resource` is Terraform's address, with index. `file` is relative to the project and empty if unknown. `line` counts from 1.
    `guideline` is a URL. `fix` says in words what to do and is never empty.
    """

    gate: str
    check: str
    title: str
    resource: str
    file: str
    line: int | None
    guideline: str
    fix: str

    def __post_init__(self) -> None:
        if not self.fix:
            raise ValueError(f"{self.check}: a finding needs a fix")


@dataclass(frozen=True, kw_only=True)
class Waiver:
    """Accepts a finding until the end of the day `expires`. `file` and `line` locate the entry."""

    check: str
    resource: str
    environments: tuple[str, ...]
    reason: str
    expires: dt.date
    file: str
    line: int


@dataclass(frozen=True, kw_only=True)
class WaivedFinding:
    finding: Finding
    waiver: Waiver


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A problem with the gate's own input. A blocking one refuses the plan, as a finding does."""

    message: str
    fix: str
    blocking: bool


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A gate's verdict. `checked` counts the rules evaluated on resources; `seconds` is wall time."""

    gate: str
    checked: int
    failed: tuple[Finding, ...]
    waived: tuple[WaivedFinding, ...]
    problems: tuple[Problem, ...]
    seconds: float

    @property
    def passed(self) -> bool:
        """A gate that checked nothing has not passed."""
        return self.checked > 0 and not self.failed and not self.blocking

    @property
    def blocking(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if problem.blocking)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(problem for problem in self.problems if not problem.blocking)
