"""A load client for machines without wrk: `python -m benchmarks.app_client PORT PATH CONNECTIONS SECONDS`, prints JSON."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time


async def visit(port: int, path: str, *, until: float) -> list[float]:
    """Send requests on one connection; return the latencies in seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    took = []
    while (before := time.perf_counter()) < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if not head.startswith(b"HTTP/1.1 200 ") or length is None:
            raise RuntimeError(head.decode("latin-1"))
        await reader.readexactly(int(length[1]))
        took.append(time.perf_counter() - before)
    writer.close()
    return took


async def main(port: str, path: str, connections: str, seconds: str) -> None:
    until = time.perf_counter() + float(seconds)
    visits = await asyncio.gather(*(visit(int(port), path, until=until) for _ in range(int(connections))))
    took = sorted(each for found in visits for each in found)
    print(json.dumps({"rate": len(took) / float(seconds), "p99": took[len(took) * 99 // 100] * 1000}))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
