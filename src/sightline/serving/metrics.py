"""What a server counts, as Prometheus reads it.

It hears of answers and refusals, and looks at the engine when it is asked. It knows neither requests nor HTTP.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from sightline.engine.engine import Engine
from sightline.engine.request import Reply, Usage
from sightline.serving.logs import add_usage

__all__ = ["Metrics"]

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_RATES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# The engine's own counters: what they are called here, and what they count.
_ENGINE = {
    "steps": ("engine_steps", "Passes over the batch."),
    "tokens_computed": ("engine_tokens", "Tokens computed, of prompts and answers."),
    "preemptions": ("engine_preemptions", "Answers that gave up their place for a while."),
    "images_encoded": ("images_encoded", "Pictures that went through the vision tower."),
    "drafted": ("drafted_tokens", "Tokens that were guessed ahead."),
    "accepted": ("accepted_tokens", "Tokens that were guessed right."),
    "prefix_hit_tokens": ("prefix_cache_hit_tokens", "Prompt tokens that the prefix cache had."),
    "prefix_missed_tokens": ("prefix_cache_missed_tokens", "Prompt tokens that it did not have."),
    "prefix_evictions": ("prefix_cache_evictions", "Blocks that it gave up for others."),
    "image_hits": ("image_cache_hits", "Lookups of a picture's features that found them."),
    "image_misses": ("image_cache_misses", "Lookups that did not."),
}


class Metrics:
    """Counts in a registry of its own: two servers in one process do not mix theirs."""

    def __init__(self, engine: Engine):
        self._registry = registry = CollectorRegistry()
        registry.register(_EngineCollector(engine))
        ProcessCollector(registry=registry)
        self._requests = _counter(registry, "requests", "Requests that are over.", "route", "method", "status")
        self._request_seconds = _histogram(registry, "request_seconds", "From a request to its end.", _SECONDS, "route")
        self._rejections = _counter(registry, "rejections", "Requests that were refused.", "reason")
        self._answers = _counter(registry, "answers", "Answers that are over.", "finish_reason")
        self._queued = _histogram(
            registry, "queue_seconds", "From a prompt that is read to a place in the batch.", _SECONDS
        )
        self._first = _histogram(
            registry, "time_to_first_token_seconds", "From a prompt that is read to its answer's first token.", _SECONDS
        )
        self._between = _histogram(
            registry, "time_per_output_token_seconds", "Between tokens, an answer's mean.", _TOKEN_SECONDS
        )
        self._rate = _histogram(registry, "tokens_per_second", "After the first token, of an answer.", _RATES)
        self._prompt = _counter(registry, "prompt_tokens", "Tokens of prompts.")
        self._cached = _counter(registry, "cached_prompt_tokens", "Those of them that were not computed again.")
        self._image = _counter(registry, "image_tokens", "Those of them that stand for pictures.")
        self._completion = _counter(registry, "completion_tokens", "Tokens of answers.")

    def rejected(self, reason: str) -> None:
        """A request was refused; `reason` is one of few words."""
        self._rejections.labels(reason).inc()

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request is over; `route` is its template."""
        self._requests.labels(route, method, str(status)).inc()
        self._request_seconds.labels(route).observe(seconds)

    def answered(self, reply: Reply) -> None:
        """An answer is over."""
        self.used(reply.usage)
        self._answers.labels(reply.finish_reason).inc()
        timings = reply.timings
        self._queued.observe(timings.queued)
        if timings.completion_tokens:
            self._first.observe(timings.first_token)
        if rate := timings.tokens_per_second:
            self._rate.observe(rate)
            self._between.observe(1 / rate)

    def failed(self) -> None:
        """The engine failed on an answer."""
        self._answers.labels("failed").inc()

    def used(self, usage: Usage) -> None:
        """These tokens were read and written, whatever for."""
        add_usage(usage)
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._image.inc(usage.image_tokens)
        self._completion.inc(usage.completion_tokens)

    def render(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _EngineCollector:
    """The engine's counters and its load, read when they are asked for."""

    def __init__(self, engine: Engine):
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        running, waiting = self._engine.load
        yield GaugeMetricFamily("sightline_answers_running", "Answers in the batch.", running)
        yield GaugeMetricFamily("sightline_answers_waiting", "Answers that wait for a place in it.", waiting)
        stats = self._engine.stats
        for key, (name, text) in _ENGINE.items():
            yield CounterMetricFamily(f"sightline_{name}", text, stats[key])


def _counter(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Counter:
    return Counter(f"sightline_{name}", text, labels, registry=registry)


def _histogram(
    registry: CollectorRegistry, name: str, text: str, buckets: tuple[float, ...], *labels: str
) -> Histogram:
    return Histogram(f"sightline_{name}", text, labels, buckets=buckets, registry=registry)
