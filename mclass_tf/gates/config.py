"""The allowed settings of policy/checkov.yaml: they configure Checkov as a plain tool, but never exclude anything."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mclass_tf.errors import ConfigurationError

FILE: Final = Path("policy", "checkov.yaml")

_HARMLESS: Final = frozenset(
    {
        "compact",
        "download-external-modules",
        "external-checks-dir",
        "framework",
        "output",
        "quiet",
        "skip-download",
    }
)
_KEY: Final = re.compile(r"""["']?([\w-]+)["']?\s*:""")


def check(project: Path) -> None:
    """Raise ConfigurationError for a setting that would let the plain tool pass what the gate refuses."""
    file = project / FILE
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot be read: {error}", file=file) from None
    for number, line in enumerate(text.splitlines(), start=1):
        key = _KEY.match(line)
        if key and key[1] not in _HARMLESS:
            raise ConfigurationError(
                f"{key[1]} is not for this file",
                hint="an exception has a reason and an end: write it into policy/waivers.toml",
                file=file,
                line=number,
                key=key[1],
            )
