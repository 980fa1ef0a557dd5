"""What a model's tower reads by itself: letters, handwritten digits and things, from the mean of a region's patches.

python benchmarks/region_reading.py [MODEL] [PICTURES]

The language model's last norm and head, as in training by words, choose among all letters and digits, or among the
last words of all things; no block of the language model takes part. Pictures are unseen, and handwritten digits are
those kept from training.
"""

from __future__ import annotations

import random
import string
import sys

import torch

import sightline
from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.composing import random_scene
from sightline.data.scenes.panels import PANELS
from sightline.data.scenes.render import posed, render
from sightline.data.scenes.scene import Thing
from sightline.data.scenes.stock import Stock
from sightline.training.contrast import patch_weights

CHARACTERS = string.ascii_letters + string.digits


@torch.no_grad()
def read(model: sightline.VLM, processor: sightline.VLMProcessor, layout: str, pictures: int) -> tuple[int, int]:
    """How many single characters are read rightly, and how many there are."""
    candidates = string.digits if layout == "digits" else CHARACTERS
    ids = [processor.tokenizer(one, add_special_tokens=False)["input_ids"][0] for one in candidates]
    unseen = ("digit",) if layout == "digits" else ()
    right = total = 0
    for number in range(pictures):
        panel = PANELS[layout].random(random.Random(f"region reading {number}"), unseen)
        # Print and charts quote their letters; a digit's name ends with it.
        named = [(box, text.split()[-1] if unseen else text[1:-1]) for box, text in panel.regions("en")]
        regions = [(box, text) for box, text in named if text in set(candidates)]
        pixels = processor.image_processor([panel.draw(224)], return_tensors="pt")["pixel_values"]
        patches = model.vision_proj(model.encode_images(pixels))[0]
        weights = patch_weights([box for box, _ in regions], round(len(patches) ** 0.5))
        chosen = model.lm_head(model.model.norm(weights @ patches))[:, ids].argmax(-1)
        right += sum(candidates[one] == text for one, (_, text) in zip(chosen.tolist(), regions, strict=True))
        total += len(regions)
    return right, total


@torch.no_grad()
def name_things(model: sightline.VLM, processor: sightline.VLMProcessor, layout: str, pictures: int) -> tuple[int, int]:
    """How many things of scenes are named rightly, and how many there are."""
    tokens = {
        noun.id: processor.tokenizer(f" {noun.en}", add_special_tokens=False)["input_ids"][-1] for noun in nouns()
    }
    ids = list(dict.fromkeys(tokens.values()))
    stock, right, total = Stock(), 0, 0
    for number in range(pictures):
        scene = random_scene(random.Random(f"region reading {number}"), layout, stock=stock)
        things = [item for item in posed(scene).objects if isinstance(item, Thing)]
        if not things:
            continue
        pixels = processor.image_processor([render(scene, 224)], return_tensors="pt")["pixel_values"]
        patches = model.vision_proj(model.encode_images(pixels))[0]
        weights = patch_weights([item.box for item in things], round(len(patches) ** 0.5))
        chosen = model.lm_head(model.model.norm(weights @ patches))[:, ids].argmax(-1)
        right += sum(ids[one] == tokens[item.name] for one, item in zip(chosen.tolist(), things, strict=True))
        total += len(things)
    return right, total


def main(name: str = "sightline-tiny", pictures: str = "120") -> None:
    model, processor = sightline.load(name, device="cpu", dtype="float32")
    model.eval()
    for layout in ("printed", "digits", "bars", "pie"):
        right, total = read(model, processor, layout, int(pictures))
        print(f"{layout:8} {right / total:6.1%} of {total:,}")
    for layout in ("single", "two", "scatter", "grid"):
        right, total = name_things(model, processor, layout, int(pictures))
        print(f"{layout:8} {right / total:6.1%} of {total:,} things")


if __name__ == "__main__":
    main(*sys.argv[1:])
