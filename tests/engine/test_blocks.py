"""The block pool: what is shared and what never is, who uses which block, what is forgotten first."""

import pytest

from sightline.engine import blocks as blocks_module
from sightline.engine.blocks import BlockPool, digest
from sightline.engine.request import ImageRun, Prompt, Sequence

from .cached_prompts import CAT, DOG, PICTURE, begin, cache, found, text, with_image

# -- matching


def test_match_finds_whole_blocks_and_the_tail_after_them():
    pool = BlockPool(8, 4)
    cache(pool, text(*range(10)))
    match = pool.match(text(*range(10), 50))
    assert (len(match.blocks), match.tokens, match.missed) == (2, 10, 1)
    assert match.tail[1] == 2


def test_match_leaves_the_last_token_to_be_computed():
    pool = BlockPool(8, 4)
    cache(pool, text(*range(8)))
    match = pool.match(text(*range(8)))
    assert (len(match.blocks), match.tokens) == (1, 7)
    assert match.tail[1] == 3
    assert found(pool, text(0)) == 0


def test_match_goes_no_further_than_asked():
    """Of an answer that is graded, logits are wanted: its tokens are computed though they are cached."""
    pool = BlockPool(8, 4)
    cache(pool, text(*range(12)))
    match = pool.match(text(*range(12)), limit=6)
    assert (len(match.blocks), match.tokens, match.missed, match.tail[1]) == (1, 6, 6, 2)
    assert pool.match(text(*range(12)), limit=0).tokens == 0


def test_tail_may_be_the_beginning_of_a_whole_block():
    pool = BlockPool(8, 4)
    seq = begin(pool, text(*range(8)))
    match = pool.match(text(0, 1, 2, 3, 4, 5, 70, 71, 72))
    assert match.blocks == seq.blocks[:1]
    assert match.tail == (seq.blocks[1], 2)


def test_match_takes_the_longest_of_many_tails():
    pool = BlockPool(16, 4)
    for ending in ((7,), (4, 7), (4, 5, 7), (4, 5, 8), (4, 6), (9, 9, 9, 9)):
        cache(pool, text(0, 1, 2, 3, *ending))
    assert found(pool, text(0, 1, 2, 3, 4, 5, 6, 7)) == 6


def test_match_holds_its_blocks_and_undo_gives_them_back():
    pool = BlockPool(4, 4)
    cache(pool, text(*range(10)))
    match = pool.match(text(*range(10), 50))
    assert pool.in_use == 3
    assert pool.allocate(2) is None
    shorter = pool.without_tail(match)
    assert (shorter.tokens, shorter.missed, shorter.tail, pool.in_use) == (8, 3, None, 2)
    pool.undo(shorter)
    assert (pool.in_use, pool.cached, pool.free) == (0, 3, 1)


def test_hits_and_misses_count_tokens_of_matches_that_were_used():
    pool = BlockPool(8, 4)
    cache(pool, text(*range(8)))
    assert (pool.hit_tokens, pool.missed_tokens) == (0, 8)
    assert found(pool, text(*range(8), 50)) == 8
    assert (pool.hit_tokens, pool.missed_tokens) == (0, 8)
    begin(pool, text(*range(6), 50))
    assert (pool.hit_tokens, pool.missed_tokens) == (6, 9)


def test_second_question_on_a_picture_misses_only_its_text():
    pool = BlockPool(16, 4)
    cache(pool, with_image(2, 20, (1, 2, 3)))
    assert found(pool, with_image(2, 20, (7, 8))) == 22


def test_a_cut_key():
    """Keys that are equal in their first 16 bytes share nothing from the image on."""
    pool = BlockPool(16, 4)
    cache(pool, with_image(0, 8, (1, 2), key=b"k" * 16 + b"a" * 16))
    assert found(pool, with_image(0, 8, (1, 2), key=b"k" * 16 + b"b" * 16)) == 0


def test_another_salt_shares_nothing():
    pool = BlockPool(16, 4)
    cache(pool, text(*range(9), salt=b"tenant"))
    assert found(pool, text(*range(9))) == 0
    assert found(pool, text(*range(9), salt=b"tenant ")) == 0
    assert found(pool, text(*range(9), salt=b"tenant")) == 8


def test_same_tokens_with_another_image_share_nothing_from_the_image_on():
    pool = BlockPool(16, 4)
    cache(pool, with_image(6, 8, (1, 2, 3)))
    assert found(pool, with_image(6, 8, (1, 2, 3), key=CAT)) == 6


def test_same_tokens_without_an_image_share_nothing_from_the_image_on():
    pool = BlockPool(16, 4)
    prompt = with_image(6, 8, (1, 2, 3))
    cache(pool, prompt)
    assert found(pool, text(*prompt.ids)) == 6


def test_image_at_another_offset_shares_nothing_from_the_image_on():
    """The same placeholders' tokens, of which the image takes other ones."""
    pool = BlockPool(16, 4)
    ids = (0, 1, *[PICTURE] * 10)
    cache(pool, Prompt(ids, (ImageRun(2, 8, DOG),)))
    assert found(pool, Prompt(ids, (ImageRun(3, 8, DOG),))) == 2


def test_tail_may_end_within_an_image():
    pool = BlockPool(16, 4)
    cache(pool, with_image(1, 9, (1,)))
    assert found(pool, Prompt((0, *[PICTURE] * 6, 5, 5), (ImageRun(1, 6, DOG),))) == 7


def test_picture_twice_is_not_a_picture_of_twice_the_length():
    pool = BlockPool(16, 8)
    cache(pool, Prompt((PICTURE,) * 6, (ImageRun(0, 3, DOG), ImageRun(3, 3, DOG))))
    assert found(pool, Prompt((PICTURE,) * 6, (ImageRun(0, 6, DOG),))) == 3


def test_second_of_two_images_alone_may_differ():
    pool = BlockPool(16, 4)
    ids = (*[PICTURE] * 6, 1, *[PICTURE] * 6, 2)
    cache(pool, Prompt(ids, (ImageRun(0, 6, DOG), ImageRun(7, 6, DOG))))
    assert found(pool, Prompt(ids, (ImageRun(0, 6, DOG), ImageRun(7, 6, CAT)))) == 7


def test_contents_under_one_digest_are_told_apart(monkeypatch):
    """As if SHA-256 had a collision: the block's own tokens and images decide."""
    monkeypatch.setattr(blocks_module, "digest", lambda parent, tokens, images, start: digest(parent, (), (), start))
    pool = BlockPool(16, 4)
    first = begin(pool, with_image(4, 4, (1, 2)))
    assert found(pool, with_image(4, 4, (1, 2), key=CAT)) == 4
    assert found(pool, text(7, 7, 7, 7, 7)) == 0
    second = begin(pool, text(7, 7, 7, 7, 7, 7, 7, 7, 7))
    pool.finish(first)
    pool.finish(second)
    assert found(pool, text(7, 7, 7, 7, 7, 7, 7, 7, 7)) == 0
    assert pool.in_use == 0


# -- who uses a block


def test_allocate_gives_all_or_nothing():
    pool = BlockPool(4, 4)
    cache(pool, text(*range(12)))
    assert pool.allocate(5) is None
    assert (pool.free, pool.cached, pool.evictions) == (1, 3, 0)
    assert sorted(pool.allocate(4)) == [0, 1, 2, 3]
    assert (pool.in_use, pool.evictions) == (4, 3)


def test_shared_block_stays_until_its_last_user_goes():
    pool = BlockPool(4, 4)
    first, second = begin(pool, text(*range(5))), begin(pool, text(*range(4), 9))
    shared = first.blocks[0]
    assert second.blocks[0] == shared
    assert pool.uses(shared) == 2
    pool.finish(first)
    assert pool.uses(shared) == 1
    assert pool.allocate(3) is None
    pool.finish(second)
    assert len(pool.allocate(4)) == 4


def test_block_given_back_twice_is_a_fault():
    pool = BlockPool(4, 4)
    blocks = pool.allocate(1)
    pool.release(blocks)
    with pytest.raises(AssertionError, match="not in use"):
        pool.release(blocks)


def test_longest_unused_is_forgotten_first_and_children_before_their_parents():
    left = []
    for count in range(7):
        pool = BlockPool(6, 2)
        cache(pool, text(1, 1, 2, 2, 3, 3))
        cache(pool, text(7, 7, 8, 8))
        assert found(pool, text(1, 1, 2, 2, 3, 3, 0)) == 6  # used again
        pool.allocate(count)
        left.append((found(pool, text(1, 1, 2, 2, 3, 3, 0)), found(pool, text(7, 7, 8, 8, 0))))
    assert left == [(6, 4), (6, 4), (6, 2), (6, 0), (4, 0), (2, 0), (0, 0)]


def test_pinned_tail_is_not_forgotten_before_it_is_copied():
    pool = BlockPool(4, 4)
    cache(pool, text(0, 1, 2))
    match = pool.match(text(0, 1, 9))
    assert pool.allocate(4) is None
    assert match.tail[0] not in pool.allocate(3)
    pool.release([match.tail[0]])
    assert pool.allocate(1) == [match.tail[0]]


# -- what is entered


def test_only_computed_tokens_are_sealed():
    pool = BlockPool(8, 4)
    seq = Sequence(text(*range(12)), blocks=pool.allocate(3), computed=7)
    pool.seal(seq)
    assert found(pool, text(*range(12))) == 4
    seq.computed = 8
    pool.seal(seq)
    assert found(pool, text(*range(12))) == 8


def test_finish_enters_the_partial_block_too():
    pool = BlockPool(8, 4)
    seq = Sequence(text(*range(8)), blocks=pool.allocate(2), computed=7)
    pool.finish(seq)
    assert seq.blocks == []
    assert found(pool, text(*range(8))) == 7
    assert (pool.free, pool.cached) == (6, 2)


def test_answer_is_found_by_the_prompt_that_holds_it():
    """Several turns: the next prompt repeats the answer."""
    pool = BlockPool(8, 4)
    seq = begin(pool, text(1, 2, 3))
    seq.ids += [4, 5]
    seq.blocks += pool.allocate(1)
    seq.computed = 5
    pool.finish(seq)
    assert found(pool, text(1, 2, 3, 4, 5, 6)) == 5


def test_tail_that_another_block_begins_with_is_not_kept():
    pool = BlockPool(8, 4)
    cache(pool, text(0, 1, 2, 3, 4, 5))
    cache(pool, text(0, 1, 2, 3, 4))
    assert (pool.cached, pool.free) == (2, 6)


def test_answer_cut_after_it_was_sealed_leaves_what_was_computed():
    """As behind a stop text: the block is already known whole, and is not entered a second time as a partial one."""
    pool = BlockPool(8, 4)
    seq = begin(pool, text(*range(8)))
    del seq.ids[6:]
    seq.computed = 6
    pool.finish(seq)
    assert (pool.cached, pool.free) == (2, 6)
    assert found(pool, text(*range(8), 9)) == 8
    assert len(pool.allocate(8)) == 8


def twins(pool, prompt):
    """Two sequences that have computed the same blocks at the same time."""
    pair = [Sequence(prompt, blocks=pool.allocate(pool.blocks_for(len(prompt.ids)))) for _ in range(2)]
    for seq in pair:
        seq.computed = len(prompt.ids)
        pool.seal(seq)
    return pair


def test_content_computed_twice_is_entered_once():
    pool = BlockPool(8, 2)
    first, second = twins(pool, text(0, 1, 2, 3))
    assert not set(first.blocks) & set(second.blocks)
    assert pool.match(text(0, 1, 2, 3, 4)).blocks == first.blocks
    pool.finish(second)
    assert pool.free == 6


def test_content_computed_twice_stays_with_the_one_in_use():
    pool = BlockPool(8, 2)
    first, second = twins(pool, text(0, 1, 2, 3))
    pool.finish(first)
    assert (pool.free, pool.cached, pool.in_use) == (6, 0, 2)
    assert pool.match(text(0, 1, 2, 3, 4)).blocks == second.blocks


def test_all_that_no_one_uses_can_be_had_though_a_twin_continues_the_prefix():
    """Were the content left with the first block, its child in use would keep that from ever being evicted."""
    pool = BlockPool(5, 2)
    first, second = twins(pool, text(0, 1, 2, 3))
    second.ids += [4, 5]
    second.blocks += pool.allocate(1)
    second.computed = 6
    pool.seal(second)
    pool.finish(first)
    assert len(pool.allocate(pool.available)) == 2
    assert found(pool, text(0, 1, 2, 3, 4, 5, 6)) == 6


def test_cached_content_computed_again_moves_to_the_block_in_use():
    """As a prompt's last block is when it is asked again: one token must be computed, so the block is not matched."""
    pool = BlockPool(5, 2)
    cache(pool, text(0, 1, 2, 3))
    seq = begin(pool, text(0, 1, 2, 3))
    assert (pool.in_use, pool.cached, pool.free) == (2, 0, 3)
    seq.ids += [4, 5]
    seq.blocks += pool.allocate(1)
    seq.computed = 6
    pool.seal(seq)
    assert len(pool.allocate(pool.available)) == 2
    assert found(pool, text(0, 1, 2, 3, 4, 5, 6)) == 6


def test_clear_forgets_all_and_never_caches_what_was_in_use():
    pool = BlockPool(8, 2)
    cache(pool, text(7, 7, 7))
    seq = begin(pool, text(0, 1, 2, 3))
    pool.clear()
    assert (pool.free, pool.cached, pool.in_use) == (6, 0, 2)
    seq.ids += [4, 5]
    seq.blocks += pool.allocate(1)
    seq.computed = 6
    pool.finish(seq)
    assert pool.free == 8
    cache(pool, text(0, 1, 2, 3))
    assert found(pool, text(0, 1, 2, 3, 4)) == 4


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_pool_without_room_is_an_error(shape):
    with pytest.raises(ValueError, match=f"{shape[0]} blocks of {shape[1]}"):
        BlockPool(*shape)
