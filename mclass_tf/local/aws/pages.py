"""Short pages: AWS may return fewer items than a call asks for, and says in a token that there are more.

A client that reads only the first page then loses items here, as it would on AWS one day. `maxResults` and its like are the most
that a call may return: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHORT = 2  # items of a page, unless the client asks for fewer


def size(asked: int | None) -> int:
    """Return the number of items of a page for which the client asked for `asked` at most, None for no limit."""
    return min(asked or SHORT, SHORT)


def cut(items: Sequence[Any], *, token: str | None, asked: int | None) -> tuple[list[Any], str | None]:
    """Return the items of the page that begins at `token`, and the token of the next page, None if it is the last."""
    start = int(token or 0)
    end = start + size(asked)
    return list(items[start:end]), str(end) if end < len(items) else None
