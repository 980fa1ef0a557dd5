"""The scheduler under chance: whatever joins, leaves or is preempted, everybody gets the answer it would have alone."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from sightline.engine.request import ImageRun, Prompt, Status
from sightline.engine.sharing import fair_shares

from .cached_prompts import CAT, DOG
from .one_line_model import Loop, alone

needs_and_budget = st.tuples(st.lists(st.integers(0, 50), max_size=8), st.integers(0, 120))


@given(needs_and_budget)
def test_shares_are_max_min_fair(case):
    needs, budget = case
    shares = fair_shares(needs, budget)
    assert sum(shares) == min(sum(needs), budget)
    for share, need in zip(shares, needs, strict=True):
        assert 0 <= share <= need
        # Who lacks something got no less than anyone else, but for the one token that cannot be divided.
        assert share == need or all(other <= share + 1 for other in shares)
    lacking = [share for share, need in zip(shares, needs, strict=True) if share < need]
    assert lacking == sorted(lacking, reverse=True)


@st.composite
def prompts(draw):
    """Short, of few tokens, images and salts: much is shared, and much is nearly shared."""
    ids, images = [], []
    for part in draw(st.lists(st.sampled_from(["text", "text", DOG, CAT]), min_size=1, max_size=3)):
        length = draw(st.integers(1, 5))
        if part != "text":
            images.append(ImageRun(len(ids), length, part))
        ids += [1] * length if part != "text" else draw(st.lists(st.integers(0, 1), min_size=length, max_size=length))
    return Prompt(tuple(ids), tuple(images), draw(st.sampled_from([b"", b"", b"salt"])))


def draft(seq, length, good):
    """`length` guesses, of which the first `good` are right."""
    left = max(seq.params.max_new_tokens - len(seq.generated) - 1, 0)
    answer = alone(seq.prompt, seq.params.max_new_tokens)[len(seq.generated) :]
    guesses = [token if at < good else (token + 1) % 3 for at, token in enumerate(answer)]
    return guesses[: min(length, left)]


class SchedulerMachine(RuleBasedStateMachine):
    """Requests come, go and are preempted over a pool that hardly holds one of them."""

    @initialize(
        size=st.integers(1, 4),
        spare=st.integers(0, 12),
        batch=st.integers(1, 4),
        extra=st.integers(0, 12),
        caching=st.sampled_from([True, True, True, False]),
    )
    def start(self, size, spare, batch, extra, caching):
        num_blocks = -(-15 // size) + spare
        self.loop = Loop(num_blocks, size, batch, batch + extra, caching)
        self.asked = []

    @rule(prompt=prompts(), count=st.integers(1, 8))
    def ask(self, prompt, count):
        if self.loop.scheduler.fits(len(prompt.ids) + count):
            self.asked.append(self.loop.ask(prompt, count))

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0))
    def ask_the_same_or_go_on(self, pick):
        seq = self.asked[pick % len(self.asked)]
        ids = (*seq.ids, 1) if seq.status is Status.FINISHED else seq.prompt.ids
        self.ask(Prompt(tuple(ids), seq.prompt.images, seq.prompt.salt), 3)

    @precondition(lambda self: self.asked)
    @rule(pick=st.integers(0))
    def cancel(self, pick):
        self.loop.scheduler.cancel(self.asked[pick % len(self.asked)])

    @precondition(lambda self: self.loop.scheduler.has_work)
    @rule(length=st.integers(0, 5), good=st.integers(0, 5), cancelled=st.none() | st.integers(0))
    def step(self, length, good, cancelled):
        for seq in self.loop.scheduler.running:
            seq.draft = draft(seq, length, good)
        step = self.loop.schedule()
        news = self.loop.run(step)
        if cancelled is not None:
            self.cancel(cancelled)
        self.loop.advance(step, news)

    @rule(count=st.integers(2, 6))
    def steps(self, count):
        for _ in range(count):
            if self.loop.scheduler.has_work:
                self.loop.step()

    @precondition(lambda self: self.loop.scheduler.has_work)
    @rule()
    def a_pass_fails(self):
        """Nothing of it is written, and the engine drops all that ran."""
        self.loop.schedule()
        for seq in list(self.loop.scheduler.running):
            self.loop.scheduler.cancel(seq)

    @rule()
    def forget(self):
        self.loop.pool.clear()

    def teardown(self):
        if not hasattr(self, "loop"):
            return
        self.loop.until_idle()
        for seq in self.asked:
            answer = alone(seq.prompt, seq.params.max_new_tokens)
            assert seq.status is Status.FINISHED
            assert seq.generated == answer[: len(seq.generated)]
            assert seq.cached < len(seq.prompt.ids)


SchedulerMachine.TestCase.settings = settings(deadline=None, max_examples=40, stateful_step_count=30)
TestSchedulerUnderChance = SchedulerMachine.TestCase


@settings(deadline=None, max_examples=60)
@given(
    asked=st.lists(st.tuples(prompts(), st.integers(1, 8), st.integers(0, 6)), min_size=1, max_size=8),
    pool=st.tuples(st.integers(0, 8), st.integers(1, 4)),
    batch=st.integers(1, 5),
    extra=st.integers(0, 10),
    caching=st.booleans(),
)
def test_everybody_gets_the_answer_it_would_have_alone(asked, pool, batch, extra, caching):
    spare, size = pool
    loop = Loop(-(-23 // size) + spare, size, batch, batch + extra, caching)
    arrivals = sorted(asked, key=lambda request: request[2])
    seqs, now = [], 0
    while arrivals or loop.scheduler.has_work:
        while arrivals and arrivals[0][2] <= now:
            prompt, count, _ = arrivals.pop(0)
            seqs.append(loop.ask(prompt, count))
        if loop.scheduler.has_work:
            loop.step()
        now += 1
        assert now < 1000, "somebody starves"
    assert [seq.generated for seq in seqs] == [alone(seq.prompt, seq.params.max_new_tokens) for seq in seqs]
    assert loop.pool.in_use == 0
