"""Errors of AWS: what they mean, whether a retry may succeed, and what the user can do."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from mclass_tf.errors import (
    ConfigurationError,
    CredentialsExpiredError,
    Hint,
    IncompleteAnswerError,
    MclassError,
    UnreachableError,
)

_FIRST_SERVER_ERROR = 500
# Error codes after which a retry may succeed.
_THROTTLED = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "LimitExceededException",
        "PriorRequestNotComplete",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "RequestTimeout",
        "ServerException",
        "ServiceUnavailable",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "TransactionInProgressException",
    }
)


# AWS's codes for a session that has ended, by protocol.
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html (RequestExpired)
# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html (ExpiredToken, TokenRefreshRequired)
EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"})


def error_code(error: Exception) -> str:
    """Return AWS's code of an error, such as "AccessDeniedException", or "" if AWS did not answer."""
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, Mapping) else ""


def error_message(error: Exception) -> str:
    """Return AWS's message of an error, or the text of the exception."""
    response = getattr(error, "response", None)
    message = response.get("Error", {}).get("Message", "") if isinstance(response, Mapping) else ""
    return str(message or error)


def is_transient(error: Exception) -> bool:
    """Return whether a retry may succeed: after throttling, a server error, a lost connection or an incomplete answer."""
    from botocore.exceptions import ConnectionError, HTTPClientError, SSLError  # noqa: A004, PLC0415

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return not isinstance(error, SSLError)
    if isinstance(error, IncompleteAnswerError):
        return True
    response = getattr(error, "response", None)
    if not isinstance(response, Mapping):
        return False
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return int(status) >= _FIRST_SERVER_ERROR or error_code(error) in _THROTTLED


def refusal(error: Exception) -> MclassError | None:
    """Return the error to show if AWS refused a call or stopped answering, None if `error` is not from AWS."""
    from botocore.exceptions import (  # noqa: PLC0415
        ClientError,
        ConnectionError,  # noqa: A004
        HTTPClientError,
    )

    if isinstance(error, (ConnectionError, HTTPClientError)):
        return UnreachableError(f"AWS stopped answering: {error}", hint="look at the network, and try again")
    if has_lapsed(error):
        return CredentialsExpiredError(
            f"the credentials have expired: {error}",
            hint=Hint(
                f"{SIGN_IN}. What runs on AWS continues: ",
                ("status", "ENV"),
                " shows it, and ",
                ("release", "ENV", "--resume"),
                " resumes a release that this command began",
            ),
        )
    if isinstance(error, ClientError):
        return ConfigurationError(
            f"AWS refused a call: {error}",
            hint=clock_hint(error)
            or "the message is AWS's own: it names the permission, the limit or the resource that is in the way",
        )
    return None


_UNKNOWN_ROLE = re.compile(r"unable to assume (the )?(service linked )?role", re.IGNORECASE)


def may_be_new_role(error: Exception) -> bool:
    """Return whether a service cannot assume a role. It may not know a new role yet: IAM is eventually consistent.

    https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency
    ECS's words: https://github.com/hashicorp/terraform/issues/4375, https://github.com/pulumi/pulumi-awsx/issues/927
    """
    return bool(error_code(error)) and _UNKNOWN_ROLE.search(error_message(error)) is not None


SIGN_IN = "sign in again (aws sso login, aws configure, or a new job of the CI)"
"""What to do about credentials that have expired and cannot renew themselves."""


def has_lapsed(error: Exception) -> bool:
    """Return whether a call failed because the credentials have expired, or could not be renewed."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    if isinstance(error, ClientError):
        return error_code(error) in EXPIRED and not _is_skewed(error)
    return needs_sign_in(error) or (isinstance(error, RuntimeError) and _STILL_EXPIRED in str(error))


def needs_sign_in(error: Exception) -> bool:
    """Return whether the source of the credentials cannot renew them, but will as soon as the user has signed in again.

    Credentials in environment variables are no such source: nobody can change those of a running process.
    """
    from botocore import exceptions  # noqa: PLC0415

    # The last ones are of newer versions than the one that Checkov pins.
    names = (
        "CredentialRetrievalError",
        "NoCredentialsError",
        "SSOError",
        "TokenRetrievalError",
        "LoginError",
    )
    kinds = tuple(kind for name in names if (kind := getattr(exceptions, name, None)) is not None)
    return isinstance(error, kinds)


_STILL_EXPIRED = "refreshed credentials are still expired"
_MOST_SKEW = dt.timedelta(minutes=5)


def _is_skewed(error: Exception) -> bool:
    """Return whether this machine's clock explains a RequestExpired, which EC2 also answers to an expired session."""
    response = getattr(error, "response", {})
    date = response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    try:
        there = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return error_code(error) == "RequestExpired"
    return abs(dt.datetime.now(dt.UTC) - there) > _MOST_SKEW


_SKEWED = re.compile("RequestTimeTooSkewed|RequestExpired|Signature expired|Signature not yet current")


def clock_hint(error: Exception) -> str:
    """Return what to do if AWS refused a signature for its time, else "".

    https://docs.aws.amazon.com/IAM/latest/UserGuide/signature-v4-troubleshooting.html
    """
    if _SKEWED.search(str(error)) is None:
        return ""
    here = dt.datetime.now(dt.UTC)
    return f"this machine's clock says {here:%Y-%m-%d %H:%M:%S} UTC, minutes off AWS's own time: set it (timedatectl, NTP)"
