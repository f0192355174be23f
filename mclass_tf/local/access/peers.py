"""Finds the user at the other end of a loopback connection. All users of a machine share loopback.

Linux reports the owner of a socket by its two addresses (sock_diag(7)), in 0.1 ms however many connections exist. For traffic
without credentials, such as that of a load balancer, this is the only way to restrict it to one user of the machine.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

_NETLINK_SOCK_DIAG = 4  # linux/netlink.h
_SOCK_DIAG_BY_FAMILY, _REQUEST, _ERROR = 20, 1, 2
_ANY_STATE, _NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # nlmsghdr
_ANSWER = struct.Struct("=BBBB 48x IIII")  # inet_diag_msg up to idiag_uid
_ESTABLISHED = 1
_LARGEST = 4096
_PATIENCE = 1.0  # seconds; the kernel answers before `send` returns
_ROOT = 0
_ABSENT = frozenset({errno.ENOENT})


def is_trusted_peer(connection: socket.socket) -> bool:
    """Return whether the peer of an accepted connection is a process of this user or of root. True if the system cannot tell.

    False if the peer has closed its socket, because the owner is then unknown.
    """
    if sys.platform != "linux" or connection.family != socket.AF_INET:
        return True
    try:
        ends = connection.getsockname(), connection.getpeername()
    except OSError:  # disconnected
        return False
    try:
        owner = _owner(local=ends[0], peer=ends[1])
    except OSError:  # a kernel without sock_diag, or a sandbox
        return True
    if owner is None:
        return False
    uid, state = owner
    return uid == os.getuid() or (uid == _ROOT and state == _ESTABLISHED)


def _owner(*, local: tuple[str, int], peer: tuple[str, int]) -> tuple[int, int] | None:
    """Return user id and state of the peer's socket; None if it does not exist. Raise OSError."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_PATIENCE)
        kernel.send(_socket_query(source=peer, destination=local))
        answer = kernel.recv(_LARGEST)
    _, kind, _, _, _ = _HEADER.unpack_from(answer)
    if kind == _ERROR:
        (number,) = struct.unpack_from("=i", answer, _HEADER.size)
        if -number in _ABSENT:
            return None
        raise OSError(-number, os.strerror(-number))
    _, state, _, _, _, _, _, uid = _ANSWER.unpack_from(answer, _HEADER.size)
    return uid, state


def _socket_query(*, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """Return the netlink query for the socket with these addresses (inet_diag_req_v2)."""
    ports = struct.pack("!HH", source[1], destination[1])
    addresses = b"".join(socket.inet_aton(host).ljust(16, b"\0") for host, _ in (source, destination))
    names = ports + addresses + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE) + names
    return _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + body
