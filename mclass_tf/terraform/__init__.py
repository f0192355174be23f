"""Drive Terraform: which engine, with which provider, by which command line, and what it said."""

from mclass_tf.terraform.client import Terraform
from mclass_tf.terraform.engine import Engine, find_engine
from mclass_tf.terraform.evaluate import evaluate

__all__ = ["Engine", "Terraform", "evaluate", "find_engine"]
