"""The name of a session says who acts, and is one that AWS accepts, whatever the environment variables hold."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mclass_tf.credentials import actor, job

ROLE = "arn:aws:sts::111111111111:assumed-role"
GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_ACTOR": "kim",
    "GITHUB_REPOSITORY": "acme/shop",
    "GITHUB_RUN_ID": "1234567890",
}


@pytest.mark.parametrize(
    ("env", "name"),
    [
        (GITHUB, "kim@acme-shop.1234567890"),
        (
            {
                "GITLAB_CI": "true",
                "GITLAB_USER_LOGIN": "kim",
                "CI_PROJECT_PATH": "acme/shop",
                "CI_JOB_ID": "9",
            },
            "kim@acme-shop.9",
        ),
        ({"BUILDKITE": "true", "BUILDKITE_PIPELINE_SLUG": "shop", "BUILDKITE_BUILD_NUMBER": "9"}, "shop.9"),
        ({"JENKINS_URL": "http://ci", "JOB_NAME": "shop/main", "BUILD_NUMBER": "9"}, "shop-main.9"),
        ({"GITHUB_ACTOR": "kim"}, ""),
        ({"CI": "true"}, ""),
    ],
)
def test_a_job_is_named_by_person_project_and_run(env: dict[str, str], name: str) -> None:
    assert job(env) == name


@pytest.mark.parametrize(
    ("arn", "name"),
    [
        ("arn:aws:iam::111111111111:user/team/kim", "kim"),
        ("arn:aws-cn:iam::111111111111:user/kim", "kim"),
        ("arn:aws:iam::111111111111:root", "root"),
        ("arn:aws:sts::111111111111:federated-user/kim", "kim"),
        (f"{ROLE}/AWSReservedSSO_Deploy_0123456789abcdef/kim@example.com", "kim@example.com"),
        (f"{ROLE}/runner/i-0123456789abcdef0", "i-0123456789abcdef0"),
        (f"{ROLE}/ci/botocore-session-1764000000", "ci"),
        (f"{ROLE}/ci/GitHubActions", "ci"),
        ("arn:aws:iam::111111111111:user/k", "k-"),
        ("", "mclass-tf"),
        ("nonsense", "mclass-tf"),
    ],
)
def test_without_a_job_it_is_the_user_or_the_session_of_the_credentials(arn: str, name: str) -> None:
    assert actor({}, caller_arn=arn) == name


def test_a_long_project_is_cut_and_person_and_run_stay() -> None:
    name = actor({**GITHUB, "GITHUB_REPOSITORY": "x" * 300 + "/shop"}, caller_arn="")

    assert len(name) == 64
    assert name.startswith("kim@xxx")
    assert name.endswith("x-shop.1234567890")


@given(actor_=st.text(), repository=st.text(), run=st.text())
@example(actor_="aws:kim", repository="", run="")
@example(actor_="a" * 1000, repository="b" * 1000, run="c" * 1000)
@example(actor_="\nkim\x00; rm -rf /", repository="../..", run="$(id)")
@example(actor_="", repository="", run="")
def test_hostile_values_become_a_name_that_aws_accepts(actor_: str, repository: str, run: str) -> None:
    env = {**GITHUB, "GITHUB_ACTOR": actor_, "GITHUB_REPOSITORY": repository, "GITHUB_RUN_ID": run}

    name = actor(env, caller_arn=f"{ROLE}/deploy/{actor_}")

    assert re.fullmatch(r"[A-Za-z0-9_+=,.@-]{2,64}", name)
    assert not name.lower().startswith("aws:")
