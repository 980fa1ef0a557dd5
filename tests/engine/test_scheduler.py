"""The scheduler: who computes what and when, who waits, who makes room, and who leaves."""

import pytest

from sightline.engine.request import Prompt, Sequence, Status
from sightline.engine.step import Work

from .cached_prompts import chains
from .one_line_model import Loop, alone, counts, following

# -- one sequence


def test_answer_is_that_of_the_model_alone():
    loop = Loop()
    seq = loop.ask(range(10), 9)
    loop.until_idle()
    assert seq.generated == alone(seq.prompt, 9)
    assert seq.status is Status.FINISHED
    assert loop.computed == 10 + 8


def test_long_prompt_is_computed_in_chunks_of_the_budget():
    loop = Loop(batch=1, tokens=4)
    loop.ask(range(10), 1)
    assert [list(counts(loop.step()).values()) for _ in range(3)] == [[4], [4], [2]]


def test_prompt_that_can_never_fit_is_an_error():
    loop = Loop(num_blocks=3, size=4)
    assert loop.scheduler.fits(12)
    assert not loop.scheduler.fits(13)
    with pytest.raises(ValueError, match="13 tokens long, and the K/V cache holds 12"):
        loop.ask(range(13))
    assert not loop.scheduler.has_work


def test_prompt_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="holds no tokens"):
        Loop().scheduler.add(Sequence(Prompt(())))


@pytest.mark.parametrize(("batch", "tokens"), [(0, 8), (9, 8)])
def test_budget_of_less_than_a_token_each_is_an_error(batch, tokens):
    with pytest.raises(ValueError, match=rf"max_batch_size \({batch}\).*max_batch_tokens \({tokens}\)"):
        Loop(batch=batch, tokens=tokens)


def test_sequence_that_fills_the_pool_to_its_last_row_finishes():
    loop = Loop(num_blocks=3, size=4)
    seq = loop.ask(range(5), 7)
    assert loop.scheduler.fits(12)
    loop.until_idle()
    assert seq.generated == alone(seq.prompt, 7)


# -- shares of the budget


def test_long_prompt_does_not_stall_a_short_one():
    loop = Loop(tokens=16)
    long, short = loop.ask(range(40)), loop.ask(range(50, 55))
    assert counts(loop.step()) == {long: 11, short: 5}


def test_decoding_goes_on_beside_prompts():
    loop = Loop(batch=4, tokens=8)
    decoding = loop.ask(range(4), 20)
    loop.step()
    first, second = loop.ask(range(10, 40)), loop.ask(range(50, 90))
    for _ in range(4):
        step = counts(loop.step())
        assert step == {decoding: 1, first: 4, second: 3}


def test_drafts_share_what_is_left_and_stall_no_prompt():
    loop = Loop(batch=4, tokens=8)
    decoding = loop.ask(range(4), 20)
    loop.step()
    prompt = loop.ask(range(10, 40))
    decoding.draft = [0] * 9
    step = loop.schedule()
    assert counts(step) == {decoding: 1 + 3, prompt: 4}
    assert len(decoding.draft) == 3


def test_draft_is_cut_to_the_blocks_there_are():
    loop = Loop(num_blocks=4, size=2)
    seq = loop.ask(range(5), 4)
    loop.step()
    seq.draft = [0] * 9
    assert counts(loop.schedule()) == {seq: 3}
    assert len(seq.draft) == 2


def test_draft_takes_no_block_that_another_needs_and_preempts_nobody():
    loop = Loop(num_blocks=4, size=2, batch=2)
    seqs = [loop.ask((0, 1), 3), loop.ask((5,), 3)]
    loop.step()
    for seq in seqs:
        seq.draft = [0] * 8
    step = loop.schedule()
    assert not step.preempted
    assert len(step.works) == 2


# -- admission


def test_waiting_are_admitted_in_order_of_arrival():
    loop = Loop(batch=2)
    seqs = [loop.ask((10 * i, 1, 2), 3) for i in range(4)]
    loop.step()
    assert loop.scheduler.running == seqs[:2]
    assert loop.scheduler.waiting == seqs[2:]


def test_small_request_does_not_overtake_a_large_one_for_which_blocks_are_short():
    loop = Loop(num_blocks=8, size=2)
    loop.ask(range(6), 4)
    loop.step()
    large, small = loop.ask(range(20, 30)), loop.ask((40,), 1)
    loop.step()
    assert loop.scheduler.waiting == [large, small]
    loop.until_idle()


def test_large_request_is_served_however_many_small_ones_keep_coming():
    loop = Loop(num_blocks=8, size=2, batch=4)
    loop.ask(range(3), 2)
    loop.step()
    large = loop.ask(range(10, 23), 2)
    for number in range(60):
        if large.status is Status.FINISHED:
            return
        loop.ask((30 + number, 1, 2), 3)
        loop.step()
    pytest.fail("the large request starved")


def test_nobody_is_admitted_who_would_soon_be_preempted():
    loop = Loop(num_blocks=4, size=4)
    loop.ask(range(8), 8)
    loop.step()
    late = loop.ask((50, 51, 52, 53), 4)  # a block is free for it, but none for its first token's successor
    loop.step()
    assert late.status is Status.WAITING
    loop.until_idle()
    assert not loop.preempted


def test_cached_tokens_are_noted_at_the_first_admission_only():
    loop = Loop(num_blocks=7, size=2, batch=3)
    loop.ask((0, 1, 2, 3), 1)
    loop.until_idle()
    loop.ask((60, 61, 62), 8)
    seq = loop.ask((0, 1, 2, 9), 6)
    loop.until_idle()
    assert seq in loop.preempted
    assert seq.cached == 3


# -- drafts


def test_accepted_drafts_save_steps_and_change_nothing():
    loop = Loop()
    seq = loop.ask(range(6), 9)
    answer, steps = alone(seq.prompt, 9), 0
    while loop.scheduler.has_work:
        seq.draft = answer[len(seq.generated) :][:3]
        loop.step()
        steps += 1
    assert seq.generated == answer
    assert steps == 3  # the prompt and one, then four at a time


def test_rejected_drafts_are_not_sealed_and_their_blocks_given_back():
    loop = Loop(size=2)
    seq = loop.ask((0, 1, 2, 3), 6)
    loop.step()
    wrong = (alone(seq.prompt, 2)[1] + 1) % 3
    seq.draft = [wrong] * 5
    loop.step()
    assert (seq.computed, len(seq.ids), len(seq.blocks)) == (5, 6, 3)
    match = loop.pool.match(Prompt((*seq.ids[:5], wrong, wrong, wrong)))
    assert match.tokens == 4
    loop.pool.undo(match)
    loop.until_idle()


def test_draft_on_a_prompt_is_dropped():
    loop = Loop(batch=1, tokens=4)
    seq = loop.ask(range(9))
    seq.draft = [1, 2]
    loop.step()
    assert seq.draft == []


def test_new_tokens_that_are_no_drafts_are_a_fault():
    loop = Loop()
    seq = loop.ask(range(3), 9)
    loop.step()
    work = loop.schedule().works[0]
    with pytest.raises(AssertionError, match="drafts that held"):
        loop.scheduler.advance(work, [1, 2])
    with pytest.raises(AssertionError, match="after its last token"):
        loop.scheduler.advance(Work(seq, 0, 1), [1])


def test_pass_without_new_tokens_computes_the_prompt_whole():
    """Scoring: the prompt is read, and nothing is said."""
    loop = Loop()
    seq = loop.ask(range(6))
    loop.scheduler.advance(loop.schedule().works[0], [])
    assert (seq.computed, seq.missing) == (6, 0)
    assert loop.scheduler.schedule().works == []


def test_positions_to_be_graded_are_computed_though_they_are_cached():
    loop = Loop()
    loop.ask(range(12), 1)
    loop.until_idle()
    graded = Sequence(Prompt(tuple(range(12))), logits_from=5)
    loop.scheduler.add(graded)
    assert counts(loop.schedule()) == {graded: 7}
    assert graded.cached == 5


def test_nobody_is_held_for_a_block_that_it_has_to_compute_itself():
    loop = Loop()
    loop.ask(range(12))
    graded = Sequence(Prompt(tuple(range(12))), logits_from=2)
    loop.scheduler.add(graded)
    loop.schedule()
    assert graded.status is Status.RUNNING


# -- preemption


def crowded():
    """An old sequence and a young one that cannot both be held to their ends."""
    loop = Loop(num_blocks=6, size=2, batch=2)
    return loop, loop.ask((0, 1, 2), 8), loop.ask((50, 51), 8)


def test_youngest_is_preempted_and_the_oldest_never():
    loop, old, young = crowded()
    loop.until_idle()
    assert set(loop.preempted) == {young}
    assert [seq.generated for seq in (old, young)] == [alone(seq.prompt, 8) for seq in (old, young)]


def test_preempted_waits_in_front_of_who_came_later():
    loop, _, young = crowded()
    later = loop.ask((60, 61), 1)
    while not loop.preempted:
        loop.step()
    assert loop.scheduler.waiting == [young, later]
    assert (young.status, young.computed, young.blocks) == (Status.WAITING, 0, [])


def test_resumed_sequence_computes_its_own_answer_only_where_it_was_forgotten():
    loop = Loop(num_blocks=6, size=2, batch=2)
    old, young = loop.ask((0, 1, 2), 5), loop.ask((50, 51, 52), 6)
    while not loop.preempted:
        loop.step()
    known = len(young.ids)
    loop.scheduler.cancel(old)
    step = loop.step()
    assert known > len(young.prompt.ids)
    assert counts(step)[young] <= 3
    assert young.cached == 0
    loop.until_idle()


def test_nobody_is_admitted_in_a_step_that_preempts():
    loop, _, _ = crowded()
    loop.ask((60,), 1)
    while not loop.preempted:
        before = set(loop.scheduler.running)
        step = loop.step()
    assert not set(counts(step)) - before


# -- cancellation


def test_cancelling_frees_at_once_in_every_state():
    loop = Loop(num_blocks=6, size=2, batch=2, tokens=4)
    scheduler = loop.scheduler
    never, decoding, prefill, waiting = (
        Sequence(Prompt((1,))),
        loop.ask((0,), 9),
        loop.ask(range(10, 16)),
        loop.ask((9,)),
    )
    loop.step()
    assert (decoding.missing, prefill.missing, waiting.status) == (1, 3, Status.WAITING)
    for seq in (never, waiting, prefill, decoding):
        scheduler.cancel(seq)
        scheduler.cancel(seq)
        assert (seq.status, seq.blocks) == (Status.FINISHED, [])
    assert not scheduler.has_work
    assert loop.pool.in_use == 0


def test_cancelled_while_preempted():
    loop, old, young = crowded()
    while not loop.preempted:
        loop.step()
    loop.scheduler.cancel(young)
    loop.until_idle()
    assert old.generated == alone(old.prompt, 8)
    assert len(young.generated) < 8


def test_cancelled_between_the_schedule_and_its_pass():
    loop = Loop()
    seqs = [loop.ask((50 * i, 1, 2), 3) for i in range(2)]
    step = loop.schedule()
    loop.scheduler.cancel(seqs[0])
    loop.advance(step, [[], [following(chains(seqs[1].prompt, seqs[1].ids)[-1])]])
    loop.scheduler.finish(seqs[0])
    assert seqs[0].generated == []
    assert loop.scheduler.running == seqs[1:]
