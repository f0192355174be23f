"""Compiles the modules that the service imports, during the image build: `PYTHONPYCACHEPREFIX=FOLDER python -m app.precompile`.

Otherwise a container with a read-only root compiles every module at each start, including the standard library, which the official
images ship without bytecode. This module is not part of the image.
"""

from __future__ import annotations

import importlib
import importlib.util
import py_compile
import sys
from pathlib import Path

import uvicorn

_ENTRY_POINTS = ("app.__main__", "app.healthcheck")


def main() -> None:
    """Compile the service, its dependencies, and the modules of the standard library that they import."""
    for name in _ENTRY_POINTS:
        importlib.import_module(name)
    for source in sorted(_imported() | _ours()):
        # Unchecked: files of an image never change, and not every builder preserves their timestamps.
        py_compile.compile(
            str(source),
            cfile=importlib.util.cache_from_source(str(source)),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _imported() -> set[Path]:
    files = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return {Path(file) for file in files if file and file.endswith(".py")}


def _ours() -> set[Path]:
    folders = (Path(__file__).parent, Path(uvicorn.__file__).parent.parent)
    return {path for folder in folders for path in folder.rglob("*.py")}


if __name__ == "__main__":
    main()
