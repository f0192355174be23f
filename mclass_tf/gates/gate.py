"""What every gate offers, and what it judges."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from mclass_tf.environment import Environment
from mclass_tf.gates.verdict import Verdict
from mclass_tf.plan import Plan


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A plan, the environment it is for, and the project: the folder with terraform/, modules/ and policy/."""

    plan: Plan
    environment: Environment
    project: Path


class Gate(Protocol):
    """A judge of plans. To add one, list it in `mclass_tf.gates.GATES`."""

    @property
    def name(self) -> str: ...

    def prepare(self, *, environment: Environment, project: Path, keep: Path | None = None) -> None:
        """Start in the background what is slow and needs no plan. Returns at once; `evaluate` never depends on it.

        `keep` is a private folder for results, and holds as long as nothing that it depends on has changed.
        Raises ConfigurationError where the gate's own settings are wrong.
        """

    def evaluate(self, subject: Subject, *, today: dt.date) -> Verdict: ...
