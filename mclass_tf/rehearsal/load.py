"""`python -m mclass_tf.rehearsal.load`: sends the load from a process of its own, for undisturbed timing.

Standard input: the plan (`LoadPlan`) as one line of JSON, then `{"phase": NAME}` at the start of each phase and `{"stop":
true}`. End of file stops it too. Standard output, one JSON object per line: `{"ready": …}`, `{"phase": …}`, `{"sample": …}`,
`{"failed": …}`, `{"end": …}`.

The load is open: each request starts when it is due, whatever happened to those before it, and its latency counts from its due
time. So if the service stalls, every request in that time shows it (no coordinated omission).
https://www.scylladb.com/2021/04/22/on-coordinated-omission/
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from mclass_tf.rehearsal.client import LONG, PROBE, STEADY, LoadClient, LoadRequest
from mclass_tf.rehearsal.plan import BurstProbe, LoadPlan
from mclass_tf.rehearsal.tally import Tally

# Above this limit the sender would run out of file descriptors, so further requests fail at once.
_MAX_IN_FLIGHT = 8000
_REPORT_SECONDS = 0.25

WriteMessage = Callable[[dict[str, Any]], None]


class LoadProcess:
    """Sends the load of a plan until it is stopped."""

    def __init__(self, plan: LoadPlan, *, write: WriteMessage) -> None:
        self._plan = plan
        self._write = write
        # The event loop's clock has only millisecond resolution.
        self._clock = time.monotonic
        self._stopped = asyncio.Event()
        self._in_flight: set[asyncio.Task[None]] = set()
        self._numbers = 0
        now = self._clock()
        self._started = self._frontier = now
        self._tally = Tally(wall=time.time() - now, now=now)
        self._requests = LoadClient(plan, clock=self._clock)

    def handle(self, message: dict[str, Any]) -> None:
        """Handle a message of the rehearsal."""
        if message.get("stop"):
            self._stopped.set()
        elif "phase" in message:
            self._tally.enter(str(message["phase"]), now=self._clock())
            self._write({"phase": message["phase"], "at": time.time()})

    async def run(self) -> None:
        """Send until stopped, wait for the requests in flight, and report the results."""
        self._write({"ready": True, "at": time.time()})
        background = [asyncio.create_task(self._report_samples())]
        if self._plan.probe is not None:
            background.append(asyncio.create_task(self._bursts(self._plan.probe)))
        await self._pace()
        stopped = self._clock()
        for task in background:
            task.cancel()
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        await self._requests.close()
        for sample in self._tally.samples(now=self._clock(), is_over=True):
            self._write({"sample": asdict(sample)})
        self._write({"end": self._tally.end(rate=self._plan.rate, now=stopped)})

    async def _pace(self) -> None:
        """Start each request when it is due. After a delay of our own, start all overdue ones, measured from their due times."""
        schedule = self._schedule()
        request = next(schedule)
        while not self._stopped.is_set():
            now = self._clock()
            while request.due <= now:
                self._start(request)
                request = next(schedule)
            self._frontier = request.due
            await asyncio.sleep(max(0.0, request.due - self._clock()))

    def _schedule(self) -> Iterator[LoadRequest]:
        """Yield the steady requests in order. A seeded draw decides which are long and which open a connection."""
        plan, draw = self._plan, random.Random(self._plan.seed)  # noqa: S311  # no secret
        number = 0
        while True:
            due = self._started + number / plan.rate
            number += 1
            over = "new" if draw.random() < plan.new_connection_share else "kept"
            if draw.random() < plan.long_share:
                yield self._request(
                    part=LONG,
                    path=f"{plan.long_path}?ms={plan.long_ms}",
                    due=due,
                    over=over,
                    asked_seconds=plan.long_ms / 1000,
                )
            else:
                yield self._request(
                    part=STEADY, path=plan.paths[number % len(plan.paths)], due=due, over=over
                )

    def _request(
        self, *, part: str, path: str, due: float, over: str, asked_seconds: float = 0.0
    ) -> LoadRequest:
        self._numbers += 1
        return LoadRequest(
            part=part, path=path, number=self._numbers, due=due, over=over, asked_seconds=asked_seconds
        )

    async def _bursts(self, probe: BurstProbe) -> None:
        number = 0
        due = self._clock()
        while True:
            for _ in range(probe.connections):
                path = self._plan.paths[0]
                self._start(self._request(part=PROBE, path=path, due=self._clock(), over="probe"))
            due += probe.intervals[number % len(probe.intervals)]
            number += 1
            await asyncio.sleep(max(0.0, due - self._clock()))

    def _start(self, request: LoadRequest) -> None:
        self._tally.began(part=request.part, due=request.due, begun=self._clock())
        task = asyncio.create_task(self._send(request))
        self._in_flight.add(task)
        task.add_done_callback(self._in_flight.discard)

    async def _send(self, request: LoadRequest) -> None:
        if len(self._in_flight) > _MAX_IN_FLIGHT:
            outcome = self._requests.not_sent(request)
        else:
            outcome = await self._requests.send(request)
        failed = self._tally.ended(outcome)
        if failed is not None:
            self._write({"failed": asdict(failed)})

    async def _report_samples(self) -> None:
        while True:
            await asyncio.sleep(_REPORT_SECONDS)
            # Overdue requests that have not started yet still belong to the second in which they were due.
            for sample in self._tally.samples(now=min(self._frontier, self._clock())):
                self._write({"sample": asdict(sample)})


async def _listen(handle: Callable[[dict[str, Any]], None]) -> None:
    """Pass on each line of standard input. End of file means stop."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        handle(json.loads(line))
    handle({"stop": True})


def _write(document: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(document, separators=(",", ":")) + "\n")
    sys.stdout.flush()


async def _run(plan: LoadPlan) -> None:
    load = LoadProcess(plan, write=_write)
    listening = asyncio.create_task(_listen(load.handle))
    # If the rehearsal no longer listens, stop the load.
    listening.add_done_callback(partial(_stop, load))
    # Keep the present objects out of garbage collections.
    gc.freeze()
    await load.run()
    listening.cancel()


def _stop(load: LoadProcess, _task: asyncio.Task[None]) -> None:
    load.handle({"stop": True})


def main() -> None:
    """Read the plan and send its load."""
    # Read not a byte beyond the line: the rest is for `_listen`.
    with open(sys.stdin.fileno(), "rb", buffering=0, closefd=False) as unbuffered:
        plan = LoadPlan.from_json(unbuffered.readline())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = hard if hard != resource.RLIM_INFINITY else max(soft, 2 * _MAX_IN_FLIGHT)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_run(plan))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # not available on every platform
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    main()
