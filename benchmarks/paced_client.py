"""A client with a constant rate, `python -m benchmarks.paced_client PORT PATH RATE SECONDS`: prints latencies and failures as JSON.

Latency counts from the scheduled time of a request, so a late request also delays the next ones.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from statistics import median

_CONNECTIONS = 8


class Connection:
    """A kept-alive connection, shared by requests in turn."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._turn = asyncio.Lock()

    async def ask(self, request: bytes, *, due: float) -> float:
        """Send a request; return the seconds from its scheduled time to the end of the response."""
        async with self._turn:
            self._writer.write(request)
            head = await self._reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if not head.startswith(b"HTTP/1.1 200 ") or length is None:
                raise RuntimeError(head.decode("latin-1"))
            await self._reader.readexactly(int(length[1]))
            return time.perf_counter() - due

    def close(self) -> None:
        self._writer.close()


async def main(port: str, path: str, rate: str, seconds: str) -> None:
    opened = [Connection(*await asyncio.open_connection("127.0.0.1", int(port))) for _ in range(_CONNECTIONS)]
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    start = time.perf_counter() + 0.1
    asked = []
    for number in range(int(float(rate) * float(seconds))):
        due = start + number / float(rate)
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        asked.append(asyncio.create_task(opened[number % _CONNECTIONS].ask(request, due=due)))
    found = await asyncio.gather(*asked, return_exceptions=True)
    took = sorted(each for each in found if isinstance(each, float))
    for connection in opened:
        connection.close()
    failed = [each for each in found if not isinstance(each, float)]
    print(
        json.dumps(
            {
                "median": median(took) * 1000,
                "p99": took[len(took) * 99 // 100] * 1000,
                "asked": len(found),
                "failed": len(failed),
                "first failure": repr(failed[0]) if failed else None,
            }
        )
    )


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
