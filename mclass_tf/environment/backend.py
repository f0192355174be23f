"""Read backend.hcl: the location of the state."""

from __future__ import annotations

from pathlib import Path

from mclass_tf.environment import values
from mclass_tf.environment.model import Backend
from mclass_tf.environment.patterns import ACCOUNT, BUCKET, BUCKET_RULE
from mclass_tf.environment.text import shown


def read(file: Path, evaluate: values.Evaluate) -> Backend:
    """Return the backend; raise ConfigurationError with file, line and key if it is wrong."""
    settings = values.read(file, evaluate)
    bucket = _required(settings, "bucket")
    if not BUCKET.fullmatch(bucket):
        raise settings.error("bucket", f"is {shown(bucket)}", f"bucket is {BUCKET_RULE}")
    if settings.get("use_lockfile") not in (True, "true") and not settings.get("dynamodb_table"):
        raise settings.error(
            "use_lockfile",
            "is not true: two applies at once would not keep each other out",
            "write use_lockfile = true",
        )
    return Backend(
        file=file,
        line_of_key=settings.line("key"),
        bucket=bucket,
        key=_required(settings, "key"),
        region=_required(settings, "region"),
        allowed_account_ids=_accounts(settings),
        line_of_accounts=settings.line("allowed_account_ids"),
    )


def _required(settings: values.Values, key: str) -> str:
    try:
        value = settings.text(key)
    except ValueError:
        value = ""
    if not value:
        problem = "is missing" if key not in settings else "is not a text"
        raise settings.error(key, problem, "an S3 backend needs bucket, key and region")
    return value


def _accounts(settings: values.Values) -> tuple[str, ...]:
    key = "allowed_account_ids"
    accounts = settings.get(key)
    if accounts is None:
        return ()
    is_list = isinstance(accounts, list)
    if not is_list or not all(
        isinstance(each, str | int) and not isinstance(each, bool) for each in accounts
    ):
        text = accounts if isinstance(accounts, str) and ACCOUNT.fullmatch(accounts) else "111111111111"
        raise settings.error(key, f"is {shown(accounts)}", f'{key} is a list of account numbers: ["{text}"]')
    return tuple(str(account) for account in accounts)
