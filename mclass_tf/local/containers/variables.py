"""Passes a container's environment variables to podman or docker without command lines or these programs' own environment.

Every user of the machine can read a command line. Variables in podman's own environment, such as `HOME`, `CONTAINERS_CONF` or
`LD_PRELOAD`, change what podman and its children do. So the variables are in a file. A file cannot contain multi-line values: only
those are inherited by name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

_NAME = re.compile(r"[^\s=#*][^\s=*]*")
_INHERITABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST = 32 * 1024  # bytes; podman and docker read lines of up to 64 KiB
# Read by podman, docker, and what they start (conmon, runc, the loader, Go's runtime).
_RESERVED = re.compile(
    r"(?i:PATH|HOME|TMPDIR|SSH_AUTH_SOCK|REGISTRY_AUTH_FILE|NOTIFY_SOCKET|LISTEN_\w+|DBUS_\w+|(HTTPS?|ALL|NO|FTP)_PROXY|XDG_\w+"
    r"|_?CONTAINERS?_\w+|DOCKER_\w+|PODMAN_\w+|BUILDAH_\w+|STORAGE_\w+|LD_\w+|LC_\w+|LANG|LANGUAGE|GLIBC_\w+|GCONV_\w+|MALLOC_\w+"
    r"|GO[A-Z]+|SSL_\w+|OPENSSL_\w+)"
)


class VariableError(Exception):
    """A variable cannot be passed. The message gives its name and the reason, never its value."""


@dataclass(frozen=True, kw_only=True)
class Variables:
    """`text` is the content of the file. `inherited` must be in the environment of podman or docker itself."""

    text: bytes
    inherited: Mapping[str, str]

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Self:
        """Split variables into file content and inherited variables; raise VariableError."""
        for name, value in environment.items():
            if not _NAME.fullmatch(name) or not _is_encodable(name + value):
                raise VariableError(
                    f"the environment variable {name!r} has a name or a value that none can have"
                )
        inherited = {name: value for name, value in environment.items() if not _fits_a_line(value)}
        for name in inherited:
            if _RESERVED.fullmatch(name) or not _INHERITABLE.fullmatch(name):
                raise VariableError(
                    f"the environment variable {name} has a value of several lines, and podman and docker would heed it "
                    "themselves: give it another name"
                )
        lines = (f"{name}={value}\n" for name, value in environment.items() if name not in inherited)
        return cls(text=os.fsencode("".join(lines)), inherited=inherited)


def _is_encodable(text: str) -> bool:
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:  # a lone surrogate
        return False


def _fits_a_line(value: str) -> bool:
    return not {"\n", "\r"} & set(value) and len(os.fsencode(value)) <= _LONGEST
