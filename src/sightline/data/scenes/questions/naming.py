"""Questions about what there is: its name, a list, a description, whether something is there at all."""

from sightline.data.scenes.inclusion import takes_in
from sightline.data.scenes.language import counted, enumerated, indefinite, join, sentence, summed
from sightline.data.scenes.questions.asking import Asking, Kind, QuestionAnswer, absent
from sightline.data.scenes.scene import SHAPES, Identity, Scene

__all__ = ["NAMING"]

MOST_COUNTED = 3  # objects of which a short description says how many there are of each name
SHORT_NAMES = 3


def _name(scene: Scene, asking: Asking) -> QuestionAnswer:
    return asking.phrase("name"), asking.say(scene.objects[0])


def _list(scene: Scene, asking: Asking) -> QuestionAnswer:
    return asking.phrase("list"), asking.listed(scene) + ("." if asking.language == "en" else "")


def _describe(scene: Scene, asking: Asking) -> QuestionAnswer:
    clauses = []
    for item in scene.objects:
        what, where = indefinite(item.identity, asking.language, item.size), asking.place(item)
        clauses.append(f"{what} {where}" if asking.language == "en" else f"{where}是{what}")
    return asking.phrase("describe"), sentence(join(clauses, asking.language), asking.language)


def _describe_short(scene: Scene, asking: Asking) -> QuestionAnswer:
    """`A duck and two cats.`, `Nine ducks.`, `Nine objects, each a duck or a cat.`, `Nine objects, among them a ...`"""
    language, total = asking.language, len(scene.objects)
    names = list(dict.fromkeys(item.identity for item in scene.objects))  # in the order of their first appearance
    if total <= MOST_COUNTED or len(names) == 1:
        told = enumerated([counted(one, scene.count(one), language) for one in names], language)
    else:
        told = summed(total, names[:SHORT_NAMES], language, is_all=len(names) <= SHORT_NAMES)
    return asking.phrase("describe_short"), sentence(told, language)


def _exists(scene: Scene, asking: Asking) -> QuestionAnswer:
    holds = asking.rng.random() < 0.5
    identity = asking.rng.choice(scene.objects).identity if holds else absent(scene, asking)
    if not identity:
        return None
    if identity[0] == "shape" and asking.rng.random() < 0.25:
        identity = _any_colour(scene, asking, holds) or identity
    return asking.phrase("exists", identity), asking.yes_no("has", holds)


def _any_colour(scene: Scene, asking: Asking, holds: bool) -> Identity | None:
    """A shape of whatever colour, which is in the scene or not."""
    present = {item.identity for item in scene.objects}
    shapes = [("shape", "", shape) for shape in SHAPES if not takes_in(("shape", "", shape), present)]
    fitting = [shape for shape in shapes if (scene.count(shape) > 0) == holds]
    return asking.rng.choice(fitting) if fitting else None


NAMING = {
    "name": Kind(_name, ("single",), most=1),
    "list": Kind(_list, ("grid",), most=1),
    "describe": Kind(_describe, ("two", "scatter"), most=1),
    "describe_short": Kind(_describe_short, ("single", "two", "scatter", "grid"), most=1),
    "exists": Kind(_exists, ("single", "two", "scatter", "grid"), most=3),
}
