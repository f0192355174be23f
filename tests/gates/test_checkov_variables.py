"""Checkov gets HCL in forms that it can read, where Terraform accepts more than its parser does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mclass_tf import environment
from mclass_tf.gates.variables import variables_file


@pytest.fixture
def inputs(project: Path) -> Path:
    """Variables of the environment `sound` in forms that Terraform accepts but Checkov's parser does not."""
    with (project / "environments/sound/terraform.tfvars").open("a") as file:
        file.write('numbers = [1e1]\ntexts = { 이름 = "값" }\n')
    (project / "terraform/more.tf").write_text('variable "numbers" {}\nvariable "texts" {}\n')
    return project


def test_inputs_that_terraform_accepts_do_not_fail_the_gate(judge: Any, inputs: Path) -> None:
    decision = judge("sound")

    assert decision.verdicts[0].blocking == ()
    assert decision.approved is not None


FORMS = """
variable "exponent" { default = 1e1 }
locals {
  empty   = <<EOT
EOT
  short   = <<-A
    x
  A
  이름    = { 키 = <<가
x
가
  }
}
resource "aws_lb" "bare" {
  name = "${local.이름.키}-${var.exponent}"
}
"""


def test_forms_that_terraform_accepts_are_judged(judge: Any, project: Path) -> None:
    (project / "terraform/more.tf").write_text(FORMS)

    decision = judge("sound")

    assert [problem.message for problem in decision.verdicts[0].blocking] == []
    assert decision.approved is not None


def test_the_file_for_checkov_has_each_value_once_and_is_gone_afterwards(inputs: Path) -> None:
    with variables_file(environment.load(inputs, "sound")) as file:
        values = json.loads(file.read_text())
        assert file.parent.stat().st_mode & 0o777 == 0o700

    assert values["numbers"] == [[10]]
    assert values["texts"] == [{"이름": "값"}]
    assert not file.parent.exists()
