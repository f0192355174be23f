"""Command lines and environments for running this package's modules in other processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def command(module: str) -> tuple[str, ...]:
    """Return the command line of a module. -P excludes the working directory, where others may write, from the module path."""
    return (sys.executable, "-P", "-m", module)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with this copy of the package first in PYTHONPATH."""
    here = str(Path(__file__).resolve().parents[2])
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, (here, env.get("PYTHONPATH", ""))))}
