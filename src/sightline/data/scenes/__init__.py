"""The built-in world of drawn things and shapes: `World` makes pictures, questions and answers."""

from sightline.data.scenes.atlas import ARTISTS, HELD_OUT_ARTIST, TRAIN_ARTISTS
from sightline.data.scenes.questions import KINDS
from sightline.data.scenes.regions import Regions
from sightline.data.scenes.world import World

__all__ = ["ARTISTS", "HELD_OUT_ARTIST", "KINDS", "TRAIN_ARTISTS", "Regions", "World"]
