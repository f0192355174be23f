"""Calls of AWS as they go over the wire: those without a model of botocore, and an observer of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

_FIRST_ERROR_STATUS = 300
_REQUEST = "mclass_tf_request"
"""The key of a call's context under which its request is kept for the observer."""

Observe = Callable[[str, str, Mapping[str, Any], Mapping[str, Any]], None]
"""Takes a call: the service, the operation, the request, and the answer, with `Error` if it was refused."""


class Calls:
    """Tells an observer each call of AWS, in the thread that makes it."""

    def __init__(self) -> None:
        self._observe: Observe | None = None

    def observe(self, observe: Observe) -> None:
        """Have every call from now on told to `observe`."""
        self._observe = observe

    def register(self, client: Any) -> None:
        """Have the calls of a client of boto3's told."""
        client.meta.events.register("before-parameter-build", self._keep_request)
        client.meta.events.register("after-call", self._after_call)

    def tell(self, service: str, action: str, request: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        if self._observe is not None:
            self._observe(service, action, request, answer)

    def _keep_request(self, params: Mapping[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[_REQUEST] = params

    def _after_call(
        self, parsed: Mapping[str, Any], model: Any = None, context: Mapping[str, Any] | None = None, **_: Any
    ) -> None:
        if model is not None:
            request = (context or {}).get(_REQUEST) or {}
            self.tell(model.service_model.service_name, model.name, request, parsed)


@dataclass(frozen=True, kw_only=True)
class JsonClient:
    """A client of AWS's JSON 1.1 protocol; botocore signs and sends, without service models.

    https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
    """

    url: str
    prefix: str
    service: str
    region: str
    credentials: Any = field(repr=False)
    http: Any = field(repr=False)
    calls: Calls

    def call(self, action: str, request: Mapping[str, Any]) -> dict[str, Any]:
        from botocore.auth import SigV4Auth  # noqa: PLC0415
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415
        from botocore.exceptions import NoCredentialsError  # noqa: PLC0415

        if self.credentials is None:
            raise NoCredentialsError
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{self.prefix}.{action}"}
        unsigned = AWSRequest(method="POST", url=self.url, data=json.dumps(request).encode(), headers=headers)
        SigV4Auth(self.credentials, self.service, self.region).add_auth(unsigned)
        answer = self.http.send(unsigned.prepare())
        try:
            document: dict[str, Any] = json.loads(answer.content)
        except ValueError:
            document = {}
        if answer.status_code >= _FIRST_ERROR_STATUS:
            error = _client_error(action, status=answer.status_code, document=document)
            self.calls.tell(self.service, action, request, {"Error": error.response["Error"]})
            raise error
        self.calls.tell(self.service, action, request, document)
        return document


def ecs_items(
    call: Callable[[str, Mapping[str, Any]], Mapping[str, Any]],
    action: str,
    request: Mapping[str, Any],
    key: str,
) -> Iterator[Any]:
    """Yield the items of every page of a list call of ECS. A page may be short, or empty with others after it."""
    position: dict[str, str] = {}
    while True:
        page = call(action, {**request, **position})
        yield from page.get(key) or ()
        if not page.get("nextToken"):
            return
        position = {"nextToken": page["nextToken"]}


def _client_error(action: str, *, status: int, document: Mapping[str, Any]) -> ClientError:
    from botocore.exceptions import ClientError  # noqa: PLC0415

    code = str(document.get("__type") or status).rpartition("#")[2]
    message = str(document.get("message") or document.get("Message") or "")
    answer: Any = {
        "Error": {"Code": code, "Message": message},
        "ResponseMetadata": {"HTTPStatusCode": status},
    }
    return ClientError(answer, action)
