"""Who computes what in the next step: admission, shares of the token budget, preemption and cancellation.

One step is `schedule`, the model's pass over the `Step` it returns, and `advance` for each of its works. The scheduler
counts tokens and moves block numbers. It does not know what a token means, nor text, tensors or time.
"""

from __future__ import annotations

import dataclasses
from bisect import insort

from sightline.engine.blocks import BlockPool, Match
from sightline.engine.prefix_tree import begin_alike
from sightline.engine.request import Sequence, Status
from sightline.engine.sharing import fair_shares
from sightline.engine.step import Copy, Step, Work

__all__ = ["Scheduler"]


class Scheduler:
    """Continuous batching over `pool` (Yu et al., 2022, Orca), with chunked prefill and prefix sharing.

    Sequences that decode take one token each. What is left of the budget is shared max-min fairly among prefills and
    drafts. When blocks run out, the youngest sequence goes back to waiting; the oldest never does, so all get done.

    Args:
        pool: the blocks; a sequence's blocks are there for all of its `ids` from its admission on.
        max_batch_size: the most sequences that run at once.
        max_batch_tokens: the most tokens to compute in one step.
        prefix_caching: whether contents are kept and looked for. Without it nothing is shared or copied.

    Attributes:
        waiting, running: the sequences in these states, oldest first. To be read only.

    Raises:
        ValueError: no place for a sequence, or fewer tokens than sequences in a batch.
    """

    def __init__(
        self, pool: BlockPool, max_batch_size: int, max_batch_tokens: int, prefix_caching: bool = True
    ) -> None:
        if not 1 <= max_batch_size <= max_batch_tokens:
            raise ValueError(
                f"each sequence of a batch takes a token a step: set max_batch_size ({max_batch_size}) to 1 at least, "
                f"and max_batch_tokens ({max_batch_tokens}) to no less than that"
            )
        self.pool = pool
        self.max_batch_size, self.max_batch_tokens = max_batch_size, max_batch_tokens
        self.prefix_caching = prefix_caching
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._preempted: set[Sequence] = set()  # of those waiting
        self._pins: list[int] = []

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def fits(self, length: int) -> bool:
        """Whether a sequence of `length` tokens, prompt and answer, can be computed when it has the pool to itself."""
        return self.pool.blocks_for(length) <= self.pool.num_blocks

    def add(self, seq: Sequence) -> None:
        """Let `seq` wait its turn.

        Raises:
            ValueError: it has no tokens, or more than all blocks hold.
        """
        assert seq.status is Status.WAITING, "a sequence is added once, and runs once"
        if not seq.ids:
            raise ValueError("the prompt holds no tokens: give at least one")
        if not self.fits(len(seq.ids)):
            room = self.pool.num_blocks * self.pool.block_size
            raise ValueError(f"the prompt is {len(seq.ids)} tokens long, and the K/V cache holds {room}: enlarge it")
        insort(self.waiting, seq, key=_age)

    def cancel(self, seq: Sequence) -> None:
        """Take `seq` out at once, whatever its state; of a step already scheduled, its part is ignored."""
        if seq in self.waiting:
            self.waiting.remove(seq)
            self._preempted.discard(seq)
        elif seq in self.running:
            self._leave(seq)
        seq.status, seq.draft = Status.FINISHED, []

    def finish(self, seq: Sequence) -> None:
        """`seq` has its answer: its place is free, its blocks are cached. Nothing happens if it was cancelled."""
        assert seq.status is not Status.WAITING, "only what runs can finish"
        self.cancel(seq)

    def schedule(self) -> Step:
        """The next step's work. Whenever something waits or runs, and has tokens to compute, some of it is in the step.

        Drafts are cut, in place, to what budget and blocks allow.
        """
        preempted = self._make_room()
        # Who has just had to make room is not to take it again.
        copies = [] if preempted else self._admit()
        works = self._share_tokens()
        # The sources may be given away from the next `schedule` on, and by then they are copied.
        self.pool.release(self._pins)
        self._pins = []
        return Step(works, copies, preempted)

    def advance(self, work: Work, new_tokens: list[int]) -> None:
        """Enter what a pass gave: the tokens of `work` are computed, and `new_tokens` follow them.

        Args:
            work: one of the step's works. If its sequence was cancelled since, nothing happens.
            new_tokens: none where the work ended before the last of `seq.ids`. Else the drafts that held, in order,
                and one more token: K/V of drafts beyond these count as never computed.
        """
        seq = work.seq
        if seq.status is not Status.RUNNING:
            return
        drafted = work.end - len(seq.ids)
        held = max(len(new_tokens) - 1, 0)
        assert drafted >= 0 or not new_tokens, "only after its last token does a sequence go on"
        assert new_tokens[:held] == seq.draft[: max(drafted, 0)][:held], "new tokens begin with the drafts that held"
        seq.computed = len(seq.ids) + min(drafted, held)
        seq.ids += new_tokens
        seq.draft = []
        if self.prefix_caching:
            self.pool.seal(seq)
        self._trim(seq)

    def _make_room(self) -> list[Sequence]:
        """Blocks for the next token of all that run, oldest first; the youngest pay for it. Returns the preempted."""
        preempted = []
        for seq in list(self.running):
            while seq.status is Status.RUNNING and not self._extend(seq, len(seq.ids)):
                assert len(self.running) > 1, f"a sequence of {len(seq.ids)} tokens has outgrown the pool: ask `fits`"
                preempted.append(self._preempt(self.running[-1]))
        return preempted

    def _extend(self, seq: Sequence, length: int) -> bool:
        """Blocks for `length` tokens of `seq`; False if there are none left."""
        blocks = self.pool.allocate(max(self.pool.blocks_for(length) - len(seq.blocks), 0))
        seq.blocks += blocks or []
        return blocks is not None

    def _preempt(self, seq: Sequence) -> Sequence:
        self._leave(seq)
        seq.status, seq.computed, seq.draft = Status.WAITING, 0, []
        insort(self.waiting, seq, key=_age)
        self._preempted.add(seq)
        return seq

    def _leave(self, seq: Sequence) -> None:
        self.running.remove(seq)
        if self.prefix_caching:
            self.pool.finish(seq)
        self.pool.release(seq.blocks)
        seq.blocks = []

    def _trim(self, seq: Sequence) -> None:
        """Give back the blocks that only rejected drafts needed."""
        keep = self.pool.blocks_for(len(seq.ids))
        self.pool.release(seq.blocks[keep:])
        del seq.blocks[keep:]

    def _admit(self) -> list[Copy]:
        """Let the waiting run, oldest first, until places or blocks are short: nobody overtakes for being small.

        What another sequence is about to compute is not computed twice: who comes to such a block is held until it
        is there, and its place and its blocks are kept for it.
        """
        copies: list[Copy] = []
        held = kept = 0
        while held < len(self.waiting) and held + len(self.running) < self.max_batch_size:
            seq = self.waiting[held]
            match = self._match(seq)
            if self._is_under_way(seq, match.tokens):
                held, kept = held + 1, kept + self._fresh(seq, match)
                self.pool.undo(match)
                continue
            # A block for each that runs, itself included: else it would soon be preempted again.
            reserve = kept + len(self.running) + 1 if self.running else 0
            if self._fresh(seq, match) + reserve > self.pool.available:
                match = self.pool.without_tail(match)  # alone in a small pool, the tail's may be the missing block
            if self._fresh(seq, match) + reserve > self.pool.available:
                self.pool.undo(match)
                break
            copies += self._start(self.waiting.pop(held), match)
        return copies

    def _match(self, seq: Sequence) -> Match:
        """What is cached of all of the sequence's ids: after a preemption its own answer, too."""
        if not self.prefix_caching:
            return Match([], 0)
        return self.pool.match(dataclasses.replace(seq.prompt, ids=tuple(seq.ids)), seq.reusable)

    def _fresh(self, seq: Sequence, match: Match) -> int:
        return self.pool.blocks_for(len(seq.ids)) - len(match.blocks)

    def _start(self, seq: Sequence, match: Match) -> list[Copy]:
        """Run `seq` from its match on. Returns the copy of the tail, if there is one."""
        seq.blocks, seq.computed, seq.status = match.blocks, match.tokens, Status.RUNNING
        has_blocks = self._extend(seq, len(seq.ids))
        assert has_blocks, "blocks were counted before the admission"
        if seq not in self._preempted:
            seq.cached = match.tokens
        self._preempted.discard(seq)
        insort(self.running, seq, key=_age)
        if match.tail is None:
            return []
        source, count = match.tail
        self._pins.append(source)
        return [Copy(source, seq.blocks[match.tokens // self.pool.block_size], count)]

    def _is_under_way(self, seq: Sequence, cached: int) -> bool:
        """Whether one that runs will compute the block that `seq`, of which `cached` tokens are known, needs next."""
        end = (cached // self.pool.block_size + 1) * self.pool.block_size
        if not self.prefix_caching or end > seq.reusable:
            return False
        return any(other.computed < end <= len(other.ids) and begin_alike(seq, other, end) for other in self.running)

    def _share_tokens(self) -> list[Work]:
        decoding = [seq for seq in self.running if seq.is_decoding]
        prefills = [seq for seq in self.running if not seq.is_decoding]
        # Prefills first: they take what cannot be divided, and as the budget has a token for each of a batch, none
        # of them ever waits for the drafts of others.
        needs = [seq.missing for seq in prefills] + [len(seq.draft) for seq in decoding]
        shares = fair_shares(needs, self.max_batch_tokens - len(decoding))
        drafts = [self._cut_draft(seq, share) for seq, share in zip(decoding, shares[len(prefills) :], strict=True)]
        works = [Work(seq, seq.computed, 1 + count) for seq, count in zip(decoding, drafts, strict=True)]
        for seq, share in zip(prefills, shares, strict=False):
            seq.draft = []
            works += [Work(seq, seq.computed, share)] if share else []
        return works

    def _cut_draft(self, seq: Sequence, share: int) -> int:
        """Cut the draft of `seq` to its share and to the blocks there are. Returns its length."""
        room = (len(seq.blocks) + self.pool.available) * self.pool.block_size - len(seq.ids)
        seq.draft = seq.draft[: min(share, room)]
        self._extend(seq, len(seq.ids) + len(seq.draft))
        return len(seq.draft)


def _age(seq: Sequence) -> int:
    return seq.arrival
