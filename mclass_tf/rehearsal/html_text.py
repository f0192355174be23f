"""Text of any origin as a part of an HTML page."""

from __future__ import annotations

import html

from mclass_tf.terminal import inline


def escape(text: str) -> str:
    """Return text that opens no element, ends no attribute, and turns no line around: a browser heeds marks of direction."""
    return html.escape(inline(text))
