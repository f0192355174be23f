"""Reading HCL and Terraform's JSON: the syntax tree, what a module declares, and values against declared types."""

from mclass_tf.hcl.module import files
from mclass_tf.hcl.values import check

__all__ = ["check", "files"]
