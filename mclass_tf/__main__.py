"""`python -m mclass_tf` and the script `mclass-tf`."""

import gc
import os
import sys


def run() -> None:
    _search_no_working_directory()
    from mclass_tf.cli import main, tracebacks  # noqa: PLC0415  # not before

    # A command lives for seconds: to collect cycles among the models of AWS's services costs more than it frees.
    gc.disable()
    _open_streams()
    tracebacks.guard()
    status = main(sys.argv[1:])
    gc.freeze()  # nor are they collected one last time at exit
    sys.exit(status)


def _search_no_working_directory() -> None:
    """Search no module in the working directory, as `python -m` does before all else: others may write to it, to /tmp say.

    Unless it is where this package itself lies.
    """
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120  # pathlib is not imported yet
    sys.path[:] = [place for place in sys.path if not _is_here(place) or _is_same(place, package)]


def _is_here(place: str) -> bool:
    return _is_same(place, os.curdir)


def _is_same(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one or os.curdir, other)  # noqa: PTH121
    except OSError:
        return False


def _open_streams() -> None:
    """Let a stream that was closed lead nowhere, and let no character be one that cannot be printed."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            # It takes the lowest descriptor, which is the closed one: no file of ours can land there.
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115  # for good
        elif mode == "w":
            stream.reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    run()
