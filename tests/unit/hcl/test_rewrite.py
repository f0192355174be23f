"""HCL in the forms that an older parser knows: on the same lines, with the same meaning."""

from __future__ import annotations

import pytest
from hypothesis import given

from mclass_tf.hcl.expression import is_literal, literal
from mclass_tf.hcl.rewrite import in_older_forms
from mclass_tf.hcl.syntax import parse
from tests.terraform.values import values


@pytest.mark.parametrize(
    ("text", "rewritten"),
    [
        ("a = 1e1\n", "a = 10\n"),
        ("a = -12.5E-1 // 1e1\n", "a = -1.25 // 1e1\n"),
        ('a = "1e1"\n', 'a = "1e1"\n'),
        ("a = <<EOT\nEOT\nb = 1\n", 'a = "" /*\n*/\nb = 1\n'),
        ("a = <<-A\n  x\n  A\n", "a = <<-HEREDOC\n  x\n  HEREDOC\n"),
        ("a = <<가\n${b}\n가\n", "a = <<HEREDOC\n${b}\nHEREDOC\n"),
        ("a = <<EOT\nx\nEOT\n", "a = <<EOT\nx\nEOT\n"),
        ("가 = { 가 = b.가 } # 가\n", "u_eab080 = { u_eab080 = b.u_eab080 } # 가\n"),
        ('variable "가" {\n}\n', 'variable "가" {\n}\n'),
        ("a = 1e999999999\n", "a = 1e999999999\n"),
    ],
)
def test_what_an_older_parser_does_not_know_is_rewritten_and_nothing_else(text: str, rewritten: str) -> None:
    assert in_older_forms(text) == rewritten


def test_what_is_not_understood_is_not_rewritten() -> None:
    assert in_older_forms("a = = 1e1") is None


@given(values)
def test_a_rewritten_value_is_the_same_value(form: str) -> None:
    text = f"a = {form}\nb = 1\n"
    rewritten = in_older_forms(text)
    assert rewritten is not None

    before, after = (parse(each.encode()).body.attributes for each in (text, rewritten))

    assert [(each.name, each.line) for each in after] == [(each.name, each.line) for each in before]
    assert is_literal(after[0].value) >= is_literal(before[0].value)
    if is_literal(before[0].value) and text.isascii():
        assert literal(after[0].value) == literal(before[0].value)
