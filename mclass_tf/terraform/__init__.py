"""Drive Terraform: which engine, with which provider, by which command line, and what it said."""

from mclass_tf.terraform.client import Terraform
from mclass_tf.terraform.engine import Engine, find_engine

__all__ = ["Engine", "Terraform", "find_engine"]
