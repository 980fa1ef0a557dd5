"""The engine's heart: one step after the other over everything that is asked.

It joins the scheduler (which tokens are computed next), the runner (what they give) and the choosers (what follows
them). It runs in one thread, waits for nobody and knows tokens, not text; `engine.py` puts a thread and words around.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch
from torch import Tensor

from sightline.engine.drafting import PromptLookup
from sightline.engine.image_cache import ImageCache
from sightline.engine.job import Job, OnToken
from sightline.engine.prompts import PreparedImage
from sightline.engine.request import Prompt, SamplingParams, Status, TokenLogprob
from sightline.engine.request import Sequence as Answer
from sightline.engine.runner import Logits, Runner
from sightline.engine.sampling import NAN, NOTHING, Chooser, LogitsRule, choose, logprobs_of, why_nothing
from sightline.engine.scheduler import Scheduler
from sightline.engine.step import Work

__all__ = ["EngineCore", "Stats"]

IMAGES_AT_ONCE = 16  # that go through the tower together: a crowd's pictures must not need a crowd's memory


@dataclass
class Stats:
    """Work done since the start: what tests count instead of seconds."""

    steps: int = 0
    tokens_computed: int = 0
    images_encoded: int = 0
    preemptions: int = 0
    drafted: int = 0
    accepted: int = 0


class EngineCore:
    """Takes jobs, and one step at a time over all of them.

    Args:
        end_tokens: ids that end an answer, and are its last token.
        image_token_id: the placeholder, which is never generated.
        max_length: the model's positions; no text grows longer.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        runner: Runner,
        images: ImageCache,
        *,
        end_tokens: Iterable[int],
        image_token_id: int,
        max_length: int,
    ):
        self.scheduler, self.runner, self.images = scheduler, runner, images
        self.end_tokens = tuple(end_tokens)
        self.image_token_id, self.max_length = image_token_id, max_length
        self.stats = Stats()
        self._jobs: dict[int, Job] = {}  # by the sequence's arrival
        self._half_read: dict[bytes, Tensor] = {}  # of pictures whose next part the next step reads

    def bounded(self, prompt: Prompt, params: SamplingParams) -> SamplingParams:
        """Of an answer that may take all positions that the model has, the tokens that the cache has room for."""
        length = len(prompt.ids)
        if length + params.max_new_tokens < self.max_length:
            return params
        room = self.scheduler.pool.num_blocks * self.scheduler.pool.block_size - length
        return params.replace(max_new_tokens=min(params.max_new_tokens, max(1, room)))

    def check(self, prompt: Prompt, params: SamplingParams) -> None:
        """Whether a request can ever be answered.

        Raises:
            ValueError: the prompt is empty or leaves no position for an answer, or it does not fit into the cache's
                budget, or a token of it or a biased one does not exist.
        """
        length, vocabulary = len(prompt.ids), self.runner.model.config.vocab_size
        if not length:
            raise ValueError("the prompt is empty: give it at least one token")
        # An embedding looked up out of range would fail the step of all.
        if wrong := [token for token in (min(prompt.ids), max(prompt.ids)) if not 0 <= token < vocabulary]:
            raise ValueError(f"the prompt has the token {wrong[0]}, but there are 0 to {vocabulary - 1}")
        if length >= self.max_length:
            raise ValueError(
                f"the prompt has {length} tokens, but the model's max_position_embeddings is {self.max_length}: "
                f"shorten it{' or send fewer images' if prompt.images else ''}"
            )
        longest = min(length + params.max_new_tokens, self.max_length)
        if not self.scheduler.fits(longest):
            raise ValueError(
                f"the prompt's {length} tokens and {longest - length} new ones do not fit into the KV cache: "
                "shorten them or raise kv_cache_bytes (--kv-cache-mib)"
            )
        if wrong := [token for token in params.logit_bias if not 0 <= token < vocabulary]:
            raise ValueError(f"logit_bias names token {wrong[0]}, but there are 0 to {vocabulary - 1}")

    def add(
        self,
        prompt: Prompt,
        pictures: Mapping[bytes, PreparedImage],
        params: SamplingParams,
        on_token: OnToken,
        on_end: Callable[[Job], None],
        rules: Iterable[LogitsRule] = (),
    ) -> Job:
        """Take a request. Raises ValueError as `check`."""
        self.check(prompt, params)
        chooser = Chooser(params, len(prompt.ids), rules, self.image_token_id)
        job = Job(Answer(prompt, params), chooser, pictures, on_token, on_end)
        if params.prompt_lookup:
            job.lookup = PromptLookup(prompt.ids, never=(self.image_token_id,))
        return self._admit(job)

    def add_graded(
        self,
        prompt: Prompt,
        pictures: Mapping[bytes, PreparedImage],
        targets: Sequence[int],
        on_end: Callable[[Job], None],
    ) -> Job:
        """Take a request to grade a given answer: the log probability of each of its tokens after those before it.

        Raises:
            ValueError: prompt and answer are longer than the model allows, or do not fit into the cache's budget.
        """
        params = SamplingParams(max_new_tokens=len(targets))
        self.check(prompt, params)
        if len(prompt.ids) + len(targets) > self.max_length:
            raise ValueError(
                f"the prompt's {len(prompt.ids)} tokens and the answer's {len(targets)} are more than the model's "
                f"max_position_embeddings {self.max_length}: shorten them"
            )
        read = Prompt(prompt.ids + tuple(targets[:-1]), prompt.images, prompt.salt)  # nothing follows the last one
        sequence = Answer(read, params, logits_from=len(prompt.ids) - 1)
        chooser = Chooser(params, len(prompt.ids))
        return self._admit(Job(sequence, chooser, pictures, _never, on_end, targets=tuple(targets)))

    def _admit(self, job: Job) -> Job:
        if self.runner.refresh():
            self.clear()  # what was computed with other weights
        self._jobs[job.sequence.arrival] = job
        self.scheduler.add(job.sequence)
        return job

    def cancel(self, job: Job) -> None:
        """End a job now, wherever it stands; its blocks are free at once. One that is over stays as it ended."""
        if job.finish_reason is None:
            self._take_out(job, "cancelled", doubted=job.first_token is None)  # nobody has seen a logit of its prompt

    @property
    def jobs(self) -> list[Job]:
        """Those that are not over, oldest first."""
        return list(self._jobs.values())

    @property
    def has_work(self) -> bool:
        return self.scheduler.has_work

    @torch.inference_mode()
    def step(self) -> None:
        """Compute the next tokens of as many jobs as the scheduler picks."""
        for job in self._jobs.values():
            self._draft(job)
        step = self.scheduler.schedule()
        self.stats.preemptions += len(step.preempted)
        for sequence in step.preempted:
            self._jobs[sequence.arrival].graded.clear()  # its rows come again
        if not step.works:
            return
        now = time.perf_counter()
        for work in step.works:
            job = self._jobs[work.seq.arrival]
            job.admitted = job.admitted or now
        self.runner.cache.copy(step.copies)
        features = self._features(step.works)
        logits = self.runner.forward(step.works, features)
        self.stats.steps += 1
        self.stats.tokens_computed += sum(work.count for work in step.works)
        self._take(step.works, logits)

    def _draft(self, job: Job) -> None:
        sequence = job.sequence
        if job.lookup is None or not sequence.is_decoding:
            return
        room = min(self.max_length - len(sequence.ids), self._left(sequence)) - 1
        sequence.draft = job.lookup.draft(min(sequence.params.prompt_lookup, room)) if room > 0 else []

    def _features(self, works: Sequence[Work]) -> dict[bytes, Tensor]:
        """The features of every image that some work reads a part of; those not in the cache are computed together."""
        found: dict[bytes, Tensor] = {}
        missing: dict[bytes, PreparedImage] = {}
        unfinished: set[bytes] = set()
        for work in works:
            pictures = self._jobs[work.seq.arrival].pictures
            for run in work.seq.prompt.images:
                if run.start >= work.end or run.end <= work.start:
                    continue
                if run.end > work.end:
                    unfinished.add(run.key)
                if run.key in found or run.key in missing:
                    continue
                known = self._half_read.get(run.key)
                known = self.images.get(run.key) if known is None else known
                if known is None:
                    missing[run.key] = pictures[run.key]
                else:
                    found[run.key] = known
        if missing:
            for first in range(0, len(missing), IMAGES_AT_ONCE):
                keys = [*missing][first : first + IMAGES_AT_ONCE]
                pixels = torch.stack([missing[key].pixel_values() for key in keys])
                for key, features in zip(keys, self.runner.image_features(pixels), strict=True):
                    found[key] = self.images.put(key, features)
            self.stats.images_encoded += len(missing)
        # A cache that is too small for it must not make a picture be encoded again for each chunk of its prompt.
        self._half_read = {key: found[key] for key in unfinished}
        return found

    def _take(self, works: Sequence[Work], found: Logits) -> None:
        """Choose what follows, and hand it on."""
        logits, asked = found.rows, []
        logits[:, self.image_token_id] = float("-inf")
        for number, work in enumerate(works):
            job = self._jobs[work.seq.arrival]
            if job.targets:
                self._grade(job, work, found.of(number))
            else:
                asked.append((job, work, range(found.offsets[number], found.offsets[number + 1])))
        tokens, errors = self._choose(asked, logits)
        taken = []
        for job, work, its_rows in asked:
            accepted = self._accepted(work, [tokens[row] for row in its_rows])
            if NOTHING in accepted:  # behind a draft that was wrong, it would be nobody's
                self._fail(job, errors[its_rows[accepted.index(NOTHING)]])
            else:
                taken.append((job, work, its_rows, accepted))
        _report(taken, logits)
        for job, work, _, accepted in taken:
            self.scheduler.advance(work, accepted)
            self._hand_on(job, accepted)

    def _choose(
        self, asked: Sequence[tuple[Job, Work, range]], logits: Tensor
    ) -> tuple[dict[int, int], dict[int, Exception]]:
        """The token chosen at each row of `logits` that is asked for; where it is `NOTHING`, why."""
        places = [(row, job, row - rows.start) for job, _, rows in asked for row in rows]
        scores: dict[int, Tensor] = {}
        errors: dict[int, Exception] = {}
        for row, job, drafts in places:
            if not job.chooser.is_plain:
                try:
                    scores[row] = job.chooser.scores(job.sequence.ids + job.sequence.draft[:drafts], logits[row])
                except Exception as error:  # a rule of the request's own: the others have nothing to do with it
                    errors[row] = error
        found = dict.fromkeys(errors, NOTHING)
        wanted = [(row, job.chooser) for row, job, _ in places if row not in errors]
        if wanted:
            rows, choosers = zip(*wanted, strict=True)
            ruled = {n: scores[row] for n, row in enumerate(rows) if row in scores}
            found |= zip(rows, choose(logits[list(rows)], choosers, ruled), strict=True)
        for row, token in found.items():
            if token == NOTHING and row not in errors:
                errors[row] = why_nothing(logits[row])
        return found, errors

    def _grade(self, job: Job, work: Work, logits: Tensor) -> None:
        """Take the log probabilities of the given answer's tokens that `work` has come to."""
        done = len(job.graded)
        targets = torch.tensor(job.targets[done : done + len(logits)], device=logits.device)
        logprobs = logits.float().log_softmax(dim=-1)
        found = logprobs.gather(1, targets[:, None])[:, 0]
        if done + len(found) == len(job.targets) and job.targets[-1] in self.end_tokens:
            found[-1] = logprobs[-1, list(self.end_tokens)].logsumexp(dim=0)  # any of them would end it
        if found.isnan().any():
            self._fail(job, FloatingPointError(NAN))
            return
        job.graded += found.tolist()
        self.scheduler.advance(work, [])
        if len(job.graded) == len(job.targets):
            self._finish(job, "stop")

    def _accepted(self, work: Work, chosen: list[int]) -> list[int]:
        """The tokens that the answer goes on with: drafts as far as they were right, and the one that corrects them."""
        sequence = work.seq
        drafts = sequence.draft[: max(0, len(chosen) - 1)]
        right = next((n for n, draft in enumerate(drafts) if draft != chosen[n]), len(drafts))
        self.stats.drafted += len(drafts)
        self.stats.accepted += right
        tokens = chosen[: right + 1][: self._left(sequence)]
        ends = (n for n, token in enumerate(tokens) if token in self.end_tokens)
        return tokens[: next(ends, len(tokens)) + 1]

    def _left(self, sequence: Answer) -> int:
        """How many tokens the answer may still have."""
        limit = min(sequence.params.max_new_tokens, self.max_length - len(sequence.prompt.ids))
        return limit - len(sequence.generated)

    def _hand_on(self, job: Job, tokens: Sequence[int]) -> None:
        if not tokens:
            return
        if job.first_token is None:
            job.first_token = time.perf_counter()
        known = job.logprobs[-len(tokens) :] if job.logprobs else [None] * len(tokens)
        for place, (token, logprob) in enumerate(zip(tokens, known, strict=True)):
            if job.lookup is not None:
                job.lookup.append(token)
            try:
                complete = job.on_token(token, logprob)
            except Exception as error:
                self._fail(job, error)
                return
            if complete or token in self.end_tokens:
                # What was computed behind a stop text is no part of the answer.
                del job.sequence.ids[len(job.sequence.ids) - len(tokens) + place + 1 :]
                del job.logprobs[len(job.sequence.generated) :]
                self._finish(job, "stop")
                return
        if self._left(job.sequence) <= 0:
            self._finish(job, "length")

    def _finish(self, job: Job, reason: str) -> None:
        job.sequence.computed = min(job.sequence.computed, len(job.sequence.ids))
        self.scheduler.finish(job.sequence)
        self._end(job, reason)

    def _fail(self, job: Job, error: Exception) -> None:
        job.error = error
        self._take_out(job, "failed", doubted=isinstance(error, FloatingPointError))

    def _take_out(self, job: Job, reason: str, doubted: bool) -> None:
        """End a job before its time. In its blocks, where they are `doubted`, nan may stand."""
        if doubted and not self.runner.cache.is_finite(job.sequence.blocks):
            # Nobody may read on there: a mask hides nan, but nan times 0 is nan.
            self.runner.cache.zero([block for block in job.sequence.blocks if self.scheduler.pool.uses(block) == 1])
            self.scheduler.pool.clear()
        self.scheduler.cancel(job.sequence)
        self._end(job, reason)

    def clear(self) -> None:
        """Forget images and prefixes; what is under way keeps what it has."""
        self.images.clear()
        self._half_read = {}
        self.scheduler.pool.clear()

    def fail_all(self, error: Exception) -> None:
        """End every job with `error`, and forget all that is cached."""
        for job in self.jobs:
            self._fail(job, error)
        self.clear()

    def abandon(self, error: Exception) -> None:
        """Tell every job that it failed with `error`, and touch nothing else: no step follows."""
        jobs, self._jobs = self.jobs, {}
        for job in jobs:
            job.error, job.finish_reason, job.ended, job.pictures = error, "failed", time.perf_counter(), {}
            job.tell_end()

    def counters(self) -> dict[str, int]:
        """The work done, and how the caches fared."""
        return asdict(self.stats) | {
            "prefix_hit_tokens": self.scheduler.pool.hit_tokens,
            "prefix_missed_tokens": self.scheduler.pool.missed_tokens,
            "prefix_evictions": self.scheduler.pool.evictions,
            "image_hits": self.images.hits,
            "image_misses": self.images.misses,
        }

    def _end(self, job: Job, reason: str) -> None:
        job.finish_reason, job.ended = reason, time.perf_counter()
        del self._jobs[job.sequence.arrival]
        job.sequence.status = Status.FINISHED
        job.pictures = {}  # whoever keeps the job need not keep their pixels
        job.tell_end()


def _report(taken: Sequence[tuple[Job, Work, range, list[int]]], logits: Tensor) -> None:
    """Note the log probabilities of accepted tokens, where they are asked for."""
    wanted = [
        (job, row, token, top)
        for job, _, rows, accepted in taken
        if (top := job.sequence.params.logprobs) is not None
        for row, token in zip(rows, accepted, strict=False)
    ]
    if wanted:
        jobs, rows, tokens, tops = zip(*wanted, strict=True)
        for job, found in zip(jobs, logprobs_of(logits[list(rows)], tokens, tops), strict=True):
            job.logprobs.append(found)


def _never(_: int, __: TokenLogprob | None) -> bool:
    return False
