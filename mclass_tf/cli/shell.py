"""Quote words for a shell."""

from __future__ import annotations

import os
import shlex


def quote(word: str) -> str:
    """Return the word quoted for a shell.

    A word that is not UTF-8 is escaped in ASCII, as bash, zsh and ksh read it: its bytes would be lost as text.
    """
    data = os.fsencode(word)
    try:
        data.decode()
    except UnicodeDecodeError:
        return "$'" + "".join(map(_escaped, data)) + "'"
    return shlex.quote(word)


def _escaped(byte: int) -> str:
    is_plain = chr(byte).isprintable() and byte not in b"'\\" and bytes([byte]).isascii()
    return chr(byte) if is_plain else f"\\{byte:03o}"
