"""Replies and pieces of them in the shape of OpenAI's completions, which is one for whole answers and chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from sightline.engine.request import Reply
from sightline.serving.chat_answers import finish_reason
from sightline.serving.logprobs import Said, Vocabulary, clamped, said_of
from sightline.serving.schemas.completions import Completion, CompletionChoice, CompletionLogprobs
from sightline.serving.schemas.usage import Usage
from sightline.serving.usage import Mark, usage_of

__all__ = ["CompletionAnswers"]


@dataclass(frozen=True)
class CompletionAnswers:
    """Words the answers to one request (`responding.Wording`); those to the first prompt come first.

    Args:
        prompts, each: how many prompts there are, and answers to each.
        echo: what is put before the answers to a prompt, by its number; it is called once the prompts are known to be
            good.
        has_logprobs: whether the tokens' are told.
        has_usage: whether a stream tells it; a whole answer always does.
    """

    mark: Mark
    vocabulary: Vocabulary
    prompts: int
    each: int
    echo: Callable[[int], str]
    has_logprobs: bool
    has_usage: bool

    @property
    def count(self) -> int:
        """How many answers there are."""
        return self.prompts * self.each

    def whole(self, replies: Sequence[Reply]) -> Completion:
        """All answers at once."""
        echoes = self._echoes()
        choices = [
            self._choice(index, echo + reply.text, said_of(reply, self.vocabulary), finish_reason(reply))
            for index, (echo, reply) in enumerate(zip(echoes, replies, strict=True))
        ]
        return self._completion(choices, self._usage_of(replies))

    def first(self) -> Iterator[str]:
        """The chunk that an answer begins with, where its prompt is echoed."""
        for index, echo in enumerate(self._echoes()):
            if echo:
                yield self.more(index, echo, [])

    def more(self, index: int, text: str, said: Sequence[Said]) -> str:
        """A chunk with some text and the tokens it ends."""
        return self._chunk(self._choice(index, text, said, None))

    def last(self, index: int, reply: Reply) -> str:
        """The chunk that tells why an answer ends."""
        return self._chunk(CompletionChoice(index=index, text="", logprobs=None, finish_reason=finish_reason(reply)))

    def usage(self, replies: Sequence[Reply]) -> str:
        """The chunk that tells what all answers took."""
        return self._chunk(usage=self._usage_of(replies))

    def _echoes(self) -> list[str]:
        return [echo for number in range(self.prompts) for echo in [self.echo(number)] * self.each]

    def _usage_of(self, replies: Sequence[Reply]) -> Usage:
        return usage_of([replies[first : first + self.each] for first in range(0, self.count, self.each)])

    def _chunk(self, *choices: CompletionChoice, usage: Usage | None = None) -> str:
        exclude = None if self.has_usage else {"usage"}
        return self._completion(choices, usage).model_dump_json(exclude=exclude)

    def _completion(self, choices: Sequence[CompletionChoice], usage: Usage | None) -> Completion:
        return Completion(
            id=self.mark.id,
            object="text_completion",
            created=self.mark.created,
            model=self.mark.model,
            choices=list(choices),
            usage=usage,
            system_fingerprint=self.mark.fingerprint,
        )

    def _choice(
        self, index: int, text: str, said: Sequence[Said], reason: Literal["stop", "length"] | None
    ) -> CompletionChoice:
        logprobs = self._logprobs(said) if self.has_logprobs else None
        return CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=reason)

    def _logprobs(self, said: Sequence[Said]) -> CompletionLogprobs:
        text_of = self.vocabulary.text_of
        return CompletionLogprobs(
            tokens=[text_of(one.logprob.token) for one in said],
            token_logprobs=[clamped(one.logprob.logprob) for one in said],
            # The chosen token is among them, likely or not.
            top_logprobs=[{text_of(token): clamped(logprob) for token, logprob in _with_chosen(one)} for one in said],
            text_offset=[one.offset for one in said],
        )


def _with_chosen(said: Said) -> list[tuple[int, float]]:
    one = said.logprob
    return [*one.top, (one.token, one.logprob)]
