"""The interface of a gate, and its subject."""

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
    """A plan, its environment, and the project: the folder with terraform/, modules/ and policy/."""

    plan: Plan
    environment: Environment
    project: Path


class Gate(Protocol):
    """A judge of plans. To add one, list it in `mclass_tf.gates.GATES`."""

    @property
    def name(self) -> str: ...

    def prepare(self, *, environment: Environment, project: Path, cache: Path | None = None) -> None:
        """Start slow work that needs no plan, in the background. Returns at once; `evaluate` never depends on it.

        `cache` is a private folder for cached results. A result is valid as long as none of its inputs has changed. Raises
        ConfigurationError if the gate's own settings are wrong.
        """

    def evaluate(self, subject: Subject, *, today: dt.date) -> Verdict: ...
