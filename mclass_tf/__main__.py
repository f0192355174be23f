"""`python -m mclass_tf` and the script `mclass-tf`."""

import sys

from mclass_tf.cli import main


def run() -> None:
    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
