"""Checks the body of a call before moto handles it: decompression, and the types of JSON members against the API's model.

AWS rejects invalid bodies before they reach the service. moto and its extensions rely on the types of the model.
https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html
"""

from __future__ import annotations

import base64
import binascii
import gzip
import io
import json
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any

from botocore.exceptions import UnknownServiceError
from botocore.model import ListShape, MapShape, OperationNotFoundError, Shape, StructureShape
from moto.core.utils import get_service_model

from mclass_tf.local import documents
from mclass_tf.local.aws.calls import Call, Protocol
from mclass_tf.local.aws.refusal import refuse
from mclass_tf.local.http.server import Reply

_INVALID = {
    "ecr": "InvalidParameterException",
    "ecs": "InvalidParameterException",
    "logs": "InvalidParameterException",
    "monitoring": "MissingParameter",
}
_MODELS = {"monitoring": "cloudwatch"}
"""The names of botocore's models that are not the names in signatures."""
_GZIP = frozenset({"gzip", "x-gzip"})
_MOST_CODINGS = 4  # each costs the time of a whole body, and a header has room for thousands
_UNCODED = frozenset({"", "identity"})
_LATEST = 253_402_300_799  # the last second of the year 9999


class _SerializationError(Exception):
    """A value has the wrong type for its member."""


def inflate(call: Call, environ: dict[str, Any], *, most: int) -> Reply | None:
    """Replace a compressed body, which SDKs use for large requests, by its content. Return a refusal if that fails.

    Codings are undone in reverse order (https://www.rfc-editor.org/rfc/rfc9110#section-8.4). gzip can expand a thousandfold, so at
    most `most` bytes are decompressed. S3 stores bodies as they are.
    https://smithy.io/2.0/spec/behavior-traits.html#requestcompression-trait
    """
    codings = [name.strip().lower() for name in environ.get("HTTP_CONTENT_ENCODING", "").split(",")]
    codings = [name for name in codings if name not in _UNCODED]
    if call.service == "s3" or not codings:
        return None
    if len(codings) > _MOST_CODINGS:
        message = f"The local AWS decodes at most {_MOST_CODINGS} content encodings of one body."
        return refuse(call, code="SerializationException", message=message)
    body = environ["wsgi.input"]
    for coding in reversed(codings):
        if coding not in _GZIP:
            message = f"The local AWS cannot decode the content encoding {coding}: use gzip or none."
            status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
            return refuse(call, code="UnsupportedMediaTypeException", message=message, status=status)
        try:
            with gzip.GzipFile(fileobj=body, mode="rb") as packed:
                content = packed.read(most + 1)
        except (OSError, EOFError, zlib.error) as error:
            return refuse(call, code="SerializationException", message=f"The body is not valid gzip: {error}")
        if len(content) > most:
            return too_large(call, most=most)
        body = io.BytesIO(content)
    del environ["HTTP_CONTENT_ENCODING"]
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = body, str(len(content))
    return None


def too_large(call: Call, *, most: int) -> Reply:
    """Return the refusal of a body with more than `most` bytes."""
    message = f"The local AWS takes at most {most} bytes in the body of a request of this service."
    if call.service == "s3":
        return refuse(call, code="EntityTooLarge", message=message)
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return refuse(call, code="RequestEntityTooLargeException", message=message, status=status)


def check(call: Call, environ: dict[str, Any]) -> Reply | None:
    """Return a refusal, or None for a valid call, from whose body null members are removed."""
    if call.protocol is not Protocol.JSON:
        return None
    checker = _Checker()
    try:
        document = documents.parse_object(environ["wsgi.input"].read() or b"{}")
        shape = _input(call.service, call.operation)
        checked = document if shape is None else checker.structure(shape, document, "")
    except (documents.MalformedDocumentError, _SerializationError) as error:
        return refuse(call, code="SerializationException", message=str(error))
    if checker.missing:
        return _incomplete(call, checker.missing[0])
    if checked != document:
        body = json.dumps(checked).encode()
        environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(body), str(len(body))
    environ["wsgi.input"].seek(0)
    return None


def _incomplete(call: Call, name: str) -> Reply:
    name = ".".join(
        f"{part[:1].lower()}{part[1:]}" for part in name.split(".")
    )  # as AWS writes it, whatever the model has
    message = f"1 validation error detected: Value null at '{name}' failed to satisfy constraint: Member must not be null"
    return refuse(call, code=_INVALID.get(call.service, "ValidationException"), message=message)


@cache
def _input(service: str, operation: str) -> StructureShape | None:
    """Return the input shape of an operation, or None if the installed botocore does not know it."""
    try:
        shape = get_service_model(_MODELS.get(service, service)).operation_model(operation).input_shape
    except (UnknownServiceError, OperationNotFoundError):
        return None
    return shape if isinstance(shape, StructureShape) else None


class _Checker:
    """Checks types. `missing` collects required members that are absent, which AWS reports only if all types are valid."""

    def __init__(self) -> None:
        self.missing: list[str] = []

    def structure(self, shape: StructureShape, value: Any, place: str) -> dict[str, Any]:
        """Return the structure without null members, which count as absent. Unknown members are kept unchecked."""
        if not isinstance(value, Mapping):
            raise _wrong_type(value, shape, place)
        present = {name: inner for name, inner in value.items() if inner is not None}
        self.missing += [
            f"{place}.{name}".lstrip(".") for name in shape.required_members if name not in present
        ]
        members = shape.members
        return {
            name: self._value(members[name], inner, f"{place}.{name}") if name in members else inner
            for name, inner in present.items()
        }

    def _value(self, shape: Shape, value: Any, place: str) -> Any:
        if isinstance(shape, StructureShape):
            is_document = getattr(shape, "is_document_type", False)
            return value if is_document else self.structure(shape, value, place)
        if isinstance(shape, ListShape):
            return self._list(shape, value, place)
        if isinstance(shape, MapShape):
            return self._map(shape, value, place)
        fits = _SCALARS.get(shape.type_name)
        if fits is not None and not fits(value):
            raise _wrong_type(value, shape, place)
        return value

    def _list(self, shape: ListShape, value: Any, place: str) -> list[Any]:
        if not isinstance(value, list):
            raise _wrong_type(value, shape, place)
        return [
            self._value(shape.member, inner, f"{place}.{number}")
            for number, inner in enumerate(value, start=1)
        ]

    def _map(self, shape: MapShape, value: Any, place: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise _wrong_type(value, shape, place)
        return {name: self._value(shape.value, inner, f"{place}.{name}") for name, inner in value.items()}


def _is_integer(bits: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and -(2 ** (bits - 1)) <= value < 2 ** (bits - 1)


def _is_number(value: Any) -> bool:
    return type(value) in {int, float}


def _is_float(value: Any) -> bool:
    """https://smithy.io/2.0/aws/protocols/aws-json-1_0-protocol.html#shape-serialization"""
    return _is_number(value) or (isinstance(value, str) and value in {"NaN", "Infinity", "-Infinity"})


def _is_timestamp(value: Any) -> bool:
    return isinstance(value, str) or (_is_number(value) and abs(value) <= _LATEST)


def _is_blob(value: Any) -> bool:
    try:
        return isinstance(value, str) and base64.b64decode(value, validate=True) is not None
    except binascii.Error:
        return False


_SCALARS: Mapping[str, Callable[[Any], bool]] = {
    "blob": _is_blob,
    "boolean": lambda value: isinstance(value, bool),
    "double": _is_float,
    "float": _is_float,
    "integer": _is_integer(32),
    "long": _is_integer(64),
    "string": lambda value: isinstance(value, str),
    "timestamp": _is_timestamp,
}
_KINDS = {
    bool: "TRUE_VALUE",
    dict: "START_OBJECT",
    float: "DECIMAL_VALUE",
    int: "NUMBER_VALUE",
    list: "START_LIST",
    str: "STRING_VALUE",
}


def _wrong_type(value: Any, shape: Shape, place: str) -> _SerializationError:
    kind = _KINDS.get(type(value), "NULL_VALUE")
    return _SerializationError(f"{kind} can not be converted to {shape.type_name} at '{place.lstrip('.')}'")
