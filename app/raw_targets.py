"""Accepts request targets with raw UTF-8, such as /search?q=한글, which clients send and load balancers pass on.

AWS's http_desync_guardian calls them compliant (https://github.com/aws/http-desync-guardian, tests/rfc-compliant.yaml), but the
parser refuses every byte above 127. Percent-encoded, they mean the same: https://www.rfc-editor.org/rfc/rfc3987#section-3.1
"""

from __future__ import annotations

import re

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_RAW = re.compile(rb"[\x80-\xff]")
_MOST = 16 * 1024  # bytes of a request line that arrives in pieces, as many as a load balancer of AWS accepts


class RawTargetProtocol(HttpToolsProtocol):
    """Percent-encodes the raw bytes of a request line before the parser sees it. Bodies and headers stay as they are.

    A request that arrives before the previous one has arrived completely is not looked at: load balancers do not send such.
    """

    _begun = b""  # of a request line
    _is_between = True  # two requests

    def data_received(self, data: bytes) -> None:
        if self._is_between:
            data = self._begun + data
            line, end, rest = data.partition(b"\n")
            self._begun = b"" if end or len(data) > _MOST else data
            if self._begun:
                return
            if not line.isascii():
                data = _RAW.sub(_quote, line) + end + rest
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._is_between = False
        super().on_message_begin()

    def on_message_complete(self) -> None:
        self._is_between = True
        super().on_message_complete()


def _quote(match: re.Match[bytes]) -> bytes:
    return b"%%%02X" % ord(match[0])
