"""Names who acts: the job of a continuous integration, or the user behind the credentials.

The name is for people who read the ledger, the lease or CloudTrail. Nothing is permitted or refused by it, since anybody can
set an environment variable.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LONGEST = 64
_SHORTEST = 2
_FALLBACK = "mclass-tf"
_FORBIDDEN = re.compile(r"[^A-Za-z0-9_+=,.@-]+")
_RESERVED = re.compile(r"^(aws:?)+", re.IGNORECASE)
# Names that SDKs and actions give to every session, so they name nobody.
_ANONYMOUS = re.compile(
    r"botocore-session-\d+|aws-go-sdk-\d+|aws-sdk-js-session-\d+|GitHubActions|default|mclass-tf", re.ASCII
)
_RESOURCE = 5  # its index in an ARN

# By CI system: a variable that it always sets, and its variables for the person, the project and the run.
# https://docs.github.com/en/actions/reference/workflows-and-actions/variables
# https://docs.gitlab.com/ci/variables/predefined_variables/
# https://buildkite.com/docs/pipelines/configure/environment-variables
# https://circleci.com/docs/reference/variables/
# https://learn.microsoft.com/en-us/azure/devops/pipelines/build/variables
# https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html
# https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables
_SYSTEMS: tuple[tuple[str, str, str, str], ...] = (
    ("GITHUB_ACTIONS", "GITHUB_ACTOR", "GITHUB_REPOSITORY", "GITHUB_RUN_ID"),
    ("GITLAB_CI", "GITLAB_USER_LOGIN", "CI_PROJECT_PATH", "CI_JOB_ID"),
    ("BUILDKITE", "BUILDKITE_BUILD_CREATOR", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_NUMBER"),
    ("CIRCLECI", "CIRCLE_USERNAME", "CIRCLE_PROJECT_REPONAME", "CIRCLE_BUILD_NUM"),
    ("TF_BUILD", "BUILD_REQUESTEDFOREMAIL", "BUILD_REPOSITORY_NAME", "BUILD_BUILDID"),
    ("CODEBUILD_BUILD_ID", "CODEBUILD_INITIATOR", "CODEBUILD_PROJECT_NAME", "CODEBUILD_BUILD_NUMBER"),
    ("JENKINS_URL", "BUILD_USER_ID", "JOB_NAME", "BUILD_NUMBER"),
)


def actor(env: Mapping[str, str], *, caller_arn: str) -> str:
    r"""Return a name for the session of a role: the CI job if there is one, else the user or session of `caller_arn`.

    It matches [\w+=,.@-]{2,64}, as AWS requires of RoleSessionName and SourceIdentity.
    """
    return job(env) or _sized(_cleaned(_user(caller_arn))) or _FALLBACK


def job(env: Mapping[str, str]) -> str:
    """Return the CI job as PERSON@PROJECT.RUN, "" outside CI. If it is too long, the project is cut."""
    for marker, *names in _SYSTEMS:
        if env.get(marker):
            person, project, run = (_cleaned(env.get(name, "")) for name in names)
            person, run = person[: LONGEST // 2], run[: LONGEST // 4]
            before, after = f"{person}@" if person else "", f".{run}" if run else ""
            room = LONGEST - len(before) - len(after)
            return _sized(f"{before}{project[-room:]}{after}")
    return ""


def _user(arn: str) -> str:
    """Return the name of a user, of a role's session, or of the role if its session has a name that everybody has."""
    parts = arn.split(":", _RESOURCE)
    kind, *path = (parts[_RESOURCE] if len(parts) > _RESOURCE else "").split("/")
    if not path:
        return kind  # root
    is_anonymous = kind == "assumed-role" and _ANONYMOUS.fullmatch(path[-1])
    return path[-2] if is_anonymous and len(path) > 1 else path[-1]


def _cleaned(text: str) -> str:
    return _FORBIDDEN.sub("-", text[: 16 * LONGEST]).strip("-")


def _sized(text: str) -> str:
    """Return a cleaned text with a length that AWS accepts, "" if nothing is left of it."""
    name = _RESERVED.sub("", text)[:LONGEST]
    return name if len(name) >= _SHORTEST else name and f"{name}-"
