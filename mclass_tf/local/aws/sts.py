"""STS: role sessions with credentials that are unguessable and expire.

moto accepts any key. The local AWS accepts only issued keys (`callers`), so it stores each session. Four calls are refused
(`operations`): GetSessionToken and GetFederationToken would return the keys in moto's documentation, and the calls with an
identity provider's token accept any token.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import moto.iam.utils
from moto.iam.models import iam_backends
from moto.sts import urls
from moto.sts.models import AssumedRole, STSBackend, sts_backends
from moto.sts.responses import TokenResponse
from moto.utilities.utils import get_partition

from mclass_tf.local.aws import policies, roles
from mclass_tf.local.aws.denial import ForbiddenError
from mclass_tf.local.aws.extend import use_backend, use_responses

_ACCOUNT = 4  # its index in an ARN
_KEPT_AFTER_EXPIRY = 3600.0  # seconds in which an expired session is distinguished from an unknown one


@dataclass(frozen=True, kw_only=True)
class RoleSession:
    """Issued credentials. `expires_at` is in seconds since the epoch.

    `task_id` names the task with whose role the session began, directly or by AssumeRole. Such a caller may be anybody's code.
    """

    account_id: str
    role_arn: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    task_id: str | None = None


class Sessions:
    """The sessions of this instance by access key. They end with the instance and are not restored from a snapshot."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
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

    def bind(self, access_key_id: str, *, task_id: str) -> None:
        """Mark the session as one of a task."""
        with self._lock:
            self._sessions[access_key_id] = dataclasses.replace(
                self._sessions[access_key_id], task_id=task_id
            )


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


class LocalStsResponses(TokenResponse):  # type: ignore[misc]  # moto is not typed for us
    def assume_role(self) -> Any:
        """Let a task assume roles that trust its role, and mark the new session as the task's. Others may assume any role.

        https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_manage-assume.html
        """
        caller = sessions.find(self.get_access_key())
        if caller is None or caller.task_id is None:
            return super().assume_role()
        role_arn = str(self._get_param("RoleArn"))
        if not _trusts(role_arn, caller=caller):
            raise ForbiddenError(
                f"User: {caller.role_arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            )
        answer = super().assume_role()
        sessions.bind(answer.result["Credentials"].access_key_id, task_id=caller.task_id)
        return answer


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
        sessions.bind(issued.access_key_id, task_id=task_id)
    return issued


def _trusts(role_arn: str, *, caller: RoleSession) -> bool:
    """Return whether the role exists and its trust policy allows the caller's role or account."""
    parts = role_arn.split(":")
    # Only existing accounts: moto creates an account when it is looked up.
    role = roles.find(role_arn) if len(parts) > _ACCOUNT + 1 and parts[_ACCOUNT] in iam_backends else None
    if role is None:
        return False
    root = f"arn:aws:iam::{caller.account_id}:root"
    request = policies.IamRequest(
        action="sts:AssumeRole", resource=role_arn, principals=(caller.role_arn, root, caller.account_id)
    )
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
