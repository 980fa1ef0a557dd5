"""Draw the pictures in examples/, and the README's picture of what the default model answers about them.

python tools/make_examples.py pictures            # examples/*.png, from the world's test split
python tools/make_examples.py answers             # docs/images/answers.png, asked of sightline-tiny now
"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

ROOT = Path(__file__).parent.parent
# File name -> (layout, number of the picture in the test split).
PICTURES = {"scene": ("scatter", 14), "grid": ("grid", 0), "single": ("single", 1), "shapes": ("scatter", 19)}
QUESTIONS = {
    "scene": ("Describe the picture.", "What is in the centre?"),
    "grid": ("List everything, row by row.",),
    "single": ("What is this?",),
    "shapes": ("How many objects are there?", "Describe the picture."),
}
SIZE, MARGIN, LINE = 448, 24, 30


def draw_pictures() -> None:
    """Render each example at twice the model's resolution, as a user's picture would be."""
    from sightline.data.scenes import World

    world = World(seed=7, split="test", things=64, languages=("en",), image_size=SIZE)
    for name, (layout, index) in PICTURES.items():
        world.sample(index, layout=layout)["images"][0].save(ROOT / "examples" / f"{name}.png", optimize=True)


def draw_answers() -> None:
    """Two by two: each picture with its questions and the model's own answers."""
    import sightline

    engine = sightline.Engine(*sightline.load())
    cell = (2 * SIZE + 3 * MARGIN, SIZE // 2 + 2 * MARGIN)
    sheet = Image.new("RGB", (cell[0], len(QUESTIONS) * cell[1]), "white")
    for row, (name, questions) in enumerate(QUESTIONS.items()):
        picture = Image.open(ROOT / "examples" / f"{name}.png").convert("RGB")
        sheet.paste(picture.resize((SIZE // 2, SIZE // 2)), (MARGIN, row * cell[1] + MARGIN))
        lines: list[tuple[str, str]] = []
        for question in questions:
            content = [{"type": "image", "image": picture}, {"type": "text", "text": question}]
            answer = engine.chat([{"role": "user", "content": content}], max_new_tokens=96)
            lines += [("#2563eb", question), *(("black", line) for line in _wrapped(answer.text, 56)), ("black", "")]
        _write(sheet, lines, (SIZE // 2 + 2 * MARGIN, row * cell[1] + MARGIN))
    sheet.save(ROOT / "docs" / "images" / "answers.png", optimize=True)


def _write(sheet: Image.Image, lines: list[tuple[str, str]], at: tuple[int, int]) -> None:
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(21)
    for number, (colour, line) in enumerate(lines):
        draw.text((at[0], at[1] + number * LINE), line, fill=colour, font=font)


def _wrapped(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width) or [""]


if __name__ == "__main__":
    {"pictures": draw_pictures, "answers": draw_answers}[sys.argv[1]]()
