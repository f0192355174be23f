"""Where the HCL has the block that an address of a plan names."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

_BLOCK: Final = re.compile(r'^(resource|data)\s+"([^"]+)"\s+"([^"]+)"')


@dataclass(frozen=True, kw_only=True)
class Place:
    """`file` is absolute, `line` counts from 1."""

    file: Path
    line: int


def places(*, plan: Mapping[str, Any], root: Path) -> dict[str, Place]:
    """Return the places of all blocks by address without index; modules from elsewhere than this project have none.

    `root` is the folder of the root module. The plan says which module calls which folder.
    """
    configuration = plan.get("configuration", {}).get("root_module", {})
    return dict(_module(configuration, folder=root, prefix=""))


def _module(module: Mapping[str, Any], *, folder: Path, prefix: str) -> Iterator[tuple[str, Place]]:
    for file in sorted(folder.glob("*.tf")):
        for number, line in enumerate(
            file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1
        ):
            if found := _BLOCK.match(line):
                kind, type_, name = found.groups()
                yield (
                    f"{prefix}{'data.' if kind == 'data' else ''}{type_}.{name}",
                    Place(file=file, line=number),
                )
    for name, call in module.get("module_calls", {}).items():
        source = call.get("source", "")
        if source.startswith(("./", "../")):
            inner = Path(os.path.normpath(folder / source))
            yield from _module(call.get("module", {}), folder=inner, prefix=f"{prefix}module.{name}.")
