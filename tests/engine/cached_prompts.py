"""Prompts and sequences for the tests of the cache, and what a model's keys and values depend on."""

from zlib import crc32

from sightline.engine.request import ImageRun, Prompt, Sequence

DOG, CAT = b"dog" + bytes(29), b"cat" + bytes(29)
PICTURE = 9  # the placeholder's token


def chains(prompt, ids):
    """A number for each position, equal only where K/V may be: of what stands there and before it, and of the salt."""
    at = {run.start + row: (run.key, row) for run in prompt.images for row in range(run.length)}
    chain, out = crc32(prompt.salt), []
    for position, token in enumerate(ids):
        chain = crc32(repr((chain, token, at.get(position))).encode())
        out.append(chain)
    return out


def text(*ids, salt=b""):
    return Prompt(ids, (), salt)


def with_image(before, length, after, key=DOG, salt=b""):
    """`before` tokens of text, an image, and the text `after`."""
    return Prompt((*range(before), *[PICTURE] * length, *after), (ImageRun(before, length, key),), salt)


def begin(pool, prompt):
    """A sequence that has computed its whole prompt, its full blocks sealed."""
    match = pool.match(prompt)
    fresh = pool.allocate(pool.blocks_for(len(prompt.ids)) - len(match.blocks))
    if match.tail:
        pool.release([match.tail[0]])
    seq = Sequence(prompt, blocks=match.blocks + fresh, computed=len(prompt.ids))
    pool.seal(seq)
    return seq


def cache(pool, prompt):
    seq = begin(pool, prompt)
    pool.finish(seq)


def found(pool, prompt):
    """How many tokens of `prompt` are cached; nothing stays in use."""
    match = pool.match(prompt)
    pool.undo(match)
    return match.tokens
