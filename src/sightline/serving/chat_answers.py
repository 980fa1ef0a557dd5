"""Replies and pieces of them in the shapes of OpenAI's chats: a whole completion, or the chunks of a stream.

It knows nothing of where they come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from sightline.engine.request import Reply
from sightline.serving.logprobs import Said, Vocabulary, clamped, said_of
from sightline.serving.schemas.chat import (
    AssistantMessage,
    ChatChoice,
    ChatChunk,
    ChatCompletion,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    LogprobToken,
    TopLogprob,
)
from sightline.serving.schemas.usage import Usage
from sightline.serving.usage import Mark, usage_of

__all__ = ["ChatAnswers", "finish_reason"]


def finish_reason(reply: Reply) -> Literal["stop", "length"]:
    """Why a finished answer ends (`check_finished`)."""
    assert reply.finish_reason in ("stop", "length")
    return cast(Literal["stop", "length"], reply.finish_reason)


@dataclass(frozen=True)
class ChatAnswers:
    """Words the answers to one request (`responding.Wording`).

    Args:
        count: how many answers there are.
        has_logprobs: whether the tokens' are told.
        has_usage: whether a stream tells it; a whole answer always does.
    """

    mark: Mark
    vocabulary: Vocabulary
    count: int
    has_logprobs: bool
    has_usage: bool

    def whole(self, replies: Sequence[Reply]) -> ChatCompletion:
        """All answers at once."""
        return ChatCompletion(
            id=self.mark.id,
            object="chat.completion",
            created=self.mark.created,
            model=self.mark.model,
            choices=[self._choice(index, reply) for index, reply in enumerate(replies)],
            usage=usage_of([replies]),
            system_fingerprint=self.mark.fingerprint,
        )

    def first(self) -> Iterator[str]:
        """The chunk that each answer begins with: its role."""
        delta = Delta(role="assistant", content="", refusal=None)
        for index in range(self.count):
            yield self._chunk(ChunkChoice(index=index, delta=delta, logprobs=None, finish_reason=None))

    def more(self, index: int, text: str, said: Sequence[Said]) -> str:
        """A chunk with some text and the tokens it ends."""
        return self._chunk(
            ChunkChoice(index=index, delta=Delta(content=text), logprobs=self._logprobs(said), finish_reason=None)
        )

    def last(self, index: int, reply: Reply) -> str:
        """The chunk that tells why an answer ends."""
        return self._chunk(ChunkChoice(index=index, delta=Delta(), logprobs=None, finish_reason=finish_reason(reply)))

    def usage(self, replies: Sequence[Reply]) -> str:
        """The chunk that tells what all answers took."""
        return self._chunk(usage=usage_of([replies]))

    def _chunk(self, *choices: ChunkChoice, usage: Usage | None = None) -> str:
        chunk = ChatChunk(
            id=self.mark.id,
            object="chat.completion.chunk",
            created=self.mark.created,
            model=self.mark.model,
            system_fingerprint=self.mark.fingerprint,
            choices=list(choices),
            usage=usage,
        )
        return chunk.model_dump_json(exclude_unset=True, exclude=None if self.has_usage else {"usage"})

    def _choice(self, index: int, reply: Reply) -> ChatChoice:
        return ChatChoice(
            index=index,
            message=AssistantMessage(role="assistant", content=reply.text, refusal=None),
            logprobs=self._logprobs(said_of(reply, self.vocabulary)),
            finish_reason=finish_reason(reply),
        )

    def _logprobs(self, said: Iterable[Said]) -> ChoiceLogprobs | None:
        if not self.has_logprobs:
            return None
        return ChoiceLogprobs(content=[self._token(one) for one in said], refusal=None)

    def _token(self, said: Said) -> LogprobToken:
        one = said.logprob
        top = [TopLogprob(**self._worded(token, logprob)) for token, logprob in one.top]
        return LogprobToken(**self._worded(one.token, one.logprob), top_logprobs=top)

    def _worded(self, token: int, logprob: float) -> dict[str, Any]:
        vocabulary = self.vocabulary
        return {
            "token": vocabulary.text_of(token),
            "logprob": clamped(logprob),
            "bytes": list(vocabulary.bytes_of(token)),
        }
