"""Verdicts as SARIF 2.1.0, as GitHub code scanning takes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mclass_tf.gates.verdict import Verdict


def render(verdicts: Sequence[Verdict], project: Path) -> dict[str, Any]:
    return {}
