"""Addresses that were given up: a plan of what was applied under them moves it, and changes nothing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project, Terraform

RULES = ("production", "test")
TEST = """
mock_provider "aws" {}

variables {
  certificate_arn = "arn:aws:acm:ap-northeast-2:111111111111:certificate/00000000-0000-4000-8000-000000000001"
  name            = "mclass"
  subnet_ids      = ["subnet-00000000000000001", "subnet-00000000000000002"]
  vpc_id          = "vpc-00000000000000001"
}

run "before" {
  state_key = "applied"

  module {
    source = "./before"
  }
}

run "after" {
  command   = plan
  state_key = "applied"
}
"""


def _singly(hcl: str) -> str:
    """Return the configuration as it was: each rule a resource of its own, the container's port on the groups."""
    hcl = re.sub(r"(  vpc_id +=.*\n  port +=) 80\n", r"\1 3000\n", hcl)
    hcl = re.sub(
        r'^resource "aws_lb_listener_rule" "this" \{\n  for_each = local\.rule_priorities\n(.*?^\}\n)',
        lambda block: "\n".join(
            f'resource "aws_lb_listener_rule" "{name}" {{\n{block[1]}'.replace(
                "each.key", f'"{name}"'
            ).replace("each.value", f'local.rule_priorities["{name}"]')
            for name in RULES
        ),
        hcl,
        flags=re.MULTILINE | re.DOTALL,
    )
    hcl = re.sub(r'aws_lb_listener_rule\.this\["(\w+)"\]', r"aws_lb_listener_rule.\1", hcl)
    hcl = hcl.replace(
        "[aws_lb_listener_rule.this]", "[aws_lb_listener_rule.production, aws_lb_listener_rule.test]"
    )
    return _with_keys(hcl)


def _with_keys(hcl: str) -> str:
    """Return the configuration as it was later: the production listener is one of several."""
    hcl = hcl.replace(
        'resource "aws_lb_listener" "production" {\n',
        'resource "aws_lb_listener" "this" {\n  for_each = toset(["production"])\n\n',
    )
    return re.sub(r"aws_lb_listener\.production", 'aws_lb_listener.this["production"]', hcl)


def _write_before(module: Path) -> None:
    before = module / "before"
    before.mkdir()
    for path in set(module.glob("*.tf")) - {module / "moved.tf"}:
        (before / path.name).write_text(_singly(path.read_text()))


def _planned_changes(output: str) -> list[Mapping[str, Any]]:
    plans = (json.loads(line).get("test_plan") for line in output.splitlines())
    (plan,) = (plan for plan in plans if plan)
    changes: list[Mapping[str, Any]] = plan["resource_changes"]
    return changes


def test_a_plan_of_an_applied_load_balancer_moves_its_listeners_keeps_its_groups_and_changes_nothing(
    project: Project, newest: Terraform
) -> None:
    module = project.folder("modules/alb")
    _write_before(module)
    shutil.rmtree(module / "tests")
    (module / "moved.tftest.hcl").write_text(TEST)
    newest.init(module)
    if tuple(map(int, re.findall(r"\d+", newest.run("version", folder=module).stdout)[:2])) < (1, 11):
        pytest.skip("runs of a test share a state since Terraform 1.11")

    changes = _planned_changes(newest.test(module, "-json", "-verbose"))

    assert {tuple(each["change"]["actions"]) for each in changes} == {("no-op",)}
    assert {each["previous_address"]: each["address"] for each in changes if "previous_address" in each} == {
        'aws_lb_listener.this["production"]': "aws_lb_listener.production",
        **{f"aws_lb_listener_rule.{name}": f'aws_lb_listener_rule.this["{name}"]' for name in RULES},
    }
