"""The scheduler and the prefix cache: what is known is not computed again, not even by two at once."""

import pytest

from sightline.engine.request import ImageRun, Prompt, Status

from .cached_prompts import CAT, DOG
from .one_line_model import Loop, alone, counts


def test_second_question_on_a_picture_computes_its_text_alone():
    loop = Loop()
    picture = (ImageRun(1, 20, DOG),)
    loop.ask(Prompt((1, *[9] * 20, 2, 3), picture), 2)
    loop.until_idle()
    before = loop.computed
    second = loop.ask(Prompt((1, *[9] * 20, 4, 5, 6), picture), 2)
    loop.until_idle()
    assert loop.computed - before == 3 + 1
    assert second.cached == 21
    assert second.generated == alone(second.prompt, 2)


def test_next_turn_computes_nothing_of_the_last():
    loop = Loop()
    first = loop.ask(range(6), 5)
    loop.until_idle()
    before = loop.computed
    second = loop.ask((*first.ids, 7, 8), 1)
    loop.until_idle()
    assert second.cached == 10  # the answer's last token never went through the model
    assert loop.computed - before == 3


def test_questions_on_a_picture_that_come_together_compute_it_once():
    loop = Loop(batch=3, tokens=16)
    prompts = [Prompt((1, *[9] * 30, end), (ImageRun(1, 30, DOG),)) for end in range(3)]
    seqs = [loop.ask(prompt, 2) for prompt in prompts]
    loop.step()
    assert loop.scheduler.running == seqs[:1]
    loop.until_idle()
    assert [seq.generated for seq in seqs] == [alone(prompt, 2) for prompt in prompts]
    assert loop.computed == 32 + 2 + 3  # one prompt, the others' last tokens, and a second token each


def test_who_is_held_for_a_block_keeps_its_place():
    loop = Loop(batch=2, tokens=8)
    first, held, other = loop.ask(range(12), 9), loop.ask((*range(11), 77), 9), loop.ask(range(50, 54), 9)
    loop.step()
    assert loop.scheduler.running == [first]
    loop.step()
    loop.step()
    assert loop.scheduler.running == [first, held]
    assert loop.scheduler.waiting == [other]


def test_who_is_held_for_a_block_keeps_its_blocks():
    loop = Loop(num_blocks=8, size=2, batch=3, tokens=3)
    loop.ask(range(6), 1)
    held, other = loop.ask((*range(5), 77, 78, 79), 1), loop.ask(range(50, 54), 1)
    loop.step()
    assert loop.scheduler.waiting == [held, other]  # five blocks are left, of which the held one may need four
    loop.until_idle()


def test_who_is_held_lets_others_pass_where_there_is_room():
    loop = Loop(batch=3, tokens=8)
    loop.ask(range(12), 9)
    held, other = loop.ask((*range(11), 77), 9), loop.ask(range(50, 54), 9)
    loop.step()
    assert other.status is Status.RUNNING
    assert held.status is Status.WAITING


def test_who_is_held_goes_on_alone_when_the_other_is_cancelled():
    loop = Loop(tokens=8)
    first, held = loop.ask(range(20)), loop.ask((*range(19), 77))
    loop.step()
    loop.scheduler.cancel(first)
    loop.until_idle()
    assert held.generated == alone(held.prompt, 4)
    assert held.cached == 8


@pytest.mark.parametrize(
    "other",
    [
        Prompt((9,) * 12, (ImageRun(0, 12, CAT),)),
        Prompt((9,) * 12, (ImageRun(1, 11, DOG),)),
        Prompt((9,) * 12),
        Prompt((9,) * 12, (ImageRun(0, 12, DOG),), b"salt"),
    ],
    ids=["another image", "another offset", "no image", "another salt"],
)
def test_nobody_is_held_for_another_content(other):
    loop = Loop()
    loop.ask(Prompt((9,) * 12, (ImageRun(0, 12, DOG),)))
    seq = loop.ask(other)
    loop.step()
    assert seq.status is Status.RUNNING


def test_without_prefix_caching_nothing_is_shared_copied_or_kept():
    loop = Loop(caching=False)
    seqs = [loop.ask(range(9), 3) for _ in range(2)]
    assert len(loop.step().works) == 2
    loop.until_idle()
    again = loop.ask(range(9), 3)
    loop.until_idle()
    assert again.cached == loop.copied == loop.pool.cached == loop.pool.hit_tokens == 0
    assert loop.computed == 3 * (9 + 2)
    assert len({tuple(seq.generated) for seq in (*seqs, again)}) == 1


def test_source_of_a_copy_is_given_to_nobody_in_the_step_that_copies_it():
    loop = Loop(num_blocks=6, size=2)
    loop.ask((0, 1, 2), 1)
    loop.until_idle()
    drafting = loop.ask((50,), 9)
    loop.step()
    drafting.draft = [0] * 30
    loop.ask((0, 1, 2, 4), 1)
    step = loop.schedule()
    (copy,) = step.copies
    assert len(drafting.blocks) == 3
    assert copy.source not in drafting.blocks
    assert loop.pool.uses(copy.source) == 0  # from the next step on it may go
    loop.advance(step, loop.run(step))
    loop.until_idle()


def test_tail_that_a_copy_has_no_room_beside_is_computed_again():
    """Alone in the pool: the tail's block is the very one that is missing."""
    loop = Loop(num_blocks=2, size=4)
    loop.ask(range(7), 1)
    loop.until_idle()
    seq = loop.ask((*range(7), 8), 1)
    step = loop.schedule()
    assert not step.copies
    assert counts(step) == {seq: 4}
    assert seq.cached == 4


def test_sequence_cancelled_before_its_copy_is_made_caches_nothing():
    loop = Loop(num_blocks=8, size=4)
    loop.ask((0, 1, 2), 1)
    loop.until_idle()
    seq = loop.ask((0, 1, 2, 4), 1)
    assert loop.schedule().copies
    before = loop.pool.cached
    loop.scheduler.cancel(seq)  # and the pass fails: no copy
    assert loop.pool.cached == before
