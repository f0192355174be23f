"""Refusals of the registry, with the format and the codes of the OCI distribution API.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md#error-codes
"""

from __future__ import annotations

from http import HTTPStatus

from mclass_tf.local.http.server import Reply, json_reply

HEADERS = (("Docker-Distribution-Api-Version", "registry/2.0"),)


class OciError(Exception):
    """The request is answered with an error; `headers` are added to the answer."""

    def __init__(
        self, status: int, code: str, message: str, *, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = headers

    def reply(self) -> Reply:
        document = {"errors": [{"code": self.code, "message": self.message}]}
        return json_reply(self.status, document, headers=(*HEADERS, *self.headers))


def unauthorized(message: str, *, code: str = "UNAUTHORIZED") -> OciError:
    challenge = ("WWW-Authenticate", 'Basic realm="Amazon ECR",service="ecr.amazonaws.com"')
    return OciError(HTTPStatus.UNAUTHORIZED, code, message, headers=(challenge,))


def denied(message: str) -> OciError:
    return OciError(HTTPStatus.FORBIDDEN, "DENIED", message)


def no_repository(name: str, *, account_id: str) -> OciError:
    return OciError(
        HTTPStatus.NOT_FOUND,
        "NAME_UNKNOWN",
        f"The repository with name '{name}' does not exist in the registry with id '{account_id}'",
    )
