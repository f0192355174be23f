"""Describes the machine of the measurements, without paths or names."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import subprocess
from pathlib import Path


def facts() -> dict[str, str]:
    return {
        "cores": str(os.cpu_count()),
        "processor": _processor(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "terraform": _terraform(),
        "checkov": importlib.metadata.version("checkov"),
        "moto": importlib.metadata.version("moto"),
        "load at the start": load(),
    }


def load() -> str:
    """Return the load averages of the last one, five and fifteen minutes."""
    return " ".join(f"{value:.1f}" for value in os.getloadavg())


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # Linux only
    match = cpuinfo.is_file() and re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text(), re.MULTILINE)
    return match[1] if match else platform.machine()


def _terraform() -> str:
    env = {**os.environ, "CHECKPOINT_DISABLE": "1"}
    # The CLI configuration of the shell may name a missing file.
    env.pop("TF_CLI_CONFIG_FILE", None)
    said = subprocess.run(
        ("terraform", "version", "-json"), env=env, capture_output=True, text=True, check=True
    )
    return str(json.loads(said.stdout)["terraform_version"])
