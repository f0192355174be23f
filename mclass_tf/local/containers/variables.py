"""The variables of a container, on their way to podman or docker: past every command line, and past these programs themselves.

A command line can be read by every user of the machine. A variable in the environment of podman is one that podman and what it starts
heed, be it `HOME`, `CONTAINERS_CONF` or `LD_PRELOAD`. So they stand in a file. Its lines cannot hold a value of several lines: those
alone are inherited by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_NAME = re.compile(r"[^\s=#*][^\s=*]*")
_INHERITABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 32 * 1024  # bytes; the programs read lines of 64 KiB at most
# What podman, docker, and what they start (conmon, runc, the loader, Go's runtime) heed themselves.
_HEEDED = re.compile(
    r"(?i:PATH|HOME|TMPDIR|SSH_AUTH_SOCK|REGISTRY_AUTH_FILE|NOTIFY_SOCKET|LISTEN_\w+|DBUS_\w+|(HTTPS?|ALL|NO|FTP)_PROXY|XDG_\w+"
    r"|_?CONTAINERS?_\w+|DOCKER_\w+|PODMAN_\w+|BUILDAH_\w+|STORAGE_\w+|LD_\w+|LC_\w+|LANG|LANGUAGE|GLIBC_\w+|GCONV_\w+|MALLOC_\w+"
    r"|GO[A-Z]+|SSL_\w+|OPENSSL_\w+)"
)


class VariableError(Exception):
    """A variable that cannot be handed over; the message says which and why, and not its value."""


@dataclass(frozen=True, kw_only=True)
class Variables:
    """`text` is what the file holds; `inherited` are those that the program must have in its own environment."""

    text: bytes
    inherited: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Return how a container gets these variables; raise VariableError."""
        for name, value in environment.items():
            if not _NAME.fullmatch(name) or not _can_be_had(name + value):
                raise VariableError(
                    f"the environment variable {name!r} has a name or a value that none can have"
                )
        inherited = {name: value for name, value in environment.items() if not _fits_a_line(value)}
        for name in inherited:
            if _HEEDED.fullmatch(name) or not _INHERITABLE.fullmatch(name):
                raise VariableError(
                    f"the environment variable {name} has a value of several lines, and podman and docker would heed it "
                    "themselves: give it another name"
                )
        lines = (f"{name}={value}\n" for name, value in environment.items() if name not in inherited)
        return cls(text=os.fsencode("".join(lines)), inherited=inherited)


def _can_be_had(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _fits_a_line(value: str) -> bool:
    return not {"\n", "\r"} & set(value) and len(os.fsencode(value)) <= _LONGEST
