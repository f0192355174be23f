"""The command line. Nothing else in the package prints or exits."""

from mclass_tf.cli.run import main

__all__ = ["main"]
