"""`python -m benchmarks.cancelled_checks FOLDER CHECKS`: a driver that cancels health checks before their programs run, then idles.

One half is cut off by a timeout that is too short to start anything, the other by whoever waits, as at the end of a container.
Prints the processor time in percent of one core, before and after.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from mclass_tf.local.containers.driver import CHECK_TIMED_OUT, RunningContainer
from tests.local.tasks import processes

SECONDS = 10.0  # of idling
_SETTLED = 3.0  # seconds from the last start to the first of these
_TOO_SHORT = 0.001
_COMMAND = ("CMD", "sleep", "100000")


async def measure(folder: Path, checks: int) -> dict[str, float]:
    async with processes(folder) as stage:
        running, _ = await stage.script("import time; time.sleep(100000)")
        before = await _percent()
        timed_out = [await _timed_out(running) for _ in range(checks // 2)]
        cancelled = [await _cancelled(running) for _ in range(checks // 2)]
        after = await _percent()
        await running.kill()
        return {"before": before, "after": after, "cancelled": sum(timed_out) + sum(cancelled)}


async def _timed_out(running: RunningContainer) -> bool:
    status, _ = await running.run_check(_COMMAND, seconds=_TOO_SHORT)
    return status == CHECK_TIMED_OUT


async def _cancelled(running: RunningContainer) -> bool:
    checking = asyncio.create_task(running.run_check(_COMMAND, seconds=60))
    await asyncio.sleep(0)
    checking.cancel()
    await asyncio.wait([checking])
    return checking.cancelled()


async def _percent() -> float:
    await asyncio.sleep(_SETTLED)
    began, before = time.monotonic(), time.process_time()
    await asyncio.sleep(SECONDS)
    return 100 * (time.process_time() - before) / (time.monotonic() - began)


def main(folder: str, checks: str) -> None:
    print(json.dumps(asyncio.run(measure(Path(folder), int(checks)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
