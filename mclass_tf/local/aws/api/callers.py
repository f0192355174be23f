"""Authenticates callers: the owner of this instance, a key of an IAM user, or a session that STS issued.

All users of a machine share loopback, and a call may run programs (RunTask). So a connection alone is no authorization.
"""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from moto.core import DEFAULT_ACCOUNT_ID
from moto.iam.models import iam_backends

from mclass_tf.local.access import signature
from mclass_tf.local.access.key import AccessKey
from mclass_tf.local.access.signature import MalformedSignatureError, Signature, UnsupportedMechanismError
from mclass_tf.local.aws.denial import Denial
from mclass_tf.local.aws.sts import Sessions

_ACCOUNT_HEADER = "HTTP_X_MOTO_ACCOUNT_ID"
"""moto reads the account of a call from it. A value that the client sent is overwritten."""

_HOST = "127.0.0.1"
"""With this host, only the path names the bucket. The path decides what a task may do, and what a form is compared with."""


class UnknownCallerError(Exception):
    """The caller is not authenticated. `detail` is AWS's message about a malformed signature."""

    def __init__(self, reason: Denial, *, detail: str = "") -> None:
        super().__init__(reason.value)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, kw_only=True)
class Caller:
    """An authenticated caller. `task_id`: the task with whose role it acts; `arn`: its role, for refusals."""

    account_id: str
    secret_access_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    expires_at: float | None = None
    task_id: str | None = None
    arn: str = ""


class Callers:
    """The callers of one instance. `key` belongs to its owner."""

    def __init__(self, *, key: AccessKey, sessions: Sessions, clock: Callable[[], float] = time.time) -> None:
        self._key = key
        self._sessions = sessions
        self._clock = clock

    def verify(self, environ: dict[str, Any]) -> Caller:
        """Return who signed the request, and make moto use that account; may raise UnknownCallerError."""
        signed = _read(environ)
        if signed is None:
            raise UnknownCallerError(Denial.MISSING)
        caller = self._caller(signed)
        self._check(signed, caller, environ)
        environ[_ACCOUNT_HEADER] = caller.account_id
        if caller.task_id is not None or signed.form is not None:
            environ["HTTP_HOST"] = _HOST
        if signed.is_presigned:
            # moto chooses the service by this header, which must name the one that was signed.
            environ["HTTP_AUTHORIZATION"] = signed.authorization
        return caller

    def is_known(self, environ: Mapping[str, Any]) -> bool:
        """Return whether the headers name an issued key. More cannot be checked before the body arrives."""
        try:
            signed = _read(environ)
            return signed is not None and bool(self._caller(signed))
        except UnknownCallerError:
            return False

    def _caller(self, signed: Signature) -> Caller:
        if signed.access_key_id == self._key.access_key_id:
            return Caller(account_id=DEFAULT_ACCOUNT_ID, secret_access_key=self._key.secret_access_key)
        session = self._sessions.find(signed.access_key_id)
        if session is not None:
            return Caller(
                account_id=session.account_id,
                secret_access_key=session.secret_access_key,
                token=session.token,
                expires_at=session.expires_at,
                task_id=session.task_id,
                arn=session.role_arn,
            )
        user = _key_of_user(signed.access_key_id)
        if user is None:
            raise UnknownCallerError(Denial.UNKNOWN)
        return user

    def _check(self, signed: Signature, caller: Caller, environ: Mapping[str, Any]) -> None:
        if not hmac.compare_digest(signed.token.encode(), caller.token.encode()):
            raise UnknownCallerError(Denial.WRONG_TOKEN if caller.token else Denial.UNKNOWN)
        if not signed.matches(environ, secret=caller.secret_access_key):
            raise UnknownCallerError(Denial.SIGNATURE)
        now = self._clock()
        if caller.expires_at is not None and caller.expires_at <= now:
            raise UnknownCallerError(Denial.EXPIRED)
        if signed.expires_at is not None and signed.expires_at <= now:
            raise UnknownCallerError(Denial.OUTDATED)
        refusal = None if signed.form is None else signed.form.refusal()
        if refusal is not None:
            raise UnknownCallerError(Denial.FORBIDDEN, detail=f"Invalid according to Policy: {refusal}")


def _read(environ: Mapping[str, Any]) -> Signature | None:
    try:
        return signature.read(environ)
    except MalformedSignatureError as error:
        raise UnknownCallerError(Denial.MALFORMED, detail=str(error)) from None
    except UnsupportedMechanismError:
        raise UnknownCallerError(Denial.MECHANISM) from None


def _key_of_user(access_key_id: str) -> Caller | None:
    """Return the caller of an IAM user's active access key. A session's key does not count, because it needs its token."""
    for account_id, partitions in tuple(iam_backends.items()):
        for backend in tuple(partitions.values()):
            key = backend.access_keys.get(access_key_id)
            if key is not None and key.user_name is not None and key.status == "Active":
                return Caller(account_id=account_id, secret_access_key=str(key.secret_access_key))
    return None
