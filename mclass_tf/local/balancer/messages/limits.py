"""Limits on the size of messages: AWS's quotas, and limits of our own where AWS documents none.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html#http-headers-quotas
"""

from __future__ import annotations

REQUEST_LINE = 16 * 1024
HEADER = 16 * 1024  # name, value, separator and line end
REQUEST_HEAD = 64 * 1024
ANSWER_HEAD = 32 * 1024

# AWS documents none of these.
HEADERS = 1000  # per message: the shortest ones take fifty times their length in memory

# Bytes in a row that complete no head and contain no part of a body. A parser buffers incomplete lines, and silently drops
# chunk extensions, trailers and interim answers.
UNPRODUCTIVE_REQUEST = REQUEST_LINE + REQUEST_HEAD
UNPRODUCTIVE_ANSWER = ANSWER_HEAD
