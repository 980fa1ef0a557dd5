"""Rebuild the sheet of handwritten digits in src/sightline/assets/digits from scikit-learn's copy of them.

    python tools/build_digits.py

It needs `pip install '.[assets]'` (scikit-learn). The digits stay 8 x 8 pixels of 17 levels, in the order of
the source; labels.txt names them in that order. This file does not know which of them are for training.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

from sightline.data.scenes.digits import COLUMNS, LEVELS, SIDE

CREDITS = """# Credits

`digits.png` holds the 1,797 test digits of *Optical Recognition of Handwritten Digits*, written by 13 people:
E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, 1998, https://doi.org/10.24432/C50P49, under
[CC BY 4.0](LICENSE-CC-BY-4.0.txt). The copy is the one that scikit-learn distributes (`sklearn.datasets.load_digits`).

What was changed: gathered in one picture, 17 levels of ink written as {step} x level. At run time they are enlarged,
coloured and turned a little. Every fifth one is kept for testing.
"""


def build_sheet(images: np.ndarray) -> Image.Image:
    """The digits, [count, SIDE, SIDE] of 0 to LEVELS, row by row in one picture."""
    rows = -(-len(images) // COLUMNS)
    tiles = np.zeros((rows * COLUMNS, SIDE, SIDE), dtype=np.uint8)
    tiles[: len(images)] = images * (255 // LEVELS)
    sheet = tiles.reshape(rows, COLUMNS, SIDE, SIDE).transpose(0, 2, 1, 3).reshape(rows * SIDE, COLUMNS * SIDE)
    return Image.fromarray(sheet)


def main() -> None:
    from sklearn.datasets import load_digits

    parser = argparse.ArgumentParser(description="Rebuild the sheet of handwritten digits.")
    default_out = Path(__file__).parents[1] / "src/sightline/assets/digits"
    parser.add_argument("--out", type=Path, default=default_out, help="where the sheet goes")
    out = parser.parse_args().out

    out.mkdir(parents=True, exist_ok=True)
    digits = load_digits()
    build_sheet(digits.images).save(out / "digits.png", optimize=True)
    (out / "labels.txt").write_text("".join(map(str, digits.target)) + "\n", encoding="utf-8")
    (out / "CREDITS.md").write_text(CREDITS.format(step=255 // LEVELS), encoding="utf-8")
    atlas = default_out.parent / "atlas"
    (out / "LICENSE-CC-BY-4.0.txt").write_bytes((atlas / "LICENSE-CC-BY-4.0.txt").read_bytes())
    print(f"{len(digits.target)} digits, {(out / 'digits.png').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
