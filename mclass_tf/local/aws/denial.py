"""Errors for denied callers, with the codes and messages of each kind of service.

https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
https://docs.aws.amazon.com/AmazonECS/latest/APIReference/CommonErrors.html
https://docs.aws.amazon.com/IAM/latest/APIReference/CommonErrors.html
"""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus

from mclass_tf.local.aws.calls import Call, Protocol
from mclass_tf.local.aws.refusal import refuse
from mclass_tf.local.http.server import Reply


class Denial(Enum):
    """Why a caller is denied, as the log says it."""

    EXPIRED = "the session has expired"
    FORBIDDEN = "the caller is not authorized"
    MALFORMED = "the signature is malformed"
    MECHANISM = "the request is not signed with Signature Version 4"
    MISSING = "the request is not signed"
    OUTDATED = "the presigned URL has expired"
    SIGNATURE = "the signature does not match the key"
    WRONG_TOKEN = "the session token does not belong to the key"  # noqa: S105
    UNKNOWN = "the key is unknown"


class ForbiddenError(Exception):
    """The caller is not authorized to make the call. The message is IAM's."""


_FORBIDDEN, _UNAUTHORIZED, _BAD = HTTPStatus.FORBIDDEN, HTTPStatus.UNAUTHORIZED, HTTPStatus.BAD_REQUEST
_INVALID = "The security token included in the request is invalid."
_ENDED = "The security token included in the request is expired"
_INCOMPLETE = "The request signature does not conform to AWS standards"
_DIFFERS = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
_UNVALIDATED = "AWS was not able to validate the provided access credentials"
_V4 = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
_HINT = ' [local AWS: its keys are in its home folder; load them with eval "$(python -m mclass_tf local env ENV)"]'

_S3 = {
    Denial.EXPIRED: ("ExpiredToken", "The provided token has expired.", _BAD),
    Denial.FORBIDDEN: ("AccessDenied", "Access Denied", _FORBIDDEN),
    Denial.MALFORMED: ("AuthorizationHeaderMalformed", "The authorization header is malformed", _BAD),
    Denial.MECHANISM: ("InvalidRequest", _V4, _BAD),
    Denial.MISSING: ("AccessDenied", "Access Denied", _FORBIDDEN),
    Denial.OUTDATED: ("AccessDenied", "Request has expired", _FORBIDDEN),
    Denial.SIGNATURE: ("SignatureDoesNotMatch", _DIFFERS, _FORBIDDEN),
    Denial.WRONG_TOKEN: ("InvalidToken", "The provided token is malformed or otherwise invalid.", _BAD),
    Denial.UNKNOWN: (
        "InvalidAccessKeyId",
        "The AWS Access Key Id you provided does not exist in our records.",
        _FORBIDDEN,
    ),
}
_EC2 = {
    **dict.fromkeys(Denial, ("AuthFailure", _UNVALIDATED, _UNAUTHORIZED)),
    Denial.EXPIRED: ("RequestExpired", "Request has expired.", _BAD),
    Denial.FORBIDDEN: (
        "UnauthorizedOperation",
        "You are not authorized to perform this operation.",
        _FORBIDDEN,
    ),
    Denial.OUTDATED: ("RequestExpired", "Request has expired.", _BAD),
}
_QUERY = {
    Denial.EXPIRED: ("ExpiredToken", _ENDED, _FORBIDDEN),
    Denial.FORBIDDEN: ("AccessDenied", "The caller is not authorized to perform this action", _FORBIDDEN),
    Denial.MALFORMED: ("IncompleteSignature", _INCOMPLETE, _BAD),
    Denial.MECHANISM: ("IncompleteSignature", _V4, _BAD),
    Denial.MISSING: ("MissingAuthenticationToken", "Request is missing Authentication Token", _FORBIDDEN),
    Denial.OUTDATED: ("SignatureDoesNotMatch", "Signature expired", _FORBIDDEN),
    Denial.SIGNATURE: ("SignatureDoesNotMatch", _DIFFERS, _FORBIDDEN),
    Denial.WRONG_TOKEN: ("InvalidClientTokenId", _INVALID, _FORBIDDEN),
    Denial.UNKNOWN: ("InvalidClientTokenId", _INVALID, _FORBIDDEN),
}
_JSON = {
    Denial.EXPIRED: ("ExpiredTokenException", _ENDED),
    Denial.FORBIDDEN: ("AccessDeniedException", "The caller is not authorized to perform this action"),
    Denial.MALFORMED: ("IncompleteSignatureException", _INCOMPLETE),
    Denial.MECHANISM: ("IncompleteSignatureException", _V4),
    Denial.MISSING: ("MissingAuthenticationTokenException", "Missing Authentication Token"),
    Denial.OUTDATED: ("InvalidSignatureException", "Signature expired"),
    Denial.SIGNATURE: ("InvalidSignatureException", _DIFFERS),
    Denial.WRONG_TOKEN: ("UnrecognizedClientException", _INVALID),
    Denial.UNKNOWN: ("UnrecognizedClientException", _INVALID),
}


def deny(call: Call, reason: Denial, *, detail: str = "") -> Reply:
    """Return AWS's error. `detail` replaces the generic message."""
    code, message, status = _error(call, reason)
    hint = _HINT if reason in {Denial.MISSING, Denial.UNKNOWN, Denial.EXPIRED} else ""
    return refuse(call, code=code, message=f"{detail or message}{hint}", status=status)


def _error(call: Call, reason: Denial) -> tuple[str, str, HTTPStatus]:
    match call.protocol:
        case Protocol.EC2:
            return _EC2[reason]
        case Protocol.QUERY:
            return _QUERY[reason]
        case Protocol.REST_XML:
            return _S3[reason]
        case Protocol.REST_JSON:
            return (*_JSON[reason], _FORBIDDEN)
        case Protocol.JSON | Protocol.CBOR:
            return (*_JSON[reason], _BAD)
