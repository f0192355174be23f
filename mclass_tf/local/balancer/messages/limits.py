"""How much of a message is read before it is refused: the quotas of AWS, and bounds where AWS documents none.

https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-limits.html#http-headers-quotas
"""

from __future__ import annotations

REQUEST_LINE = 16 * 1024
HEADER = 16 * 1024  # name, value, and what stands between and behind them
REQUEST_HEAD = 64 * 1024
ANSWER_HEAD = 32 * 1024

# AWS documents none of these.
HEADERS = 1000  # of a message: the shortest ones take fifty times their length in memory

# Bytes without the end of a head or a piece of a body. A parser keeps the beginning of a line until it ends, and drops what stands
# around a body without a word: extensions of chunks, trailers, interim answers.
UNPRODUCTIVE_REQUEST = REQUEST_LINE + REQUEST_HEAD
UNPRODUCTIVE_ANSWER = ANSWER_HEAD
