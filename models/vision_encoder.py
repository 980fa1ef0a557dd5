"""The design document's import path, `from models.vision_encoder import VLM, VLLMconfig`, in a checkout.

It defines nothing: the model is `sightline.nn`'s. From an installed package, import from there.
"""

import importlib.util
import sys
from pathlib import Path

# A folder of that name, as an installation leaves for its recipes, is found too, but has no origin.
if (found := importlib.util.find_spec("sightline")) is None or found.origin is None:
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from sightline.config import VLLMconfig
from sightline.nn.projector import VisionEncoder
from sightline.nn.vlm import VLM

__all__ = ["VLM", "VLLMconfig", "VisionEncoder"]
