"""This package's own programs: how another process of this Python runs one."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path


def command(module: str) -> tuple[str, ...]:
    """Return the command line of a module; none is searched in the working directory, where others may write to."""
    return (sys.executable, "-P", "-m", module)


def environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return `env` with this copy of the package first among the places where modules are searched."""
    here = str(Path(__file__).resolve().parents[2])
    return {**env, "PYTHONPATH": os.pathsep.join(filter(None, (here, env.get("PYTHONPATH", ""))))}
