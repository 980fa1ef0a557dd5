"""The block pool under chance: what is cached is found, and no block is lost, shared wrongly or given away in use."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sightline.engine.blocks import BlockPool
from sightline.engine.request import ImageRun, Prompt, Sequence

from .cached_prompts import CAT, DOG, cache, chains, found, text


@st.composite
def prompts(draw, longest=12):
    """Of two tokens, two images and two salts, so that much is shared by chance."""
    ids, images = [], []
    for part in draw(st.lists(st.sampled_from(["text", "text", DOG, CAT]), min_size=1, max_size=4)):
        length = draw(st.integers(1, longest // 4))
        if part == "text":
            ids += draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
        else:
            images.append(ImageRun(len(ids), length, part))
            ids += [1] * length
    return Prompt(tuple(ids), tuple(images), draw(st.sampled_from([b"", b"", b"", b"salt"])))


@settings(deadline=None, max_examples=100)
@given(cached=st.lists(prompts(longest=24), max_size=8), asked=prompts(longest=24), size=st.integers(1, 5))
def test_match_is_the_longest_beginning_of_all_that_is_cached(cached, asked, size):
    pool = BlockPool(200, size)
    for prompt in cached:
        cache(pool, prompt)
    wanted, longest = chains(asked, asked.ids), 0
    for prompt in cached:
        known = chains(prompt, prompt.ids)
        while longest < min(len(known), len(wanted) - 1) and known[longest] == wanted[longest]:
            longest += 1
    assert found(pool, asked) == longest
    assert pool.in_use == 0


class PoolMachine(RuleBasedStateMachine):
    """Sequences that come, grow and go over a tiny pool. `rows` is what the K/V cache would hold."""

    @initialize(num_blocks=st.integers(1, 8), size=st.integers(1, 3))
    def start(self, num_blocks, size):
        self.pool, self.size = BlockPool(num_blocks, size), size
        self.rows = [[None] * size for _ in range(num_blocks)]
        self.alive, self.asked = [], []

    def write(self, seq, start):
        for at, chain in enumerate(chains(seq.prompt, seq.ids)):
            if at >= start:
                assert self.pool.uses(seq.blocks[at // self.size]) == 1
                self.rows[seq.blocks[at // self.size]][at % self.size] = chain
        seq.computed = len(seq.ids)

    def rows_of(self, blocks):
        return [chain for block in blocks for chain in self.rows[block]]

    def take(self, count):
        free = self.pool.available
        used = [block for seq in self.alive for block in seq.blocks]
        blocks = self.pool.allocate(count)
        assert (blocks is None) == (count > free)
        assert not set(blocks or []) & set(used)
        assert len(set(blocks or [])) == len(blocks or [])
        return blocks

    @rule(prompt=prompts())
    def begin(self, prompt):
        self.asked.append(prompt)
        match = self.pool.match(prompt)
        assert self.rows_of(match.blocks) == chains(prompt, prompt.ids)[: len(match.blocks) * self.size]
        assert match.tokens < len(prompt.ids)
        blocks = self.take(self.pool.blocks_for(len(prompt.ids)) - len(match.blocks))
        if blocks is None:
            self.pool.undo(match)
            return
        if match.tail:
            source, count = match.tail
            assert source not in blocks
            self.rows[blocks[0]][:count] = self.rows[source][:count]
            self.pool.release([source])
        seq = Sequence(prompt, blocks=match.blocks + blocks)
        assert self.rows_of(seq.blocks)[: match.tokens] == chains(prompt, prompt.ids)[: match.tokens]
        self.write(seq, match.tokens)
        self.alive.append(seq)

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0))
    def begin_again(self, pick):
        self.begin(self.asked[pick % len(self.asked)])

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0), token=st.integers(0, 1), seal=st.booleans())
    def grow(self, pick, token, seal):
        seq = self.alive[pick % len(self.alive)]
        if len(seq.blocks) * self.size == len(seq.ids):
            seq.blocks += self.take(1) or []
        if len(seq.blocks) * self.size > len(seq.ids):
            seq.ids.append(token)
            self.write(seq, len(seq.ids) - 1)
        if seal:
            self.pool.seal(seq)

    @precondition(lambda self: self.alive)
    @rule(pick=st.integers(0), cached=st.booleans())
    def end(self, pick, cached):
        seq = self.alive.pop(pick % len(self.alive))
        if cached:
            self.pool.finish(seq)
        else:
            self.pool.release(seq.blocks)

    @rule()
    def clear(self):
        self.pool.clear()

    @invariant()
    def every_block_is_free_or_cached_or_used(self):
        if not hasattr(self, "pool"):
            return
        users = Counter(block for seq in self.alive for block in seq.blocks)
        assert [self.pool.uses(block) for block in range(self.pool.num_blocks)] == [
            users[block] for block in range(self.pool.num_blocks)
        ]
        assert self.pool.in_use == len(users)
        assert self.pool.free + self.pool.cached + self.pool.in_use == self.pool.num_blocks

    def teardown(self):
        if not hasattr(self, "pool"):
            return
        for seq in self.alive:
            self.pool.finish(seq)
        assert sorted(self.pool.allocate(self.pool.num_blocks)) == list(range(self.pool.num_blocks))
        assert found(self.pool, text(0, 0)) == 0


PoolMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=30)
TestPoolUnderChance = PoolMachine.TestCase
