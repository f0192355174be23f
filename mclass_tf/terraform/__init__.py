"""Run Terraform: find the engine and the provider, build command lines, parse the output."""

from mclass_tf.terraform.client import Terraform
from mclass_tf.terraform.engine import Engine, find_engine
from mclass_tf.terraform.evaluate import evaluate

__all__ = ["Engine", "Terraform", "evaluate", "find_engine"]
