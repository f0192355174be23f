"""Read HCL and Terraform's JSON syntax: syntax trees, declarations of modules, and checks of values against types."""

from mclass_tf.hcl.module import files
from mclass_tf.hcl.values import check

__all__ = ["check", "files"]
