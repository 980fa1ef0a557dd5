"""The largest difference between our logits and transformers', family by family: `python benchmarks/parity.py`.

The models are those of tests/parity: random weights everywhere, float32, a left-padded batch; for Llava two images.
Exits with 1 where a difference is above the limit.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import torch

from sightline.interop.language import causal_lm_from_transformers
from sightline.interop.llava import vlm_from_llava

LIMIT = 1e-4
TESTS = Path(__file__).parent.parent / "tests" / "parity"


@torch.no_grad()
def language_deltas() -> dict[str, float]:
    """Of each text family."""
    tests = runpy.run_path(str(TESTS / "test_language.py"))
    tokens, mask = tests["padded_batch"]("left")
    deltas = {}
    for name, config in tests["CONFIGS"].items():
        theirs = tests["randomised"](config)
        ours = causal_lm_from_transformers(theirs)
        one, other = (model(tokens, attention_mask=mask).logits[mask.bool()] for model in (ours, theirs))
        deltas[name] = (one - other).abs().max().item()
    return deltas


@torch.no_grad()
def llava_deltas() -> dict[str, float]:
    """Of each tower with a text family."""
    tests = runpy.run_path(str(TESTS / "test_llava.py"))
    torch.manual_seed(1)
    pixels = torch.randn(2, 3, 12, 12)
    tokens = torch.randint(3, 80, (2, 20))
    tokens[:, 4 : 4 + tests["PATCHES"]] = tests["IMAGE"]
    deltas = {}
    for name, config in tests["CONFIGS"].items():
        theirs = tests["randomised"](config)
        ours = vlm_from_llava(theirs)
        one, other = (model(input_ids=tokens, pixel_values=pixels).logits for model in (ours, theirs))
        deltas[f"llava {name}"] = (one - other).abs().max().item()
    return deltas


if __name__ == "__main__":
    deltas = language_deltas() | llava_deltas()
    for name, delta in deltas.items():
        print(f"{name:<32} max |delta logit| {delta:.1e}")
    too_far = [name for name, delta in deltas.items() if not delta <= LIMIT]  # NaN is no number within it
    print(f"limit {LIMIT:.0e}: {'TOO FAR: ' + ', '.join(too_far) if too_far else 'ok'}")
    sys.exit(bool(too_far))
