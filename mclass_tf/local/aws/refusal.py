"""Error responses in the caller's protocol. The local AWS refuses with 4xx, because SDKs retry a 5xx for minutes."""

from __future__ import annotations

import json
import re
import uuid
from http import HTTPStatus
from xml.sax.saxutils import escape

from mclass_tf.local.aws.calls import Call, Protocol
from mclass_tf.local.http.server import Reply

UNSUPPORTED = "UnsupportedOperation"
UNEXPECTED = "LocalAwsInternalError"

# Services that once had the query protocol: clients look for its error codes in a header.
# https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait
_QUERY_COMPATIBLE = frozenset({"monitoring"})

_MAX_ERROR = 400  # characters
_MAX_MESSAGE = 4000
_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # not allowed in XML


def unsupported(call: Call, *, detail: str = "") -> Reply:
    """Return the error for a call that the local AWS does not model."""
    message = f"The local AWS does not model {call.name}" + (f": {detail}" if detail else "")
    return refuse(call, code=UNSUPPORTED, message=message)


def unexpected(call: Call, *, error: str) -> Reply:
    """Return the error for a bug of the local AWS. It is not a 500, which SDKs would retry."""
    return refuse(
        call,
        code=UNEXPECTED,
        message=f"The local AWS failed in {call.name}: {error[:_MAX_ERROR]} (the traceback is in its server.log)",
    )


def refuse(call: Call, *, code: str, message: str, status: int = HTTPStatus.BAD_REQUEST) -> Reply:
    """Return an error in the caller's protocol: https://smithy.io/2.0/aws/protocols/index.html ."""
    request_id = str(uuid.uuid4())
    message = _UNSAFE.sub("?", message[:_MAX_MESSAGE])
    body, content_type, extra = _body(call.protocol, code=code, message=message, request_id=request_id)
    if call.service in _QUERY_COMPATIBLE and call.protocol in {Protocol.JSON, Protocol.CBOR}:
        extra = (*extra, ("x-amzn-query-error", f"{code};Sender"))
    return Reply(
        status=status,
        body=body,
        headers=(("Content-Type", content_type), ("x-amzn-RequestId", request_id), *extra),
    )


def _body(
    protocol: Protocol, *, code: str, message: str, request_id: str
) -> tuple[bytes, str, tuple[tuple[str, str], ...]]:
    error = f"<Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
    ident = f"<RequestId>{request_id}</RequestId>"
    match protocol:
        case Protocol.JSON | Protocol.REST_JSON:
            json_type = "application/x-amz-json-1.1" if protocol is Protocol.JSON else "application/json"
            document = json.dumps({"__type": code, "message": message}).encode()
            return document, json_type, (("x-amzn-ErrorType", code),)
        case Protocol.CBOR:
            return (
                _cbor_map({"__type": code, "message": message}),
                "application/cbor",
                (("smithy-protocol", "rpc-v2-cbor"),),
            )
        case Protocol.EC2:
            xml = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        case Protocol.QUERY:
            xml = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error>{ident}</ErrorResponse>"
        case Protocol.REST_XML:
            xml = f"<Error>{error}{ident}</Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{xml}'.encode(), "text/xml", ()


def _cbor_map(entries: dict[str, str]) -> bytes:
    """Encode a small map of strings: https://www.rfc-editor.org/rfc/rfc8949#section-3.1 ."""
    texts = (text for pair in entries.items() for text in pair)
    return bytes([0xA0 | len(entries)]) + b"".join(_cbor_text(text.encode()) for text in texts)


def _cbor_text(text: bytes) -> bytes:
    return b"\x79" + len(text).to_bytes(2, "big") + text
