"""Slow and hostile clients beside valid ones: no valid request fails, and memory does not grow.

`python -m benchmarks hostile` does the same with a thousand of them.
"""

from __future__ import annotations

import asyncio

import psutil

from tests.local.data_plane import PATIENCE, Alone, asynchronous, group, process, sites, world
from tests.local.hostile_clients import ATTACKS, attackers

_AT_ONCE = 2 * len(ATTACKS)
_ALL = 4 * len(ATTACKS)  # hostile requests
_GROWTH = 48 * 1024 * 1024  # bytes; without limits, a single client of most kinds takes more


async def _serve_well(made: Alone, until: asyncio.Event) -> int:
    """Send requests until `until` is set; return their number. Every answer must be right."""
    client, answers = await made.client(), 0
    while not until.is_set():
        assert (await client.ask()).status == 200
        answers += 1
        await asyncio.sleep(0.005)
    return answers


@asynchronous
async def test_hostile_clients_fail_no_valid_request_and_fill_no_memory() -> None:
    async with sites(None) as (site,), process(world(group("blue", site))) as made:
        await made.healthy(site)
        child = psutil.Process(made.process.pid)
        assert (await (await made.client()).ask()).status == 200
        before = peak = child.memory_info().rss
        over = asyncio.Event()
        good = [asyncio.create_task(_serve_well(made, over)) for _ in range(4)]
        attack = attackers(made.port(), _ALL, at_once=_AT_ONCE, life=0.3)
        async with attack as attacking, asyncio.timeout(PATIENCE):
            while not attacking.done():
                await asyncio.sleep(0.02)
                peak = max(peak, child.memory_info().rss)
                assert not any(task.done() for task in good)
        over.set()
        answers = await asyncio.gather(*good)
        assert min(answers) > 0
        assert peak - before < _GROWTH
