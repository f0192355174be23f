"""The way into an account: the clients of a role or of the user's own credentials, checked to be of that account."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mclass_tf.aws.access import Access, RoleCredentials
from mclass_tf.aws.clients import Aws
from mclass_tf.aws.refusals import clock_hint, error_code
from mclass_tf.credentials import RoleSession, actor, job
from mclass_tf.errors import (
    AccountMismatchError,
    ConfigurationError,
    CredentialsError,
    Hint,
    UnreachableError,
)
from mclass_tf.system import machine


def connect(
    base: Access,
    *,
    account_id: str,
    role_arn: str | None,
    session_seconds: int | None = None,
    env: Mapping[str, str] | None = None,
) -> Aws:
    """Return clients for `account_id`, through `role_arn` if given.

    A session of the role lasts `session_seconds`, by default an hour, as AWS sets it; another follows it. Its name is that of the
    CI job in `env`, else of the user.

    Raise CredentialsError if there are no credentials or AWS refuses them, AccountMismatchError if they belong to another account.
    """
    variables = os.environ if env is None else env
    _require_botocore()
    with readable_errors(base):
        aws = Aws(base)
        if role_arn is not None:
            aws = Aws(_assume(aws, role_arn, seconds=session_seconds, env=variables))
        identity = aws.sts.get_caller_identity()
    if identity["Account"] != account_id:
        raise AccountMismatchError(
            f"the credentials are of account {identity['Account']} ({identity['Arn']}), the environment is in {account_id}",
            hint="use credentials of that account (AWS_PROFILE, or role_arn in environment.toml), or correct account_id",
        )
    return aws


_OLDEST_BOTOCORE = (1, 35, 69)
"""The first version whose PutObject has both IfNoneMatch (1.35.2) and IfMatch, by which the lease and the ledger are written."""


def _require_botocore() -> None:
    """Refuse a botocore that lacks a parameter of ours: it would fail in the middle of a release."""
    import botocore  # noqa: PLC0415

    version = str(botocore.__version__)
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if numbers < _OLDEST_BOTOCORE:
        oldest = ".".join(map(str, _OLDEST_BOTOCORE))
        raise ConfigurationError(
            f"botocore {version} is too old: it lacks the conditional writes to S3 by which the lease and the ledger are kept",
            hint=f"install a newer one: python -m pip install 'botocore>={oldest}'",
        )


def _assume(base: Aws, role_arn: str, *, seconds: int | None, env: Mapping[str, str]) -> Access:
    from botocore.credentials import RefreshableCredentials  # noqa: PLC0415

    caller_arn = "" if job(env) else base.sts.get_caller_identity()["Arn"]
    session = RoleSession(
        base.sts.assume_role,
        role_arn=role_arn,
        name=actor(env, caller_arn=caller_arn),
        seconds=seconds,
        now=base.now,
        code_of=error_code,
    )
    first = session.renew()
    advisory, mandatory = session.margins
    keys: Any = RefreshableCredentials(
        access_key=first["access_key"],
        secret_key=first["secret_key"],
        token=first["token"],
        expiry_time=session.ends_at,
        refresh_using=session.renew,
        method="assume-role",
        time_fetcher=session.now,
        advisory_timeout=advisory,
        mandatory_timeout=mandatory,
    )
    return Access(
        region=base.access.region,
        endpoint_url=base.access.endpoint_url,
        role=RoleCredentials(session=session, keys=keys, settings=base.settings()),
    )


@contextmanager
def readable_errors(access: Access) -> Iterator[None]:
    from botocore.exceptions import BotoCoreError, ClientError, ConnectionError  # noqa: A004, PLC0415

    where = access.endpoint_url or f"AWS in {access.region}"
    try:
        yield
    except ConnectionError as error:
        if (shortage := machine.shortage(error)) is not None:
            raise shortage from None
        # An endpoint that is gone is no problem of credentials.
        raise UnreachableError(
            f"nothing answers at {where}: {error}",
            hint=Hint(
                "the local AWS: ",
                ("local", "up"),
                ", and enter it again, or unset AWS_ENDPOINT_URL; AWS: look at the network",
            ),
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise CredentialsError(
            f"{where} does not accept the credentials: {error}",
            hint=clock_hint(error) or "sign in (aws configure, aws sso login, AWS_PROFILE), or use --local",
        ) from None
