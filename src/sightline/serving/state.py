"""What the routes of one server share. Two servers in one process share nothing."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from sightline.engine.engine import Engine
from sightline.serving.answering import Answering
from sightline.serving.files import FileStore
from sightline.serving.grammar import Grammars
from sightline.serving.image_urls import Fetcher
from sightline.serving.images import PixelBudget
from sightline.serving.metrics import Metrics
from sightline.serving.settings import Settings

__all__ = ["State", "build_state"]


@dataclass(frozen=True, eq=False)
class State:
    """A model being served."""

    settings: Settings
    model: Any
    processor: Any
    engine: Engine
    answering: Answering
    files: FileStore
    pixels: PixelBudget
    fetcher: Fetcher
    grammars: Grammars
    metrics: Metrics
    created: int = field(default_factory=lambda: int(time.time()))


def build_state(model: Any, processor: Any, settings: Settings, **engine_options: Any) -> State:
    """A server's state around an engine of its own, which takes `engine_options`. Raises ValueError as `Engine`."""
    engine = Engine(model, processor, **engine_options)
    metrics = Metrics(engine)
    return State(
        settings=settings,
        model=model,
        processor=processor,
        engine=engine,
        answering=Answering(engine, settings.limits, metrics.rejected, metrics.answered, metrics.failed),
        files=FileStore(settings.limits),
        pixels=PixelBudget(settings.limits, metrics.rejected),
        fetcher=Fetcher(settings.image_hosts, settings.limits, metrics.rejected),
        grammars=Grammars(processor, engine.end_tokens, model.config.vocab_size, settings.limits, metrics.rejected),
        metrics=metrics,
    )
