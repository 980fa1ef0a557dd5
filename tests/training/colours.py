"""Rows that only a picture answers: squares of a colour, each asked about twice, and a few rows of words alone."""

import json
import random

from PIL import Image

COLOURS = {"Red.": (220, 30, 30), "Green.": (30, 190, 40), "Blue.": (40, 50, 220)}


def write_colours(folder, count=45, texts=6):
    """`rows.jsonl` with pictures beside it; its path."""
    draw, lines = random.Random(3), []
    for number in range(count):
        name, colour = draw.choice(list(COLOURS.items()))
        shade = tuple(max(0, min(255, channel + draw.randint(-30, 30))) for channel in colour)
        Image.new("RGB", (32, 32), shade).save(folder / f"{number}.png")
        for question in ("Which colour?", "What is it?"):
            lines.append({"image": f"{number}.png", "question": question, "answer": name})
    lines += [{"question": f"Say {number}.", "answer": f"{number}"} for number in range(texts)]
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sections(path, **train):
    """A recipe's `data` and `train` for these rows, with a third held out and looks at them."""
    data = {"world": {"weight": 0}, "held_out": "auto", "files": [{"path": str(path)}]}
    return {"data": data, "train": {"eval_every": 1, "early_stopping": {"patience": 2}, **train}}
