"""Make a small data set that needs no download: scikit-learn's handwritten digits, photographed onto backgrounds.

    pip install scikit-learn
    python examples/photographed_digits.py digits

`digits/train` and `digits/test` then hold pictures and a `metadata.csv` with two questions about each: the tutorial
(docs/tutorial.md) tunes the default model on them. The digits are Alpaydin and Kaynak's (1998; CC BY 4.0), of which the
built-in world has most, drawn otherwise: in `test` are only those that the default model has never been trained on.
"""

import argparse
import csv
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from sklearn.datasets import load_digits

from sightline.data.scenes.digits import TEST_EVERY  # the world's sheet has the same digits in the same order

SIDE = 160  # pixels of a picture


def photographed(digit: np.ndarray, rng: random.Random) -> Image.Image:
    """A digit, float [8, 8] from 0 (paper) to 16 (ink), as if a phone had seen it lie on a table."""
    table = tuple(rng.randrange(40, 230) for _ in range(3))
    picture = Image.new("RGB", (SIDE, SIDE), table)
    grain = Image.effect_noise((SIDE, SIDE), rng.uniform(10, 60)).convert("RGB")
    picture = Image.blend(picture, grain, 0.2)
    card = rng.randrange(70, 130)
    paper = Image.fromarray((255 - digit * 15).astype(np.uint8)).resize((card, card), Image.Resampling.BICUBIC)
    turn = rng.uniform(-15, 15)
    mask = Image.new("L", paper.size, 255).rotate(turn, expand=True)
    corner = tuple(rng.randrange(SIDE - side) if side < SIDE else 0 for side in mask.size)
    picture.paste(paper.rotate(turn, Image.Resampling.BICUBIC, expand=True).convert("RGB"), corner, mask)
    return picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--count", type=int, default=1000, help="pictures, 1797 at most")
    given = parser.parse_args()
    rng = random.Random(0)
    chosen = rng.sample(range(len(load_digits().target)), given.count)
    for side, held_out in (("train", False), ("test", True)):
        write(given.out / side, [number for number in chosen if (number % TEST_EVERY == 0) == held_out], rng)


def write(folder: Path, numbers: Sequence[int], rng: random.Random) -> None:
    """The digits of these numbers, photographed, and what is asked about them."""
    folder.mkdir(parents=True)
    digits = load_digits()
    with open(folder / "metadata.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "question", "answer"])
        for number in numbers:
            name, label = f"{number:04d}.png", int(digits.target[number])
            photographed(digits.images[number], rng).save(folder / name)
            table.writerow([name, "Which digit is written on the paper?", label])
            table.writerow([name, "Is it even or odd?", "even" if label % 2 == 0 else "odd"])


if __name__ == "__main__":
    main()
