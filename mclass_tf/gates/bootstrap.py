"""The entry point of a scanner process: `python -P -s bootstrap.py CHANNEL [FOLDER …]` imports this copy and serves."""

from __future__ import annotations

import gc
import importlib.util
import socket
import sys
from pathlib import Path

PACKAGE = "mclass_tf"


def main(channel: int, folders: list[str]) -> None:
    """Serve on the descriptor `channel`. `folders` are extra folders of modules, searched after Python's own."""
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    _import_package(Path(__file__).parents[1])
    from mclass_tf.gates.serve import serve  # noqa: PLC0415  # importable only now

    gc.disable()  # until Checkov is imported: it creates a million objects that stay alive
    serve(socket.socket(fileno=channel))


def _import_package(folder: Path) -> None:
    """Import this copy of the package only. Its parent folder may be a working directory, so it stays off the module path."""
    file = folder / "__init__.py"
    spec = importlib.util.spec_from_file_location(PACKAGE, file, submodule_search_locations=[str(folder)])
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} cannot be imported")
    package = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = package
    spec.loader.exec_module(package)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
