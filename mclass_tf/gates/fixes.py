"""What to do about a finding of Checkov, in words: Checkov itself publishes that on the network only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

# Checkov's own index of its rules; the pages of single rules have no stable address.
GUIDELINES: Final = "https://www.checkov.io/5.Policy%20Index/terraform.html"

_FIXES: Final[Mapping[str, str]] = {}


def of(check: str, *, title: str) -> str:
    """Return what to do; where this module does not know the check, from its title, which states the rule."""
    known = _FIXES.get(check)
    if known is not None:
        return known
    rule = title.strip().rstrip(".")
    for opening in ("Ensure that ", "Ensure "):
        rule = rule.removeprefix(opening)
    return f"change the resource so that this holds: {rule}"
