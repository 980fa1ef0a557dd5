"""Exact match of a model on unseen scenes of the built-in world, by kind of question.

    python benchmarks/accuracy.py [MODEL] [--per-kind 500] [--artist openmoji] [--json FILE]

`--artist openmoji` draws with the artist that no training picture comes from. Every figure is greedy, one
question a picture, with its 95 % interval. It prints a table and, with --json, writes the same numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import transformers

import sightline
from sightline.data.scenes import HELD_OUT_ARTIST, KINDS, TRAIN_ARTISTS, World
from sightline.evaluation.scenes import evaluate_kind, wilson_interval


def main() -> None:
    arguments = _arguments()
    transformers.utils.logging.disable_progress_bar()
    model, processor = sightline.load(arguments.model)
    artists = (HELD_OUT_ARTIST,) if arguments.artist == HELD_OUT_ARTIST else TRAIN_ARTISTS
    world = World(seed=1, split="test", artists=artists, things=arguments.things)
    started = time.perf_counter()
    rows = {}
    for kind in arguments.kinds:
        for language in ("en", "zh"):
            score = evaluate_kind(model, processor, world, kind, language, arguments.per_kind)
            low, high = wilson_interval(score.right, score.total)
            rows[f"{kind}/{language}"] = {"right": score.right, "total": score.total, "mistakes": score.mistakes}
            share = f"{100 * score.accuracy:5.1f} %  ({100 * low:.1f} to {100 * high:.1f})"
            print(f"{kind:<13} {language}  {share}   {score.right}/{score.total}", flush=True)
    right, total = (sum(row[key] for row in rows.values()) for key in ("right", "total"))
    seconds = time.perf_counter() - started
    print(f"{'all':<17} {100 * right / total:5.1f} %   {right}/{total}, {total / seconds:.1f} questions/s")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="sightline-tiny")
    parser.add_argument("--per-kind", type=int, default=500, help="scenes a kind and language")
    parser.add_argument("--artist", choices=("trained", HELD_OUT_ARTIST), default="trained")
    parser.add_argument("--kinds", nargs="+", choices=tuple(KINDS), default=tuple(KINDS))
    parser.add_argument("--things", type=int, default=64, help="how many of the world's things appear")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
