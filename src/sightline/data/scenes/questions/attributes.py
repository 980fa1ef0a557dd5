"""Questions about what a shape is like: colour, shape and size. Drawn things change their tone and are not asked."""

from sightline.data.scenes.language import SHAPE_WORDS, SIZE_WORDS, indefinite, sentence
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer
from sightline.data.scenes.scene import SIZES, Scene, Shape

__all__ = ["ATTRIBUTES", "size_words"]

AT_PLACE_SHARE = 0.5  # of the questions that may name a place in place of the shape


def _at_place(scene: Scene, asking: Asking) -> bool:
    return scene.layout != "single" and asking.rng.random() < AT_PLACE_SHARE


def _colour(scene: Scene, asking: Asking) -> QuestionAnswer:
    if _at_place(scene, asking):
        alone, key = scene.shapes, "colour/place"
    else:
        alone, key = [item for item in scene.shapes if scene.count(("shape", "", item.shape)) == 1], "colour"
    if not alone:
        return None
    item = asking.rng.choice(alone)
    question = asking.phrase(key, ("shape", "", item.shape), place=asking.place(item))
    return question, sentence(asking.colour(item.colour), asking.language)


def _shape(scene: Scene, asking: Asking) -> QuestionAnswer:
    if _at_place(scene, asking):
        alone, key = scene.shapes, "shape/place"
    else:
        alone, key = [item for item in scene.shapes if scene.count(("shape", item.colour, "")) == 1], "shape"
    if not alone:
        return None
    item = asking.rng.choice(alone)
    question = asking.phrase(key, colour=asking.colour(item.colour), place=asking.place(item))
    return question, sentence(_bare(item, asking.language), asking.language)


def _bare(item: Shape, language: str) -> str:
    """`a circle`; 圆形."""
    return SHAPE_WORDS["zh"][item.shape] if language == "zh" else indefinite(("shape", "", item.shape), "en")


def _size(scene: Scene, asking: Asking) -> QuestionAnswer:
    if _at_place(scene, asking):
        alone, key = scene.shapes, "size/place"
    else:
        alone, key = [item for item in scene.unique() if isinstance(item, Shape)], "size"
    if not alone:
        return None
    item = asking.rng.choice(alone)
    question = asking.phrase(key, item.identity, place=asking.place(item), **size_words(asking))
    return question, sentence(SIZE_WORDS[asking.language][item.size], asking.language)


def size_words(asking: Asking) -> dict[str, str]:
    """The two sizes to choose from, in either order."""
    first, second = (SIZE_WORDS[asking.language][size] for size in asking.rng.sample(SIZES, 2))
    return {"first": first, "second": second, "First": first.capitalize()}


ATTRIBUTES = {
    "colour": Kind(_colour, ("single", "two", "scatter", "grid"), axes=("combination", "phrasing")),
    "shape": Kind(_shape, ("single", "two", "scatter", "grid"), axes=("combination", "phrasing")),
    "size": Kind(_size, ("scatter", "grid"), axes=("combination", "phrasing")),
}
