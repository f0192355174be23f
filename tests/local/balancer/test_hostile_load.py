"""Slow and hostile clients beside good ones: nothing fails for the good ones, and the memory stays as it was.

`python -m benchmarks hostile` does the same with a thousand of them.
"""

from __future__ import annotations

import asyncio

import psutil

from tests.local.data_plane import PATIENCE, Alone, asynchronous, group, process, sites, world
from tests.local.hostile_clients import ATTACKS, attackers

_AT_ONCE = 2 * len(ATTACKS)
_ALL = 4 * len(ATTACKS)  # hostile requests
_GROWTH = 48 * 1024 * 1024  # bytes; a single client of most of these kinds takes more where nothing stops it


async def _serve_well(made: Alone, until: asyncio.Event) -> int:
    """Ask until `until` is set; return how often. Every answer must be right."""
    client, answers = await made.client(), 0
    while not until.is_set():
        assert (await client.ask()).status == 200
        answers += 1
        await asyncio.sleep(0.005)
    return answers


@asynchronous
async def test_hostile_clients_make_no_good_request_fail_and_fill_no_memory() -> None:
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
