"""The user at the other end of a connection."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time

import pytest

from mclass_tf.local.access.peers import is_trusted_peer
from tests.local.tasks import PATIENCE

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
AS_ROOT = pytest.mark.skipif(os.getuid() != 0, reason="root alone becomes somebody else")
SOMEBODY_ELSE = 61_234
_CLIENT = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
with socket.socket() as connection:  # create_connection would import more, which somebody else cannot read
    connection.connect(("127.0.0.1", int(sys.argv[2])))
    connection.sendall(sys.argv[3].encode())
    print("connected", flush=True)
    print(connection.recv(100), flush=True)
"""


def client(port: int, *, uid: int, text: str = "x") -> subprocess.Popen[str]:
    """A process of a user that connects, sends, and prints what it receives."""
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _CLIENT, str(uid), str(port), text],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_process_of_this_user_is_trusted() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert is_trusted_peer(accepted)


def test_a_peer_that_has_disconnected_is_not_trusted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        with socket.create_connection(listener.getsockname()) as left:
            left.sendall(b"GET / HTTP/1.1\r\n\r\n")
            left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # RST
        with listener.accept()[0] as accepted:
            deadline = time.monotonic() + PATIENCE
            while is_trusted_peer(accepted):
                assert time.monotonic() < deadline


@AS_ROOT
def test_a_process_of_another_user_is_not_trusted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE)
        with client(listener.getsockname()[1], uid=SOMEBODY_ELSE) as other:
            with listener.accept()[0] as accepted:
                assert not is_trusted_peer(accepted)
            other.communicate(timeout=PATIENCE)
        with client(listener.getsockname()[1], uid=0) as own:
            with listener.accept()[0] as accepted:
                assert is_trusted_peer(accepted)
            own.communicate(timeout=PATIENCE)
