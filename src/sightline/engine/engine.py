"""`Engine`: many conversations at once over the same weights, each with the answer it would have alone.

One thread takes the steps; requests come from any thread and are read there. This file knows messages and words, and
hands tokens to `core.py`.
"""

from __future__ import annotations

import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from sightline.engine.blocks import BlockPool
from sightline.engine.core import EngineCore
from sightline.engine.image_cache import ImageCache
from sightline.engine.job import Job
from sightline.engine.kv_cache import PagedKVCache, bytes_per_block, default_budget
from sightline.engine.loop import EngineLoop
from sightline.engine.prompts import PreparedImage, PromptReader
from sightline.engine.request import Piece, Prompt, Reply, SamplingParams, TokenLogprob
from sightline.engine.runner import Runner
from sightline.engine.sampling import LogitsRule
from sightline.engine.scheduler import Scheduler
from sightline.engine.scoring import Graded, Score, check_wanted, score
from sightline.engine.text import TextStream
from sightline.engine.weights import FusedWeights
from sightline.images import renamed

__all__ = ["Engine", "Handle", "Prepared"]

Messages = Sequence[dict[str, Any]]
Listener = Callable[[Piece | None], None]

log = logging.getLogger(__name__)

MIB = 2**20
_LARGE = MIB  # pixels of a prompt's pictures: a server's bound on those that are held has room for so many a place


class Handle:
    """An answer under way: iterate it for its text as it comes, or wait for its `result`."""

    def __init__(self, processor: Any, params: SamplingParams, listener: Listener | None = None):
        self._text = TextStream(processor, params.stop)
        self._pieces: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._listener = listener
        self._unsaid: list[TokenLogprob] = []  # of tokens whose text is yet to come
        self._over = threading.Event()
        self._reply: Reply | None = None
        self._error: BaseException | None = None
        self._cancel: Callable[[], None] = lambda: None
        self._engine: Engine | None = None  # kept alive until the answer is there

    def __iter__(self) -> Iterator[str]:
        """Pieces of text; the answer is cancelled where nobody listens to the end. Raises what the engine raised."""
        try:
            while (piece := self._pieces.get()) is not None:
                yield piece
            self._pieces.put(None)  # so that who iterates again ends, too
        finally:
            self.cancel()
        self.result()

    def result(self, timeout: float | None = None) -> Reply:
        """The finished answer.

        Raises:
            TimeoutError: it is not finished after `timeout` seconds.
            Exception: the engine failed on it.
        """
        if not self._over.wait(timeout):
            raise TimeoutError(f"there is no answer after {timeout} s")
        if self._error is not None:
            raise self._error
        assert self._reply is not None
        return self._reply

    def cancel(self) -> None:
        """End it now; `result` is what there is so far. One that is over stays as it is."""
        if not self._over.is_set():
            self._cancel()

    def _on_token(self, token: int, logprob: TokenLogprob | None) -> bool:
        if logprob is not None:
            self._unsaid.append(logprob)
        if text := self._text.push(token):
            self._say(text)
        return self._text.stopped

    def _say(self, text: str) -> None:
        piece, self._unsaid = Piece(text, tuple(self._unsaid)), []
        if self._listener is None:
            self._pieces.put(text)
        else:
            self._listener(piece)

    def _on_end(self, job: Job) -> None:
        try:
            self._finish(job)
        except Exception as error:
            self._fail(error)

    def _finish(self, job: Job) -> None:
        if job.error is not None:
            raise job.error
        text = self._text.finish()
        if text or self._unsaid:
            self._say(text)
        assert job.finish_reason is not None
        self._reply = Reply(
            text=self._text.text,
            tokens=tuple(job.sequence.generated),
            finish_reason=job.finish_reason,
            usage=job.usage,
            timings=job.timings,
            logprobs=tuple(job.logprobs),
        )
        self._close()

    def _fail(self, error: BaseException) -> None:
        if not self._over.is_set():
            self._error = error
            self._close()

    def _close(self) -> None:
        self._let_go()
        self._over.set()
        self._let_go()  # of what `submit` has set between, before it could see that this is over
        self._pieces.put(None)
        if self._listener is not None:
            try:
                self._listener(None)
            except Exception as error:  # the answer is whole, and the thread is everybody's
                log.error("a listener failed at the end of its answer", exc_info=error)

    def _let_go(self) -> None:
        self._cancel = lambda: None  # it holds the job
        self._engine = None


class Prepared(NamedTuple):
    """A prompt that has been read, and its pictures by key."""

    prompt: Prompt
    pictures: Mapping[bytes, PreparedImage]


class Engine:
    """Runs a model for many requests at once: continuous batching over a paged KV cache.

    In float32 each answer's tokens are those of `model.generate`, whatever else is in the batch; in bfloat16 two nearly
    equal logits may change places. The model's weights become views of fused ones; it stays usable beside the engine.

    Args:
        model: a `VLM` in eval mode.
        processor: its processor.
        max_batch_size: answers under way at once.
        max_batch_tokens: tokens computed in one step; a longer prompt takes several. None: 512, or `max_batch_size`.
        kv_cache_bytes: the budget of keys and values, allocated at once. None: 512 MiB, and up to 2 GiB where the
            model's longest text takes more. What a batch reads of one layer is copied beside it.
        image_cache_bytes: the budget of image features that are kept.
        block_size: tokens a block of the KV cache.
        prefix_caching: whether prompts take over what earlier ones with the same beginning have computed. Never with
            longrope, where what a token's keys are depends on how long the prompt is.
        compile: whether to run through torch.compile, where there is a compiler (`sightline info` says which); on a GPU
            decoding runs as CUDA graphs. It takes a minute the first time; what was compiled is kept.

    Raises:
        ValueError: a size is too small to hold one request.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        max_batch_size: int = 32,
        max_batch_tokens: int | None = None,
        kv_cache_bytes: int | None = None,
        image_cache_bytes: int = 256 * MIB,
        block_size: int = 16,
        prefix_caching: bool = True,
        compile: bool = False,
    ):
        self.model, self.processor = model, processor
        if block_size < 1:
            raise ValueError(f"block_size is at least 1, not {block_size}")
        per_block = bytes_per_block(model.config, block_size, model.dtype)
        budget = default_budget(model.config, block_size, model.dtype) if kv_cache_bytes is None else kv_cache_bytes
        blocks = budget // per_block - 1  # the cache has one more, for padding
        if blocks < 1:
            raise ValueError(f"kv_cache_bytes={kv_cache_bytes} holds no two blocks of {per_block} bytes: raise it")
        step_tokens = max(512, max_batch_size) if max_batch_tokens is None else max_batch_tokens
        pool = BlockPool(blocks, block_size)
        cache = PagedKVCache(model.config, blocks, block_size, model.device, model.dtype)
        self._core = EngineCore(
            Scheduler(pool, max_batch_size, step_tokens, prefix_caching and not _depends_on_length(model)),
            Runner(model, cache, FusedWeights(model), compile=compile),
            ImageCache(image_cache_bytes),
            end_tokens=_end_tokens(model),
            image_token_id=model.config.image_token_id,
            max_length=model.config.max_position_embeddings,
        )
        self._reader = PromptReader(processor)
        self._loop = EngineLoop(self._core)
        # The thread must not keep an engine alive that nobody holds any more.
        self._finalizer = weakref.finalize(self, self._loop.close)

    def submit(
        self,
        messages: Messages | Prepared,
        params: SamplingParams | None = None,
        *,
        salt: bytes = b"",
        rules: Iterable[LogitsRule] = (),
        listener: Listener | None = None,
        **options: Any,
    ) -> Handle:
        """Ask, and go on at once; the answer is worked on beside whatever else is asked.

        Args:
            messages: a conversation in the chat format, read before this returns; or what has been read already
                (`prepare`, `prepare_text`), with the salt it was read with.
            params: how to choose the tokens; single values of it can be given as `options`.
            salt: requests of another salt share no prefix of their prompts.
            rules: processors of logits, as transformers' are.
            listener: called in the engine's thread with each piece of the answer, and once with None at its end,
                instead of being iterated. It must not wait. The answer fails with what it raises over a piece.

        Raises:
            ValueError, FileNotFoundError: the messages or pictures are wrong, or the prompt is too long.
            RuntimeError: the engine is closed.
        """
        params = (params or SamplingParams()).replace(**options)
        prompt, pictures = messages if isinstance(messages, Prepared) else self.prepare(messages, salt)
        params = self._core.bounded(prompt, params)
        self._core.check(prompt, params)
        handle = Handle(self.processor, params, listener)
        core = self._core  # which the thread holds, never the engine
        handle._cancel = self._loop.submit(
            lambda: core.add(prompt, pictures, params, handle._on_token, handle._on_end, rules), handle._fail
        )
        handle._engine = self
        if handle._over.is_set():
            handle._let_go()
        return handle

    def prepare(self, messages: Messages, salt: bytes = b"") -> Prepared:
        """Read a conversation once, for several answers to it. Raises as `submit`."""
        prompt, pictures = self._reader.read(messages, salt)
        held = sum(picture.size for picture in pictures.values())
        for key, picture in pictures.items():
            # Here, and not in the thread that all answers wait for. Large ones are not held until the answer is over.
            if key not in self._core.images or held > _LARGE:
                picture.pixel_values()
        return Prepared(prompt, pictures)

    def stream(self, messages: Messages, params: SamplingParams | None = None, **options: Any) -> Iterator[str]:
        """The answer's text in pieces, as they come. Options and errors as `submit`."""
        yield from self.submit(messages, params, **options)

    def chat(self, messages: Messages, params: SamplingParams | None = None, **options: Any) -> Reply:
        """The answer. Options and errors as `submit`."""
        return self.submit(messages, params, **options).result()

    def batch(
        self, conversations: Iterable[Messages], params: SamplingParams | None = None, **options: Any
    ) -> list[Reply]:
        """The answers to all of them, in order, worked on together. Options and errors as `submit`."""
        replies: list[Reply] = []
        waiting: deque[Handle] = deque()
        try:
            for number, messages in enumerate(conversations):
                # No more than keep the batch full: a long list's pictures need not all be open at once.
                if len(waiting) == 2 * self._core.scheduler.max_batch_size:
                    replies.append(waiting.popleft().result())
                try:
                    waiting.append(self.submit(messages, params, **options))
                except (ValueError, FileNotFoundError) as error:
                    raise renamed(error, f"conversation {number}: {str(error).removeprefix('sample 0, ')}") from None
            return replies + [handle.result() for handle in waiting]
        finally:
            for handle in waiting:
                handle.cancel()

    def prepare_text(self, text: str | Sequence[int], salt: bytes = b"") -> Prepared:
        """A text, or its token ids, that the answer goes on from, without a template and without pictures.

        Before a text stands what the tokenizer begins every text with, if anything. Raises as `PromptReader.plain`.
        """
        return Prepared(self._reader.plain(text, salt), {})

    def score(self, messages: Messages, choices: Sequence[str], *, salt: bytes = b"") -> list[Score]:
        """How probable each of the `choices` is as the whole answer; with prefix caching, the prompt is computed once.

        Raises:
            ValueError: there are no choices, or two alike, or the model has no end token; or as `submit`.
        """
        return list(self.grade(messages, choices, salt=salt).scores)

    def grade(
        self,
        messages: Messages,
        choices: Sequence[str],
        *,
        salt: bytes = b"",
        abandoned: threading.Event | None = None,
    ) -> Graded:
        """As `score`, with what it took.

        Args:
            abandoned: once it is set, what is left is not graded any more.

        Raises:
            RuntimeError: it was abandoned; or as `score`.
        """
        if isinstance(choices, str):
            raise ValueError("choices is a list of texts, not one text")
        if wrong := [text for text in choices if not isinstance(text, str)]:
            raise ValueError(f"choices are texts, not {wrong[0]!r}")
        abandoned = abandoned or threading.Event()
        check_wanted(abandoned)
        prompt, pictures = self.prepare(messages, salt)
        answers = []
        for text in choices:
            check_wanted(abandoned)
            answers.append((text, self._reader.answer_ids(messages, text)))
        return score(self._core, self._loop, prompt, pictures, answers, abandoned)

    def clear_caches(self) -> None:
        """Forget images and prefixes. A new request does so by itself where weights were replaced, or changed in place
        by PyTorch's operations; what writes into their memory otherwise (`weight.data.add_`, numpy) is not seen.
        """
        self._loop.run(self._core.clear)

    def ping(self, timeout: float) -> None:
        """Wait until the engine's thread comes round to what is asked.

        Raises:
            TimeoutError: it has not after `timeout` seconds.
            RuntimeError: the engine is closed.
        """
        self._loop.run(lambda: None, timeout)

    @property
    def load(self) -> tuple[int, int]:
        """How many requests are in the batch, and how many wait for a place in it."""
        return len(self._core.scheduler.running), len(self._core.scheduler.waiting)

    @property
    def max_batch_size(self) -> int:
        """How many answers are worked on at once."""
        return self._core.scheduler.max_batch_size

    @property
    def is_broken(self) -> bool:
        """Whether step after step fails: only a new engine helps."""
        return self._loop.is_broken

    @property
    def end_tokens(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return self._core.end_tokens

    @property
    def stats(self) -> dict[str, int]:
        """Work counted since the start: steps, tokens computed, images encoded, and how the caches fared."""
        return self._core.counters()

    def close(self) -> None:
        """Cancel what is under way and end the thread. It can be called twice."""
        self._finalizer()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _depends_on_length(model: Any) -> bool:
    return model.model.rotary_emb.rope_type == "longrope"


def _end_tokens(model: Any) -> list[int]:
    ends = model.generation_config.eos_token_id
    ends = model.config.eos_token_id if ends is None else ends
    return [] if ends is None else [int(end) for end in torch.as_tensor(ends).reshape(-1)]
