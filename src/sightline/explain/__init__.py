"""What a model looked at: for every word of an answer its attention to the patches, and what hiding them costs it."""

from sightline.explain.explaining import explain
from sightline.explain.explanation import Explanation, Word

__all__ = ["Explanation", "Word", "explain"]
