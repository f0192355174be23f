"""The client of the admin endpoint of a running local AWS."""

from __future__ import annotations

import json
import urllib.request
from http.client import HTTPException
from typing import Any

from mclass_tf.local import documents
from mclass_tf.local.access.key import AccessKey

_LARGEST = 64 * 1024 * 1024
# Without a proxy, whatever the environment configures.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(
    url: str, *, seconds: float, key: AccessKey | None = None, method: str = "GET", body: Any = None
) -> Any:
    """Return the JSON answer of `url` to the owner of `key`; raise OSError or ValueError.

    Another program may have got the port meanwhile and may answer anything.
    """
    request = urllib.request.Request(  # noqa: S310  the address is the local AWS's own
        url,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            **({} if key is None else {"Authorization": key.authorization}),
        },
        method=method,
    )
    try:
        with _OPENER.open(request, timeout=seconds) as answer:
            content: bytes = answer.read(_LARGEST + 1)
    except HTTPException as error:
        raise ValueError(f"it does not speak HTTP: {type(error).__name__}") from None
    if len(content) > _LARGEST:
        raise ValueError(f"the answer has more than {_LARGEST} bytes")
    return documents.parse(content)
