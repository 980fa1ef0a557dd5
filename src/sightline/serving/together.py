"""The answers to several prompts of one request, as if they were to one: `Together`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence

from sightline.engine.request import Piece, Reply
from sightline.serving.answering import Choices

__all__ = ["Together"]

_Item = tuple[int, Piece] | BaseException | None


class Together:
    """`each` answers to each prompt; those to the first prompt come first. Leaving the context cancels all of them."""

    def __init__(self, prompts: Sequence[Choices], each: int):
        self._prompts, self._each = prompts, each
        self.count = len(prompts) * each

    async def __aenter__(self) -> Together:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    async def __aiter__(self) -> AsyncGenerator[tuple[int, Piece]]:
        """Pieces of all answers as they come. Raises what the first one failed with."""
        items: asyncio.Queue[_Item] = asyncio.Queue()
        tasks = [
            asyncio.create_task(_pass_on(choices, number * self._each, items))
            for number, choices in enumerate(self._prompts)
        ]
        try:
            left = len(tasks)
            while left:
                item = await items.get()
                if isinstance(item, BaseException):
                    raise item
                if item is None:
                    left -= 1
                else:
                    yield item
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def replies(self) -> list[list[Reply]]:
        """All answers whole, by prompt. Raises as iterating does."""
        async for _ in self:
            pass
        return self.by_prompt()

    def by_prompt(self) -> list[list[Reply]]:
        """The answers to each prompt, once all are over."""
        return [[choices.reply(index) for index in range(self._each)] for choices in self._prompts]

    def close(self) -> None:
        """Cancel what is under way."""
        for choices in self._prompts:
            choices.close()


async def _pass_on(choices: Choices, first: int, items: asyncio.Queue[_Item]) -> None:
    try:
        async for index, piece in choices:
            items.put_nowait((first + index, piece))
    except Exception as error:
        items.put_nowait(error)
    else:
        items.put_nowait(None)
