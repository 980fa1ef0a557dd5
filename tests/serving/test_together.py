"""The answers to several prompts of one request: one failure ends them all, and leaving ends what is under way."""

import asyncio

import pytest

from sightline.engine.request import Piece
from sightline.serving.together import Together


class Fake:
    """`Choices` that say one piece, and then fail, end or never do."""

    def __init__(self, then):
        self.then, self.closed = then, False

    async def __aiter__(self):
        yield 0, Piece("a")
        if self.then == "fail":
            raise RuntimeError("it failed")
        while self.then == "wait":
            await asyncio.sleep(1)

    def reply(self, index):
        return self.then

    def close(self):
        self.closed = True


def test_pieces_bear_the_place_of_their_answer():
    async def run():
        return [index async for index, _ in Together([Fake("end"), Fake("end")], each=1)]

    assert sorted(asyncio.run(run())) == [0, 1]


def test_one_failure_ends_all_and_leaves_nothing_behind():
    async def run():
        parts = [Fake("wait"), Fake("fail")]
        with pytest.raises(RuntimeError, match="it failed"):
            async with Together(parts, each=1) as together:
                await together.replies()
        assert [part.closed for part in parts] == [True, True]
        return len(asyncio.all_tasks())

    assert asyncio.run(run()) == 1  # this one
