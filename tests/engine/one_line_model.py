"""A model of one line and the loop around it, which checks every step of the scheduler and every row of the cache."""

from collections import Counter

from sightline.engine.blocks import BlockPool
from sightline.engine.request import Prompt, SamplingParams, Sequence, Status
from sightline.engine.scheduler import Scheduler

from .cached_prompts import chains


def following(chain):
    """The fake model's greedy token."""
    return chain % 3


def alone(prompt, count):
    """The answer to a prompt that nothing else runs beside."""
    ids = list(prompt.ids)
    for _ in range(count):
        ids.append(following(chains(prompt, ids)[-1]))
    return ids[len(prompt.ids) :]


class Loop:
    """Pool, scheduler and a runner that keeps `chains` for K/V rows and checks each row that it reads or writes."""

    def __init__(self, num_blocks=64, size=4, batch=8, tokens=64, caching=True):
        self.pool = BlockPool(num_blocks, size)
        self.scheduler = Scheduler(self.pool, batch, tokens, prefix_caching=caching)
        self.rows = [[None] * size for _ in range(num_blocks)]
        self.computed = 0  # tokens that went through the model
        self.copied = 0
        self.preempted = []

    def ask(self, prompt, count=4):
        seq = Sequence(prompt if isinstance(prompt, Prompt) else Prompt(tuple(prompt)), SamplingParams(count))
        self.scheduler.add(seq)
        return seq

    def schedule(self):
        oldest = self.scheduler.running[:1]
        had_work = self.scheduler.has_work
        step = self.scheduler.schedule()
        self.check(step)
        assert not set(oldest) & set(step.preempted)
        assert bool(step.works) == had_work
        self.preempted += step.preempted
        return step

    def check(self, step):
        scheduler, pool = self.scheduler, self.pool
        assert sum(work.count for work in step.works) <= scheduler.max_batch_tokens
        assert len(scheduler.running) <= scheduler.max_batch_size
        assert sorted(work.seq.arrival for work in step.works) == [seq.arrival for seq in scheduler.running]
        for seq in (*scheduler.waiting, *scheduler.running):
            assert (seq.status is Status.RUNNING) == (seq in scheduler.running)
            assert seq in scheduler.running or not (seq.blocks or seq.computed)
        users = Counter(block for seq in scheduler.running for block in seq.blocks)
        assert all(pool.uses(block) == users[block] for block in range(pool.num_blocks))
        assert pool.in_use == len(users)
        assert pool.free + pool.cached + pool.in_use == pool.num_blocks

    def run(self, step):
        """Every work's new tokens: drafts are taken as long as they are what the model says."""
        targets = {copy.target for copy in step.copies}
        assert not targets & {copy.source for copy in step.copies}, "the copies' order does not matter"
        for copy in step.copies:
            self.rows[copy.target][: copy.count] = self.rows[copy.source][: copy.count]
            self.copied += copy.count
        return [self.forward(work) for work in step.works]

    def forward(self, work):
        seq, size = work.seq, self.pool.block_size
        ids = seq.ids + seq.draft
        said = chains(seq.prompt, ids)
        assert work.start == seq.computed
        assert 0 < work.count <= len(ids) - work.start
        for at in range(work.start):
            assert self.rows[seq.blocks[at // size]][at % size] == said[at]
        for at in range(work.start, work.end):
            assert self.pool.uses(seq.blocks[at // size]) <= 1, "what is shared is never written"
            self.rows[seq.blocks[at // size]][at % size] = said[at]
        self.computed += work.count
        if work.end < len(seq.ids):
            return []
        assert work.end == len(ids), "of a draft that was cut, nothing is left"
        new = [following(said[len(seq.ids) - 1])]
        for guess, chain in zip(seq.draft, said[len(seq.ids) :], strict=True):
            if guess != new[-1]:
                break
            new.append(following(chain))
        return new

    def advance(self, step, news):
        for work, new in zip(step.works, news, strict=True):
            seq = work.seq
            room = seq.params.max_new_tokens - len(seq.generated)
            self.scheduler.advance(work, new[:room])
            if seq.status is Status.RUNNING and len(seq.generated) == seq.params.max_new_tokens:
                self.scheduler.finish(seq)

    def step(self):
        step = self.schedule()
        self.advance(step, self.run(step))
        return step

    def until_idle(self, limit=2000):
        steps = 0
        while self.scheduler.has_work:
            self.step()
            steps += 1
            assert steps < limit, "somebody starves"
        assert self.pool.in_use == 0
        return steps


def counts(step):
    return {work.seq: work.count for work in step.works}
