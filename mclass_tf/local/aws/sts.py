"""STS: sessions of roles, with credentials that nobody can guess and that end.

moto takes any key for one of its own; here only those that were issued open anything (`callers`), so that each session is kept
with what it may. GetSessionToken and GetFederationToken would hand out keys of moto's documentation, and the calls with a token of
an identity provider take any token: all four are refused (`operations`).
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

_ACCOUNT = 4  # its place in an ARN
_KEPT_AFTER_END = 3600.0  # seconds for which a session that is over is told from one that never was


@dataclass(frozen=True, kw_only=True)
class RoleSession:
    """Credentials that were issued; `expires_at` in seconds since the epoch.

    `task_id` is that of the task whose role it is, or from whose role it was assumed: what comes in its name may be anybody's code.
    """

    account_id: str
    role_arn: str
    secret_access_key: str = field(repr=False)
    token: str = field(repr=False)
    expires_at: float
    task_id: str | None = None


class Sessions:
    """The sessions of this instance by access key; they end with it, whatever a snapshot has of them."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._sessions: dict[str, RoleSession] = {}

    def add(self, access_key_id: str, session: RoleSession) -> None:
        now = self._clock()
        with self._lock:
            kept = self._sessions.items()
            self._sessions = {key: one for key, one in kept if one.expires_at + _KEPT_AFTER_END > now}
            self._sessions[access_key_id] = session

    def find(self, access_key_id: str) -> RoleSession | None:
        """Return the session, also one that has ended within the hour."""
        return self._sessions.get(access_key_id)

    def bind(self, access_key_id: str, *, task_id: str) -> None:
        """Have the session be one of a task."""
        with self._lock:
            self._sessions[access_key_id] = dataclasses.replace(
                self._sessions[access_key_id], task_id=task_id
            )


sessions = Sessions()


class LocalStsBackend(STSBackend):  # type: ignore[misc]  # moto is not typed for us
    def assume_role(self, **arguments: Any) -> AssumedRole:  # moto calls it by names
        """Keep what is issued."""
        made = super().assume_role(**arguments)
        sessions.add(
            made.access_key_id,
            RoleSession(
                account_id=made.account_id,
                role_arn=made.role_arn,
                secret_access_key=made.secret_access_key,
                token=made.session_token,
                expires_at=made.expiration.replace(tzinfo=dt.UTC).timestamp(),
            ),
        )
        return made


class LocalStsResponses(TokenResponse):  # type: ignore[misc]  # moto is not typed for us
    def assume_role(self) -> Any:
        """A task assumes what trusts its role, and stays a task; anybody else may assume any role of any account.

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
    """Return credentials with which a task or a function acts. Call it under the lock of the calls."""
    made = sts_backends[account_id][get_partition(region)].assume_role(
        region_name=region,
        role_session_name=name,
        role_arn=role_arn,
        policy="",
        duration=seconds,
        external_id="",
    )
    if task_id is not None:
        sessions.bind(made.access_key_id, task_id=task_id)
    return made


def _trusts(role_arn: str, *, caller: RoleSession) -> bool:
    """Return whether the role is there, and its trust policy names the caller's role or account."""
    parts = role_arn.split(":")
    # Only accounts that are there: moto makes one of whatever it is asked for.
    role = roles.find(role_arn) if len(parts) > _ACCOUNT + 1 and parts[_ACCOUNT] in iam_backends else None
    if role is None:
        return False
    root = f"arn:aws:iam::{caller.account_id}:root"
    request = policies.Request(
        action="sts:AssumeRole", resource=role_arn, principals=(caller.role_arn, root, caller.account_id)
    )
    try:
        decision = policies.decide([role.assume_role_policy_document], request)
    except policies.NotModelledError:
        return False
    return decision is policies.Decision.ALLOWED


def install() -> None:
    use_backend(backends=sts_backends, urls=urls, backend=LocalStsBackend)
    use_responses(urls=urls, responses=LocalStsResponses)
    # Secrets of keys too: moto's generator is seeded once, and who sees enough identifiers of it knows the next ones.
    moto.iam.utils.random = secrets.SystemRandom()
