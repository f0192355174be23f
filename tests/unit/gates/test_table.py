"""Verdicts as a table."""

from __future__ import annotations

import dataclasses
import datetime as dt

import pytest

from mclass_tf.gates import table
from mclass_tf.gates.verdict import Finding, Problem, Verdict, WaivedFinding, Waiver

LB = Finding(
    gate="checkov",
    check="CKV_AWS_91",
    title="Ensure the load balancer has access logging enabled",
    resource="module.alb.aws_lb.this",
    file="modules/alb/main.tf",
    line=12,
    guideline="",
    fix="add access_logs with a bucket and enabled = true; the root does so when access_logs_bucket is set",
)
BLUE, GREEN = (
    dataclasses.replace(LB, check="CKV_AWS_378", resource=f'module.alb.aws_lb_target_group.this["{colour}"]')
    for colour in ("blue", "green")
)
WAIVER = Waiver(
    check="CKV_AWS_378",
    resource="module.alb.aws_lb_target_group.this",
    environments=("dev",),
    reason="TLS ends at the load balancer and traffic from there stays inside the VPC, where nobody else is admitted.",
    expires=dt.date(2027, 6, 30),
    file="policy/waivers.toml",
    line=3,
)
VERDICT = Verdict(
    gate="checkov",
    checked=74,
    failed=(dataclasses.replace(LB, check="CKV_AWS_150"), LB),
    waived=tuple(WaivedFinding(finding=finding, waiver=WAIVER) for finding in (BLUE, GREEN)),
    problems=(Problem(message="a waiver matches nothing", fix="delete it", blocking=False),),
    seconds=0.34,
)


def test_findings_stand_under_their_resource_with_place_title_and_fix() -> None:
    assert table.render([VERDICT], width=80).splitlines() == [
        "module.alb.aws_lb.this",
        "  FAILED  CKV_AWS_150  modules/alb/main.tf:12",
        "          Ensure the load balancer has access logging enabled",
        "          fix: add access_logs with a bucket and enabled = true; the root does",
        "               so when access_logs_bucket is set",
        "  FAILED  CKV_AWS_91  modules/alb/main.tf:12",
        "          Ensure the load balancer has access logging enabled",
        "          fix: add access_logs with a bucket and enabled = true; the root does",
        "               so when access_logs_bucket is set",
        "",
        "WARNING  a waiver matches nothing",
        "  fix: delete it",
        "",
        "WAIVED  CKV_AWS_378 module.alb.aws_lb_target_group.this (2 findings) until 2027…",
        "",
        "FAILED  checkov: 74 checks, 2 failed, 2 waived, 1 warning, 0.3 s",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_asked_for(width: int) -> None:
    assert max(len(line) for line in table.render([VERDICT], width=width).splitlines()) <= width


def test_a_waiver_is_one_line_however_many_resources_it_excuses() -> None:
    lines = [line for line in table.render([VERDICT], width=100).splitlines() if line.startswith("WAIVED")]
    assert len(lines) == 1
    assert "(2 findings) until 2027-06-30" in lines[0]


def test_colour_is_there_only_when_asked_for() -> None:
    assert "\033[" not in table.render([VERDICT], width=80)
    assert "\033[31mFAILED\033[0m" in table.render([VERDICT], width=80, colour=True)


def test_the_last_line_says_whether_the_gate_passed() -> None:
    passed = dataclasses.replace(VERDICT, failed=(), problems=())
    assert table.render([passed]).splitlines()[-1] == (
        "PASSED  checkov: 74 checks, 0 failed, 2 waived, 0 warnings, 0.3 s"
    )
    nothing = dataclasses.replace(passed, checked=0)
    assert table.render([nothing]).splitlines()[-1].startswith("FAILED")


def test_a_blocking_problem_reads_as_a_failure() -> None:
    blocked = dataclasses.replace(
        VERDICT, problems=(Problem(message="expired", fix="renew it", blocking=True),)
    )
    assert "FAILED  expired\n  fix: renew it" in table.render([blocked])
