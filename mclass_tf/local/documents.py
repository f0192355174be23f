"""Parses untrusted JSON, and reports anything wrong with it as one type of error."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

DEEPEST = 100
"""Nested objects and arrays. AWS APIs and OCI documents have about a tenth."""


class MalformedDocumentError(ValueError):
    """The text is not valid or acceptable JSON. The message says why."""


def parse(text: bytes | str) -> Any:
    """Return the document; raise MalformedDocumentError.

    Python's own parser accepts more than JSON (NaN, numbers that overflow), and returns strings that cannot be encoded.
    """
    try:
        decoded = text if isinstance(text, str) else text.decode()
        document = json.loads(decoded, parse_constant=_no_constant, parse_float=_finite)
        if "\\u" in decoded:
            json.dumps(document, ensure_ascii=False).encode()  # raises for a lone surrogate
    except RecursionError:
        raise MalformedDocumentError(_TOO_DEEP) from None
    except UnicodeError:
        raise MalformedDocumentError("it is not UTF-8") from None
    except ValueError as error:
        raise MalformedDocumentError(str(error)) from None
    if decoded.count("[") + decoded.count("{") > DEEPEST:
        _require_shallow(document)
    return document


def parse_object(text: bytes | str) -> dict[str, Any]:
    """Return a document that is an object; raise MalformedDocumentError."""
    document = parse(text)
    if not isinstance(document, dict):
        raise MalformedDocumentError(f"it is {_KINDS.get(type(document), 'a value')}, not an object")
    return document


_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"
_KINDS = {
    list: "an array",
    str: "a string",
    type(None): "null",
    bool: "a boolean",
    int: "a number",
    float: "a number",
}


def _no_constant(name: str) -> NoReturn:
    raise MalformedDocumentError(f"{name} is no JSON")


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise MalformedDocumentError(f"{text[:32]} is no number that can be kept")
    return number


def _require_shallow(document: Any) -> None:
    level = [document]
    for _ in range(DEEPEST):
        level = [
            inner
            for value in level
            if isinstance(value, dict | list)
            for inner in (value.values() if isinstance(value, dict) else value)
        ]
        if not level:
            return
    if any(isinstance(value, dict | list) for value in level):
        raise MalformedDocumentError(_TOO_DEEP)
