"""Short pages: AWS may return fewer items than a call asks for, and says in a token that there are more.

A client that reads only the first page then loses items here, as it would on AWS one day. `maxResults` and its like are the most
that a call may return: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_ListTasks.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SHORT = 2  # items of a page, unless the client asks for fewer
_LONG = 1000


class _Longest:
    """The most items of a page. It is the same for all services of a process."""

    items = SHORT


def lengthen() -> None:
    """Let pages be as long as AWS allows: suites of tests of others expect all their items in the first page, as moto returns."""
    _Longest.items = _LONG


def size(asked: int | None) -> int:
    """Return the number of items of a page for which the client asked for `asked` at most, None for no limit."""
    return min(asked or _Longest.items, _Longest.items)


def cut(items: Sequence[Any], *, token: str | None, asked: int | None) -> tuple[list[Any], str | None]:
    """Return the items of the page that begins at `token`, and the token of the next page, None if it is the last."""
    start = int(token or 0)
    end = start + size(asked)
    return list(items[start:end]), str(end) if end < len(items) else None
