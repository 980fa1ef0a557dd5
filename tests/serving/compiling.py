"""Grammars, compiled outside of a server."""

import asyncio


def compiled(grammars, *asked):
    """What `Grammars.compile` gives."""
    return asyncio.run(grammars.compile(*asked))
