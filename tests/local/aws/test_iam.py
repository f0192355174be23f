"""IAM: the versions of policies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.local import in_process

_STATEMENT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
_TRUST = {"Effect": "Allow", "Principal": {"Service": "ecs-tasks.amazonaws.com"}, "Action": "sts:AssumeRole"}
_OLD: dict[str, dict[str, str]] = {"2008-10-17": {"Version": "2008-10-17"}, "without a version": {}}
_MALFORMED = "MalformedPolicyDocument"


@pytest.fixture
def iam() -> Any:
    return in_process.client(in_process.new_account(), "iam")


def _document(statement: dict[str, Any], version: dict[str, str]) -> str:
    return json.dumps({**version, "Statement": [statement]})


@pytest.mark.parametrize("version", _OLD.values(), ids=_OLD)
def test_trust_and_inline_policies_may_have_the_old_version(iam: Any, version: dict[str, str]) -> None:
    trust, policy = _document(_TRUST, version), _document(_STATEMENT, version)
    iam.create_role(RoleName="role", AssumeRolePolicyDocument=trust)
    iam.update_assume_role_policy(RoleName="role", PolicyDocument=trust)
    iam.put_role_policy(RoleName="role", PolicyName="inline", PolicyDocument=policy)
    iam.create_user(UserName="user")
    iam.put_user_policy(UserName="user", PolicyName="inline", PolicyDocument=policy)


@pytest.mark.parametrize("version", _OLD.values(), ids=_OLD)
def test_a_managed_policy_must_have_the_current_version(iam: Any, version: dict[str, str]) -> None:
    old = _document(_STATEMENT, version)
    with pytest.raises(ClientError, match=f"{_MALFORMED}.*2012-10-17 or greater"):
        iam.create_policy(PolicyName="managed", PolicyDocument=old)
    current = _document(_STATEMENT, {"Version": "2012-10-17"})
    arn = iam.create_policy(PolicyName="managed", PolicyDocument=current)["Policy"]["Arn"]
    with pytest.raises(ClientError, match=f"{_MALFORMED}.*2012-10-17 or greater"):
        iam.create_policy_version(PolicyArn=arn, PolicyDocument=old)


@pytest.mark.parametrize("version", ["2012-10-18", "", "latest"])
def test_no_policy_has_a_version_that_does_not_exist(iam: Any, version: str) -> None:
    with pytest.raises(ClientError, match=_MALFORMED):
        iam.create_role(RoleName="role", AssumeRolePolicyDocument=_document(_TRUST, {"Version": version}))
