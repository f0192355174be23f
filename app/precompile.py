"""Compiles what the service imports, where the image builds: `PYTHONPYCACHEPREFIX=FOLDER python -m app.precompile`.

A container with a read-only root compiles every module anew at each start otherwise, the standard library's as well:
the official images ship it without bytecode. Not part of the image.
"""

from __future__ import annotations

import importlib
import importlib.util
import py_compile
import sys
from pathlib import Path

import uvicorn

# The last is what uvicorn imports when it is told to use it.
_ENTRY_POINTS = ("app.__main__", "app.healthcheck", "uvicorn.protocols.http.httptools_impl")


def main() -> None:
    """Compile all of the service and its dependencies, and as much of the standard library as they import."""
    for name in _ENTRY_POINTS:
        importlib.import_module(name)
    for source in sorted(_imported() | _ours()):
        # Judged by nothing: the files of an image never change, and their times are not kept by every builder.
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
