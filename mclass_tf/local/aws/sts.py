"""STS: role sessions with credentials that are unguessable and expire, and with the name of who acts.

moto accepts any key. The local AWS accepts only issued keys (`callers`), so it stores each session. Four calls are refused
(`operations`): GetSessionToken and GetFederationToken would return the keys in moto's documentation, and the calls with an
identity provider's token accept any token.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import getpass
import re
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import moto.iam.utils
from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends
from moto.sts import urls
from moto.sts.exceptions import STSValidationError
from moto.sts.models import AssumedRole, STSBackend, sts_backends
from moto.sts.responses import TokenResponse
from moto.utilities.utils import get_partition

from mclass_tf.local.aws import policies, roles
from mclass_tf.local.aws.denial import ForbiddenError
from mclass_tf.local.aws.extend import use_backend, use_responses

_ACCOUNT = 4  # its index in an ARN
_KEPT_AFTER_EXPIRY = 3600.0  # seconds in which an expired session is distinguished from an unknown one
_NAME = re.compile(r"[\w+=,.@-]{2,64}", re.ASCII)
_SHORTEST, _LONGEST = 900, 43_200  # seconds that AWS accepts
_CHAINED = 3600
_TOO_LONG_FOR_A_CHAIN = (
    "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
)
_TOO_LONG_FOR_THE_ROLE = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
SHORTEST_LIMIT = 1.0
"""Seconds. The shortest limit of a session's life that can be set here."""


@dataclass(frozen=True, kw_only=True)
class RoleSession:
    """Issued credentials. `expires_at` is in seconds since the epoch.

    `task_id` names the task with whose role the session began, directly or by AssumeRole. Such a caller may be anybody's code.
    `source_identity` is who began the chain of sessions, "" if nobody said.
    """

    account_id: str
    role_arn: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    task_id: str | None = None
    source_identity: str = ""


class Sessions:
    """The sessions of this instance by access key. They end with the instance and are not restored from a snapshot.

    `limit` is how many seconds the sessions of clients live at most, None for AWS's own limits. These seconds are real ones at any
    speed of the clock. AWS has no such limit: it makes sessions end within a rehearsal, as they do within an hour on AWS.
    """

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.limit: float | None = None
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, RoleSession] = {}

    def add(self, access_key_id: str, session: RoleSession) -> None:
        now = self._clock()
        with self._lock:
            known = self._sessions.items()
            self._sessions = {
                key: entry for key, entry in known if entry.expires_at + _KEPT_AFTER_EXPIRY > now
            }
            self._sessions[access_key_id] = session

    def find(self, access_key_id: str) -> RoleSession | None:
        """Return the session, even if it expired within the last hour."""
        return self._sessions.get(access_key_id)

    def mark(self, access_key_id: str, **changes: Any) -> None:
        """Change fields of a session."""
        with self._lock:
            self._sessions[access_key_id] = dataclasses.replace(self._sessions[access_key_id], **changes)

    def expiry(self, *, seconds: float) -> dt.datetime:
        """Return when a session ends that begins now. AWS gives whole seconds."""
        lifetime = seconds if self.limit is None else min(seconds, self.limit)
        return dt.datetime.fromtimestamp(int(self._clock() + lifetime), dt.UTC)


sessions = Sessions()


class LocalStsBackend(STSBackend):  # type: ignore[misc]  # moto is not typed for us
    def assume_role(self, **arguments: Any) -> AssumedRole:  # moto calls it by names
        """Store the issued session."""
        issued = super().assume_role(**arguments)
        sessions.add(
            issued.access_key_id,
            RoleSession(
                account_id=issued.account_id,
                role_arn=issued.role_arn,
                secret_access_key=issued.secret_access_key,
                token=issued.session_token,
                expires_at=issued.expiration.replace(tzinfo=dt.UTC).timestamp(),
            ),
        )
        return issued

    def get_caller_identity(self, access_key_id: str, region: str) -> tuple[str, str, str]:
        """Name the owner of this instance as a user of IAM, by the name of the user of this machine.

        moto names an unknown key "user/moto", with an ARN that AWS does not have.
        """
        user_id, arn, account_id = super().get_caller_identity(access_key_id, region)
        if arn.endswith(":user/moto") and account_id == DEFAULT_ACCOUNT_ID:
            arn = f"arn:{get_partition(region)}:iam::{account_id}:user/{_user()}"
        return user_id, arn, account_id


def _user() -> str:
    try:
        name = getpass.getuser()
    except (OSError, KeyError):  # a user without an entry, as in many containers
        name = ""
    return name if _NAME.fullmatch(name) else "owner"


class LocalStsResponses(TokenResponse):  # type: ignore[misc]  # moto is not typed for us
    def assume_role(self) -> Any:
        """Validate the request as AWS does, and store who asked for the session.

        https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
        """
        caller = sessions.find(self.get_access_key())
        role_arn = str(self._get_param("RoleArn"))
        seconds = self._get_int_param("DurationSeconds", _CHAINED)
        _check_names(name=self._get_param("RoleSessionName"), source=self._get_param("SourceIdentity"))
        _check_duration(seconds, role=_role(role_arn), is_chained=caller is not None)
        _check_trust(role_arn, caller=caller)
        source = _source_identity(self._get_param("SourceIdentity"), role_arn=role_arn, caller=caller)
        answer = super().assume_role()
        issued = answer.result["Credentials"]
        issued.expiration = sessions.expiry(seconds=seconds).replace(tzinfo=None)
        sessions.mark(
            issued.access_key_id,
            expires_at=issued.expiration.replace(tzinfo=dt.UTC).timestamp(),
            source_identity=source,
            task_id=None if caller is None else caller.task_id,
        )
        if source:
            answer.result["SourceIdentity"] = source
        return answer


def _check_names(*, name: str | None, source: str | None) -> None:
    for member, value in (("roleSessionName", name or ""), ("sourceIdentity", source)):
        if value is not None and (not _NAME.fullmatch(value) or value.lower().startswith("aws:")):
            raise STSValidationError(
                f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w+=,.@-]* and have a length from 2 to 64"
            )


def _check_duration(seconds: int, *, role: Any, is_chained: bool) -> None:
    """Refuse a session that is too long for its role, or for a role of a chain, whatever that role allows.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining
    A role that does not exist here has no limit of its own.
    """
    if not _SHORTEST <= seconds <= _LONGEST:
        raise STSValidationError(
            f"1 validation error detected: Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: "
            f"Member must have value between {_SHORTEST} and {_LONGEST}"
        )
    if is_chained and seconds > _CHAINED:
        raise STSValidationError(_TOO_LONG_FOR_A_CHAIN)
    if role is not None and seconds > int(role.max_session_duration or _CHAINED):
        raise STSValidationError(_TOO_LONG_FOR_THE_ROLE)


def _check_trust(role_arn: str, *, caller: RoleSession | None) -> None:
    """Let a task assume only roles that trust its role. Others may assume any role.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html
    """
    if caller is None or caller.task_id is None:
        return
    role = _role(role_arn)
    if role is None or not _trusts(role, action="sts:AssumeRole", caller=caller):
        raise ForbiddenError(
            f"User: {caller.role_arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
        )


def _source_identity(requested: str | None, *, role_arn: str, caller: RoleSession | None) -> str:
    """Return the new session's source identity: the requested one, or the one that the caller's session has and keeps.

    A session cannot change it. A role's trust policy must allow sts:SetSourceIdentity, also where it is only passed on.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/id_credentials_temp_control-access_monitor.html
    """
    inherited = "" if caller is None else caller.source_identity
    source = inherited or requested or ""
    role = _role(role_arn)
    is_trusted = role is None or _trusts(role, action="sts:SetSourceIdentity", caller=caller)
    if source and (not is_trusted or requested not in {None, source}):
        who = f"arn:aws:iam::{DEFAULT_ACCOUNT_ID}:root" if caller is None else caller.role_arn
        raise ForbiddenError(
            f"User: {who} is not authorized to perform: sts:SetSourceIdentity on resource: {role_arn}"
        )
    return source


def issue(
    *, account_id: str, region: str, role_arn: str, name: str, seconds: int, task_id: str | None = None
) -> AssumedRole:
    """Issue credentials for a task or a function. Call it under the API lock."""
    issued = sts_backends[account_id][get_partition(region)].assume_role(
        region_name=region,
        role_session_name=name,
        role_arn=role_arn,
        policy="",
        duration=seconds,
        external_id="",
    )
    if task_id is not None:
        sessions.mark(issued.access_key_id, task_id=task_id)
    return issued


def _role(role_arn: str) -> Any:
    """Return moto's role, None if it does not exist. moto creates an account when it is looked up."""
    parts = role_arn.split(":")
    return roles.find(role_arn) if len(parts) > _ACCOUNT + 1 and parts[_ACCOUNT] in iam_backends else None


def _trusts(role: Any, *, action: str, caller: RoleSession | None) -> bool:
    """Return whether the role's trust policy allows the action to the caller's role or account; None is the owner."""
    account_id = DEFAULT_ACCOUNT_ID if caller is None else caller.account_id
    root = f"arn:{str(role.arn).split(':')[1]}:iam::{account_id}:root"
    principals = (root, account_id) if caller is None else (caller.role_arn, root, account_id)
    request = policies.IamRequest(action=action, resource=str(role.arn), principals=principals)
    try:
        decision = policies.decide([role.assume_role_policy_document], request)
    except policies.NotModelledError:
        return False
    return decision is policies.IamDecision.ALLOWED


def install() -> None:
    use_backend(backends=sts_backends, urls=urls, backend=LocalStsBackend)
    use_responses(urls=urls, responses=LocalStsResponses)
    # moto also generates secret keys. Its generator is seeded once, so its output is predictable from enough identifiers.
    moto.iam.utils.random = secrets.SystemRandom()
