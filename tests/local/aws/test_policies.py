"""Decisions of IAM policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mclass_tf.local.aws.policies import IamDecision, IamRequest, NotModelledError, decide
from mclass_tf.local.wildcards import matches

_ARN = "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/task:log-stream:a"
_REQUEST = IamRequest(
    action="logs:PutLogEvents",
    resource=_ARN,
    principals=("arn:aws:iam::111111111111:root", "ecs-tasks.amazonaws.com"),
    context={"aws:SourceAccount": "111111111111", "aws:SecureTransport": "true"},
)


def _decision(*statements: dict[str, Any], request: IamRequest = _REQUEST) -> IamDecision:
    return decide([json.dumps({"Statement": statement}) for statement in statements], request)


def _allow(**settings: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": "*", "Resource": "*", **settings}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"Action": "logs:*"},
        {"Action": ["s3:*", "LOGS:put?ogevents"]},
        {"Resource": "arn:aws:logs:*:111111111111:log-group:/ecs/*:*"},
        {"Principal": "*"},
        {"Principal": {"AWS": ["999999999999", "arn:aws:iam::111111111111:root"]}},
        {"Principal": {"Service": "ecs-tasks.amazonaws.com"}},
        {"Condition": {"StringEquals": {"aws:sourceaccount": ["2", "111111111111"]}}},
        {"Condition": {"StringNotEquals": {"aws:SourceAccount": "2"}}},
        {"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}},
        {"Condition": {"StringNotLike": {"aws:SourceVpc": "vpc-*"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": True}}},
        {"Condition": {"Null": {"aws:SourceVpc": "true"}}},
    ],
)
def test_a_statement_allows_what_all_of_its_elements_match(settings: dict[str, Any]) -> None:
    assert _decision(_allow(**settings)) is IamDecision.ALLOWED


@pytest.mark.parametrize(
    "settings",
    [
        {"Action": "logs:CreateLogStream"},
        {"Action": "log"},
        {"Resource": "arn:aws:logs:ap-northeast-2:111111111111:log-group:/ecs/task"},
        {"Resource": _ARN.upper()},
        {"Principal": {"AWS": "999999999999"}},
        {"Condition": {"StringEquals": {"aws:SourceAccount": "2"}}},
        {"Condition": {"StringNotEquals": {"aws:SourceAccount": "111111111111"}}},
        {"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}},
        {"Condition": {"Bool": {"aws:SecureTransport": "false"}}},
        {"Condition": {"Null": {"aws:SourceAccount": "true"}}},
    ],
)
def test_a_statement_does_not_apply_if_one_element_does_not_match(
    settings: dict[str, Any],
) -> None:
    assert _decision(_allow(**settings)) is IamDecision.NOT_ALLOWED


def test_not_action_matches_every_other_action() -> None:
    statement = {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}
    assert _decision(statement) is IamDecision.ALLOWED
    assert _decision({**statement, "NotAction": "logs:*"}) is IamDecision.NOT_ALLOWED


def test_a_deny_overrides_every_allow() -> None:
    assert _decision(_allow(), _allow(Effect="Deny", Action="logs:*")) is IamDecision.DENIED
    assert _decision(_allow(), _allow(Effect="Deny", Action="s3:*")) is IamDecision.ALLOWED


def test_without_a_policy_nothing_is_allowed() -> None:
    assert decide([], _REQUEST) is IamDecision.NOT_ALLOWED


def test_an_element_that_is_not_modelled_is_an_error() -> None:
    with pytest.raises(NotModelledError, match="DateGreaterThan"):
        _decision(_allow(Condition={"DateGreaterThan": {"aws:CurrentTime": "2020-01-01"}}))


def test_brackets_in_a_pattern_are_literal() -> None:
    assert matches("a[b]*", "a[b]c")
    assert not matches("a[b]*", "abc")
