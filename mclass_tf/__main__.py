"""`python -m mclass_tf` and the script `mclass-tf`."""

import gc
import os
import sys
from pathlib import Path

from mclass_tf.cli import main


def run() -> None:
    # A command lives for seconds: to collect the cycles among Checkov's million objects costs more than it frees.
    gc.disable()
    _open_streams()
    status = main(sys.argv[1:])
    gc.freeze()  # nor are they collected one last time at exit, which would take most of a second
    sys.exit(status)


def _open_streams() -> None:
    """Let a stream that was closed lead nowhere, and let no character be one that cannot be printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # It takes the lowest descriptor, which is the closed one: no file of ours can land there.
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  # for good
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
