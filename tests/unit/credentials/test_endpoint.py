"""The endpoint of credentials answers nobody but processes of this user, and other users cannot keep it from answering."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from socket import socket
from urllib.parse import urlsplit

import pytest

from mclass_tf.credentials import Endpoint
from mclass_tf.local.access.peers import is_trusted_peer

_DOCUMENT = {
    "AccessKeyId": "ASIA",
    "SecretAccessKey": "secret",
    "Token": "t",
    "Expiration": "2030-01-01T00:00:00Z",
}
_SOMEBODY_ELSE = 61_234
_PLACES = 64
# Opens connections as another user, begins a request on each, and keeps them.
_CROWD = """
import os, socket, sys
os.setuid(int(sys.argv[1]))
held = []
for _ in range(int(sys.argv[3])):
    connection = socket.socket()  # create_connection would import more, which somebody else cannot read
    connection.connect(("127.0.0.1", int(sys.argv[2])))
    try:
        connection.sendall(b"GET /credentials HTTP/1.1\\r\\n")
    except OSError:
        pass
    held.append(connection)
print("there", flush=True)
sys.stdin.read()
"""


@contextmanager
def _serving(admits: Callable[[socket], bool] = is_trusted_peer) -> Iterator[tuple[int, str]]:
    """Yield the port and the token of an endpoint."""
    endpoint = Endpoint(lambda: _DOCUMENT, admits=admits)
    variables = endpoint.variables()
    port = urlsplit(variables["AWS_CONTAINER_CREDENTIALS_FULL_URI"]).port
    assert port is not None
    try:
        yield port, variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    finally:
        endpoint.close()


def _ask(port: int, token: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/credentials", headers={"Authorization": token})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_process_of_this_user_gets_the_credentials() -> None:
    with _serving() as (port, token):
        status, body = _ask(port, token)

    assert (status, json.loads(body)) == (200, _DOCUMENT)


def test_who_is_not_admitted_gets_no_answer_whatever_token_it_has() -> None:
    with _serving(lambda _: False) as (port, token), pytest.raises((http.client.HTTPException, OSError)):
        _ask(port, token)


@pytest.mark.skipif(
    sys.platform != "linux" or os.getuid() != 0,
    reason="root alone becomes somebody else, and only Linux tells",
)
def test_other_users_cannot_take_all_places() -> None:
    with ExitStack() as held, _serving() as (port, token):
        crowd = held.enter_context(
            subprocess.Popen(
                [sys.executable, "-I", "-c", _CROWD, str(_SOMEBODY_ELSE), str(port), str(2 * _PLACES)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "there\n"

        status, _ = _ask(port, token)

        crowd.communicate("")
    assert status == 200
