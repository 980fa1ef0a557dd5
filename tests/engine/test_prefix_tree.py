"""Digests of blocks: what they take in, and that nothing of it can be left out, cut or moved."""

import pytest

from sightline.engine.blocks import digest, root
from sightline.engine.request import ImageRun

from .cached_prompts import CAT, DOG


def test_digest_takes_in_the_block_before():
    first = digest(root(b""), (1, 2), (), 0)
    assert digest(first, (3, 4), (), 2) != digest(root(b""), (3, 4), (), 2)
    assert len(first) == 32


def test_digest_holds_token_ids_of_eight_bytes():
    assert len({digest(root(b""), (1 + 2**shift,), (), 0) for shift in range(62)}) == 62
    assert digest(root(b""), (1, 2), (), 0) != digest(root(b""), (1,), (), 0)


def test_digest_is_the_same_wherever_the_image_runs_on_to():
    """A run that leaves the block is known by what stands in the block."""
    assert digest(root(b""), (1, 9), (ImageRun(1, 5, DOG),), 0) == digest(root(b""), (1, 9), (ImageRun(1, 7, DOG),), 0)


@pytest.mark.parametrize(
    "other",
    [
        (),
        (ImageRun(1, 4, CAT),),
        (ImageRun(0, 4, DOG),),
        (ImageRun(1, 1, DOG),),
        (ImageRun(1, 2, DOG), ImageRun(3, 2, CAT)),
        (ImageRun(1, 4, DOG[:16]),),
        (ImageRun(1, 4, DOG[:16] + b"x" * 16),),
    ],
    ids=["none", "another", "moved", "shorter", "two", "a cut key", "equal in its first half"],
)
def test_digest_differs_with_the_images_in_the_block(other):
    assert digest(root(b""), (9, 9, 9, 9), (ImageRun(1, 4, DOG),), 0) != digest(root(b""), (9, 9, 9, 9), other, 0)


def test_digest_knows_how_far_into_an_image_the_block_begins():
    images = (ImageRun(0, 8, DOG),)
    assert digest(root(b""), (9, 9), images, 2) != digest(root(b""), (9, 9), images, 4)


def test_digest_ignores_images_of_other_blocks():
    images = (ImageRun(0, 2, CAT), ImageRun(4, 2, CAT))
    assert digest(root(b""), (1, 2), images, 2) == digest(root(b""), (1, 2), (), 2)


def test_no_salt_is_the_digest_of_a_block():
    """Whoever picks a salt cannot pick another's prompt with it."""
    parent, tokens = root(b"secret"), (1, 2)
    forged = parent + len(tokens).to_bytes(8, "little") + b"".join(token.to_bytes(8, "little") for token in tokens)
    assert root(forged) != digest(parent, tokens, (), 0)
