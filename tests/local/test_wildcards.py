"""Patterns of `*` and `?` match correctly, in a time that no pattern can blow up."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mclass_tf.local.aws.policies import IamDecision, IamRequest, decide
from mclass_tf.local.balancer.rules import compile_conditions
from mclass_tf.local.wildcards import expression, matches
from mclass_tf.verify.iam import statements_of
from tests.local.balancer.test_rules import request

_LONG = 16_000  # characters of a path, which is about as long as a load balancer takes
_SECONDS = 2.0  # for what takes milliseconds; with a try for every way to match it takes years


def _naive(pattern: str, text: str) -> bool:
    """Match by definition: every character of the pattern against every rest of the text."""
    if not pattern:
        return not text
    if pattern[0] == "*":
        return any(_naive(pattern[1:], text[start:]) for start in range(len(text) + 1))
    return bool(text) and pattern[0] in {"?", text[0]} and _naive(pattern[1:], text[1:])


@given(pattern=st.text("ab*?", max_size=8), text=st.text("ab\n", max_size=10))
@example(pattern="*a*", text="a")
@example(pattern="a*a", text="a")
@example(pattern="**", text="")
@example(pattern="*ab*b", text="aabb")
@example(pattern="*?", text="\n")
def test_a_pattern_means_what_its_definition_says(pattern: str, text: str) -> None:
    assert matches(pattern, text) is _naive(pattern, text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"a\*b", "a*b", True),
        (r"a\*b", "axb", False),
        (r"a\?b*", "a?bc", True),
        (r"a\b", r"a\b", True),
        ("[a]", "[a]", True),
        ("[a]", "a", False),
    ],
)
def test_a_backslash_takes_a_wildcards_meaning_away_and_nothing_else_has_one(
    pattern: str, text: str, *, expected: bool
) -> None:
    found = re.fullmatch(expression(pattern, escapes=True), text, re.DOTALL)
    assert (found is not None) is expected


@pytest.mark.timeout(30)
@pytest.mark.parametrize("length", [400, _LONG])
@pytest.mark.parametrize("pattern", ["/*a*a*a*a*b", "/" + "*a" * 60 + "*b", "/" + "*a?" * 40 + "*b"])
def test_many_wildcards_take_no_time(pattern: str, length: int) -> None:
    path = "/" + "a" * length
    conditions: list[dict[str, Any]] = [
        {"Field": "path-pattern", "Values": [pattern]},
        {"Field": "host-header", "Values": [pattern]},
        {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X", "Values": [pattern]}},
        {"Field": "query-string", "QueryStringConfig": {"Values": [{"Value": pattern}]}},
    ]
    asked = request(
        f"{path[: _LONG // 2]}?{path[_LONG // 2 :] or path}", headers={"Host": path[:16_000], "X": path}
    )
    statement = {"Effect": "Allow", "Action": pattern, "Resource": pattern, "Principal": "*"}
    policy = {"Statement": statement}
    before = time.process_time()
    assert not any(condition(asked, "127.0.0.1") for condition in compile_conditions(conditions))
    assert decide([json.dumps(policy)], IamRequest(action=path, resource=path)) is IamDecision.NOT_ALLOWED
    assert not statements_of(policy)[0].covers(action=path, resource=path)
    assert time.process_time() - before < _SECONDS
