"""`python -m mclass_tf` and the script `mclass-tf`."""

import gc
import sys

from mclass_tf.cli import main


def run() -> None:
    # A command lives for seconds: to collect the cycles among Checkov's million objects costs more than it frees.
    gc.disable()
    status = main(sys.argv[1:])
    gc.freeze()  # nor are they collected one last time at exit, which would take most of a second
    sys.exit(status)


if __name__ == "__main__":
    run()
