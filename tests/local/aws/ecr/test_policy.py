"""Repository policies allow another account exactly what they state explicitly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mclass_tf.local.aws.ecr import policy

PULL = "ecr:BatchGetImage"
ALLOW = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::222222222222:root"}, "Action": [PULL]}


def allows(*statements: dict[str, Any], action: str = PULL) -> bool:
    text = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
    return policy.allows(text, account_id="222222222222", action=action)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"Principal": "*"},
        {"Principal": {"AWS": ["111111111111", "222222222222"]}},
        {"Action": PULL},
        {"Action": "ecr:Batch*"},
        {"Action": "ECR:batchgetimage"},
    ],
)
def test_an_allow_for_the_account_applies(change: dict[str, Any]) -> None:
    assert allows({**ALLOW, **change})


@pytest.mark.parametrize(
    "change",
    [
        {"Principal": {"AWS": "arn:aws:iam::333333333333:root"}},
        {"Principal": {"AWS": "arn:aws:iam::222222222222:role/deploy"}},
        {"Principal": {"Service": "lambda.amazonaws.com"}},
        {"Action": "ecr:PutImage"},
        {"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}},
        {"Effect": "Deny"},
    ],
)
def test_an_unmodelled_or_different_allow_does_not_apply(change: dict[str, Any]) -> None:
    assert not allows({**ALLOW, **change})


def test_a_deny_overrides_an_allow() -> None:
    denial = {"Effect": "Deny", "Principal": "*", "Action": "ecr:*"}

    assert not allows(ALLOW, denial)
    assert not allows(ALLOW, {**denial, "Condition": {"Bool": {"aws:SecureTransport": "false"}}})


def test_without_a_policy_other_accounts_are_denied() -> None:
    assert not policy.allows(None, account_id="222222222222", action=PULL)


def test_one_statement_need_not_be_a_list() -> None:
    assert policy.allows(json.dumps({"Statement": ALLOW}), account_id="222222222222", action=PULL)
