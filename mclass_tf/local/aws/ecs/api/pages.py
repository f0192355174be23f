"""Pagination as in ECS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mclass_tf.local.aws import pages
from mclass_tf.local.aws.ecs.model.errors import invalid

_LARGEST = 100


def page(
    items: Sequence[Any], request: Mapping[str, Any], *, size: int = _LARGEST
) -> tuple[list[Any], dict[str, str]]:
    """Return one page of items, and `nextToken` if there are more. `size` is the number where the request names none."""
    page_size = request.get("maxResults") or size
    if page_size not in range(1, _LARGEST + 1):
        raise invalid("maxResults must be between 1 and 100.")
    token = request.get("nextToken") or "0"
    if not str(token).isdigit():
        raise invalid("Invalid token.")
    chosen, following = pages.cut(items, token=str(token), asked=page_size)
    return chosen, ({"nextToken": following} if following else {})
