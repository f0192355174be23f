"""`python -m mclass_tf` and the script `mclass-tf`."""

import gc
import os
import sys


def run() -> None:
    _exclude_working_directory()
    from mclass_tf.cli import main, tracebacks  # noqa: PLC0415  # after the change of sys.path

    # A command lives for seconds: collecting cycles among the AWS service models costs more than it frees.
    gc.disable()
    _open_streams()
    tracebacks.guard()
    status = main(sys.argv[1:])
    gc.freeze()  # also skip the collection at exit
    sys.exit(status)


def _exclude_working_directory() -> None:
    """Remove the working directory, which `python -m` adds, from sys.path: others may write to it, as to /tmp.

    Keep it if it contains this package.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # pathlib is not imported yet
    sys.path[:] = [
        folder for folder in sys.path if not _is_same(folder, os.curdir) or _is_same(folder, package)
    ]


def _is_same(folder: str, other: str) -> bool:
    try:
        return os.path.samefile(folder or os.curdir, other)  # noqa: PTH121
    except OSError:
        return False


def _open_streams() -> None:
    """Point closed standard streams to /dev/null, and escape characters that the output encoding lacks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # It takes the lowest free descriptor, the closed one, which no other file can get then.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # stays open
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
