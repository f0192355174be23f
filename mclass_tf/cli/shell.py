"""Words as a shell reads them."""

from __future__ import annotations

import os
import shlex


def quote(word: str) -> str:
    """Return the word so that a shell takes it as it is.

    Bytes that are not UTF-8 stand there in ASCII, in a form that bash, zsh and ksh know: printed as text they would be lost.
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
