"""Any output of a process becomes lines, however it arrives."""

from __future__ import annotations

import asyncio
import os

import pytest

from mclass_tf.local.containers.output import Lines, Pipe, Tail, finish


def cut(*pieces: bytes, longest: int = 100) -> list[str]:
    found: list[str] = []
    lines = Lines(found.append, longest=longest)
    for piece in pieces:
        lines.take(piece)
    lines.finish()
    return found


def test_lines_are_whole_however_they_arrive() -> None:
    assert cut(b"on", b"e\ntw", b"o\n\nthree") == ["one", "two", "", "three"]


def test_bytes_that_are_not_utf_8_are_replaced() -> None:
    assert cut(b"a\xffb\n") == ["a\ufffdb"]


def test_a_character_may_arrive_in_two_pieces() -> None:
    euro = "€".encode()
    assert cut(euro[:1], euro[1:] + b"\n") == ["€"]


def test_a_line_that_is_too_long_is_cut_but_not_inside_a_character() -> None:
    assert cut(("a" + "€" * 4 + "\nb\n").encode(), longest=6) == ["a€", "€€", "€", "b"]
    assert cut(b"\x80" * 14 + b"\n", longest=6) == ["\ufffd" * 6, "\ufffd" * 6, "\ufffd" * 2]


def test_a_line_without_an_end_is_not_kept_in_memory() -> None:
    found = cut(*[b"x" * 64] * 100, longest=100)

    assert [len(line) for line in found] == [100] * 64


def test_a_tail_is_the_end() -> None:
    tail = Tail(4)
    for piece in (b"abc", b"def"):
        tail.take(piece)

    assert tail.text == "cdef"


@pytest.mark.parametrize("is_closed", [True, False])
def test_a_pipe_that_something_holds_open_is_given_up(*, is_closed: bool) -> None:
    async def run() -> bytes:
        reading, writing = os.pipe()
        taken = bytearray()
        pipe = Pipe(reading, taken.extend)
        os.write(writing, b"written")
        if is_closed:
            os.close(writing)
        await finish((pipe,), seconds=60 if is_closed else 0.2)
        assert pipe.is_closed
        if not is_closed:
            os.close(writing)
        return bytes(taken)

    assert asyncio.run(run()) == b"written"


def test_a_wait_that_is_cancelled_leaves_the_pipe_as_it_was() -> None:
    async def run() -> None:
        reading, writing = os.pipe()
        taken = bytearray()
        pipe = Pipe(reading, taken.extend)
        waiting = asyncio.create_task(pipe.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        os.write(writing, b"written")
        os.close(writing)

        async with asyncio.timeout(60):
            await pipe.wait()
        assert taken == b"written"
        assert is_closed(reading)

    asyncio.run(run())


def test_a_pipe_is_closed_after_a_wait_that_was_cancelled() -> None:
    async def run() -> None:
        reading, writing = os.pipe()
        pipe = Pipe(reading, lambda _: None)
        waiting = asyncio.create_task(pipe.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        pipe.close()
        pipe.close()

        assert is_closed(reading)
        os.close(writing)

    asyncio.run(run())


def is_closed(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return True
    return False
