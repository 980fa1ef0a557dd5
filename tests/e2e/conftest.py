"""Commands in this process, with small models."""

import pytest


@pytest.fixture(autouse=True)
def small_cache(monkeypatch):
    """Blocks enough for models of a few thousand weights: zeroing half a GiB takes a third of a second."""
    monkeypatch.setattr("sightline.engine.engine.default_budget", lambda *_: 2**22)
