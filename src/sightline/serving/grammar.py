"""Answers that are held to a grammar: JSON, a JSON Schema, a regular expression, one of some texts.

llguidance follows the grammar over the tokens; this file makes it agree with what their text will be, remembers which
grammars are fit to be compiled, and makes a rule for each answer. It knows neither routes nor the engine, and what a
client may ask for is `grammar_source`'s to check.
"""

from __future__ import annotations

import asyncio
import functools
import json
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from sightline.engine.sampling import LogitsRule
from sightline.serving.errors import APIError
from sightline.serving.grammar_source import TOO_LONG, Kind, complaint_of, grammar_source
from sightline.serving.grammar_trial import Trial
from sightline.serving.settings import Limits
from sightline.tokenizer import AT_TOKEN, IMAGE_TOKEN

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

__all__ = ["GrammarRule", "Grammars"]

# Of llguidance's parser and lexer; an answer that goes beyond one ends. Nobody's answer may cost the others a step.
PARSER_LIMITS: dict[str, Any] = {
    "max_items_in_row": 2_000,
    "initial_lexer_fuel": 500_000,
    "step_lexer_fuel": 50_000,
    "step_max_items": 20_000,
    "max_lexer_states": 10_000,
    "max_grammar_size": 50_000,
    "precompute_large_lexemes": True,
    "verbose_errors": False,
}
# Seconds of the processor that following a grammar may take: at once, and for each token.
BURST_SECONDS, TOKEN_SECONDS = 0.25, 0.01
WAIT_SECONDS = 0.5  # for others' grammars to be tried out
_WORKERS = 2  # threads that compile what is known to be good

Result = TypeVar("Result")


class Grammars:
    """Compiles grammars for one model, and remembers of the last `limits.grammar_cache` whether they can be.

    Each request's is compiled anew, in milliseconds: copies of one matcher share their lexer, and with it the limit
    that one of them hits. The threads that do it do nothing else, and the one that tries out what is new is none of
    them: whatever is hard to compile keeps neither pictures and prompts waiting nor grammars that are known.

    Args:
        processor: has a `tokenizer` with a `tokenizers` backend.
        end_tokens: ids that end an answer.
        vocab_size: of the model; it may exceed the tokenizer's.
        on_rejected: told why a request was refused.
    """

    def __init__(
        self,
        processor: Any,
        end_tokens: Iterable[int],
        vocab_size: int,
        limits: Limits,
        on_rejected: Callable[[str], None] = lambda reason: None,
    ):
        self._processor, self._limits, self._vocab_size = processor, limits, vocab_size
        self._end_tokens = sorted({token for token in end_tokens if 0 <= token < vocab_size})
        self._on_rejected = on_rejected
        self._trying = asyncio.Lock()  # what is hard to compile keeps one core busy, not all
        self._workers = ThreadPoolExecutor(_WORKERS, "sightline-grammar")
        self._trials = ThreadPoolExecutor(1, "sightline-trial")
        self._tried: OrderedDict[str, str] = OrderedDict()  # what is wrong with a grammar; empty: nothing
        self._pending: dict[str, asyncio.Future[str]] = {}  # what is being tried
        self._tokenizer: LLTokenizer | None = None
        self._trial: Trial | None = None

    async def compile(self, kind: Kind, value: Any, param: str) -> Callable[[], LogitsRule]:
        """What makes a rule for each answer that is to follow the grammar.

        Args:
            kind: `json_object` (`value` is not looked at), `json_schema` (a dict), `regex` (a string that all of the
                answer matches), `choice` (a list of strings).
            param: the field of the request that it comes from.

        Raises:
            APIError: 400, the grammar is wrong, beyond a limit or takes too long; 429, others are being compiled.
        """
        if not self._end_tokens:
            raise APIError(f"{param} needs a model with an end token, which this one has not", param=param)
        source = await self._in_thread(functools.partial(grammar_source, kind, value, param, self._limits))
        wrong = self._known(source)
        if wrong is None:
            wrong = await self._try_in_turn(source, param)
        if wrong:
            raise APIError(f"{param} {wrong}", param=param, code="invalid_grammar")
        matcher = await self._in_thread(functools.partial(self._compile, source))
        placeholder = getattr(self._processor, "image_token_id", None)
        return lambda: GrammarRule(matcher.deep_copy(), self._end_tokens, param, placeholder)

    def close(self) -> None:
        """End the process in which grammars are tried out, and the threads. It may wait a moment."""
        for threads in (self._workers, self._trials):
            threads.shutdown(wait=False, cancel_futures=True)
        if self._trial is not None:
            self._trial.close()  # ends what is being tried, too
        self._trials.shutdown()

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    def _known(self, source: str) -> str | None:
        if source in self._tried:
            self._tried.move_to_end(source)
        return self._tried.get(source)

    async def _try_in_turn(self, source: str, param: str) -> str:
        """What is wrong with a grammar. Its turn is over when its trial is, whether or not someone still waits."""
        if (pending := self._pending.get(source)) is not None:
            return await asyncio.shield(pending)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._trying.acquire()
        except TimeoutError:
            self._on_rejected("grammars")
            text = "others' grammars are being compiled: try again"
            raise APIError(text, status=429, param=param, code="grammars", retry_after=2) from None
        if (wrong := self._known(source)) is not None:
            self._trying.release()
            return wrong
        try:
            trial = asyncio.get_running_loop().run_in_executor(self._trials, self._try, source)
        except RuntimeError:  # it is closed
            self._trying.release()
            raise
        self._pending[source] = trial
        trial.add_done_callback(functools.partial(self._on_tried, source))
        return await asyncio.shield(trial)

    def _on_tried(self, source: str, trial: asyncio.Future[str]) -> None:
        self._trying.release()
        del self._pending[source]
        if trial.cancelled() or trial.exception() is not None:
            return
        self._tried[source] = trial.result()
        while len(self._tried) > self._limits.grammar_cache:
            self._tried.popitem(last=False)

    def _try(self, source: str) -> str:
        if self._trial is None:
            self._read_tokenizer()
        assert self._trial is not None
        try:
            said = self._trial.run(source)
        except TimeoutError:
            text = "the machine is too busy to try the grammar out: come again later"
            raise APIError(text, status=429, code="busy", retry_after=5) from None
        return TOO_LONG if said is None else complaint_of(said) if said else ""

    def _compile(self, source: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        assert self._tokenizer is not None, "a grammar is tried first"
        return LLMatcher(self._tokenizer, source, log_level=0, limits=LLParserLimits(**PARSER_LIMITS))

    def _read_tokenizer(self) -> None:
        from llguidance import LLTokenizer

        text = tokenizer_text(self._processor)
        size = max(self._vocab_size, len(self._processor.tokenizer))
        self._tokenizer = LLTokenizer(text, n_vocab=size, eos_token=self._end_tokens)
        self._trial = Trial(
            {"tokenizer": text, "vocab_size": size, "end_tokens": self._end_tokens, "limits": PARSER_LIMITS}
        )


class GrammarRule:
    """Excludes the tokens that the grammar does not go on with; the end tokens are there where it may end.

    It is called as transformers' processors are, first with the prompt alone. Later calls may come after one another
    in any order that drafts bring about: a draft that was wrong is taken back.

    Args:
        matcher: at the grammar's beginning; this rule's own.
        param: the field to name when a limit ends the answer.
        placeholder: an id that is never generated.
    """

    def __init__(self, matcher: LLMatcher, end_tokens: Iterable[int], param: str, placeholder: int | None = None):
        self._matcher, self._param, self._placeholder = matcher, param, placeholder
        self._end_tokens = frozenset(end_tokens)
        self._prompt_length: int | None = None
        self._read: list[int] = []  # of the answer, what the matcher has consumed
        self._seconds = BURST_SECONDS

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """`scores` [1, vocab], -inf where a token is excluded.

        Raises:
            APIError: a limit is reached; the answer cannot go on.
        """
        if self._prompt_length is None:
            self._prompt_length = input_ids.shape[1]
        started = time.thread_time()  # the processor's time: a busy machine is not the grammar's fault
        allowed = self._allowed(input_ids[0, self._prompt_length :].tolist(), scores.shape[1])
        self._seconds += TOKEN_SECONDS - (time.thread_time() - started)
        if self._matcher.is_error() or self._seconds < 0:
            why = "became too complex to follow within this answer: simplify it"
            raise APIError(f"{self._param} {why}", param=self._param, code="invalid_grammar")
        if allowed is None:
            return scores
        return scores.masked_fill(~allowed.to(scores.device), float("-inf"))

    def _allowed(self, written: list[int], vocab_size: int) -> Tensor | None:
        """Which tokens may follow; None behind a draft that the grammar excludes: nothing from there is taken."""
        if not self._follow(written):
            return None
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        allowed = torch.from_numpy(np.unpackbits(bits, count=vocab_size, bitorder="little")).bool()
        if self._placeholder is not None:
            allowed[self._placeholder] = False
        assert allowed.any() or self._matcher.is_error(), "a grammar that does not end goes on"
        return allowed

    def _follow(self, written: list[int]) -> bool:
        """Bring the matcher to where `written` ends, and whether it goes that far."""
        shared = _shared(self._read, written)
        if shared < len(self._read):
            self._matcher.rollback(len(self._read) - shared)
            del self._read[shared:]
        new = written[shared:]
        whole = next((place for place, token in enumerate(new) if token in self._end_tokens), len(new))
        taken = self._matcher.try_consume_tokens(new[:whole])
        self._read += new[:taken]
        return taken == len(new)


def _shared(first: list[int], second: list[int]) -> int:
    if second[: len(first)] == first:
        return len(first)
    unlike = (place for place, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    return next(unlike, len(second))


def tokenizer_text(processor: Any) -> str:
    """The tokenizer as JSON in which each token has the text that it decodes to, and control tokens have none.

    llguidance looks for the names of control tokens in texts that an answer must contain; so they get names that
    nobody can guess. Where '@' is the image placeholder, a typed one has an id of its own, which is '@' here, while
    the placeholder is a control token.
    """
    read = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    read["padding"] = read["truncation"] = read["post_processor"] = None  # those are for prompts
    typed = processor.tokenizer.get_vocab().get(AT_TOKEN)
    names: dict[int, str] = {}
    if getattr(processor, "image_token", None) == IMAGE_TOKEN and typed is not None:
        plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        read["added_tokens"] = [token for token in read["added_tokens"] if token["id"] != typed]
        read["added_tokens"].append({"id": processor.image_token_id, "content": IMAGE_TOKEN, "special": True} | plain)
        names[typed] = IMAGE_TOKEN
    secret = secrets.token_hex(16)
    for token in read["added_tokens"]:
        if token["special"]:
            token["content"] = names[token["id"]] = f"<|{secret} {token['id']}|>"
    _rename(read["model"], names)
    read["added_tokens"].sort(key=lambda token: token["id"])
    return json.dumps(read)


def _rename(model: dict[str, Any], names: dict[int, str]) -> None:
    """Call the tokens of a `tokenizers` model otherwise: a dict of ids, or a list of names and scores (Unigram)."""
    if isinstance(model["vocab"], list):
        model["vocab"] = [[names.get(index, name), score] for index, (name, score) in enumerate(model["vocab"])]
        return
    if model.get("unk_token") in model["vocab"]:
        unknown = model["vocab"][model["unk_token"]]
        model["unk_token"] = names.get(unknown, model["unk_token"])
    model["vocab"] = {names.get(token, name): token for name, token in model["vocab"].items()}
