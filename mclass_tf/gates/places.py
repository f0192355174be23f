"""Locates the HCL block of each address in a plan."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mclass_tf.hcl import module
from mclass_tf.hcl.module import SourceLocation

__all__ = ["SourceLocation", "places"]


def places(*, plan: Mapping[str, Any], root: Path) -> dict[str, SourceLocation]:
    """Return the locations of all blocks by address without index. Modules from outside this project have none.

    `root` is the folder of the root module. The plan says which module calls which folder.
    """
    configuration = plan.get("configuration", {}).get("root_module", {})
    return dict(_module(configuration, folder=root, prefix=""))


def _module(called: Mapping[str, Any], *, folder: Path, prefix: str) -> Iterator[tuple[str, SourceLocation]]:
    for address, place in module.read(folder).resources.items():
        yield f"{prefix}{address}", place
    for name, call in called.get("module_calls", {}).items():
        source = call.get("source", "")
        if source.startswith(("./", "../")):
            inner = Path(os.path.normpath(folder / source))
            yield from _module(call.get("module", {}), folder=inner, prefix=f"{prefix}module.{name}.")
