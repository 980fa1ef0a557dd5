"""The answers are true: each is worked out again from the scene, by other means than the generator's."""

import random
import re
from collections import Counter
from functools import cache
from itertools import permutations, product

import pytest

from sightline.data.scenes.composing import random_pair, random_scene
from sightline.data.scenes.language import (
    COLOUR_WORDS,
    LANGUAGES,
    ORDINALS,
    PLACES,
    RELATIONS,
    definite,
    indefinite,
    name,
    plural,
    sentence,
)
from sightline.data.scenes.phrasings import PHRASINGS
from sightline.data.scenes.questions import KINDS, Asking, ask
from sightline.data.scenes.questions.asking import YES_NO, absent
from sightline.data.scenes.scene import CELLS, COLOURS, SHAPES, Scene, Shape, Thing

PAIRS = [random_pair(random.Random(number)) for number in range(150)]
SCENES = [
    random_scene(random.Random(number), layout)
    for number, layout in product(range(120), ("single", "two", "scatter", "grid"))
]


@cache
def asked(kind, language):
    """Scene, question and answer, wherever the kind applies; a dialogue's turns one after the other."""
    found = []
    for number, picture in enumerate([*SCENES, *PAIRS]):
        if picture.layout in KINDS[kind].layouts:
            turns = ask(kind, picture, Asking(random.Random(number), language))
            found += [(picture, *turn) for turn in turns[:1]]
    assert len(found) >= 15, "too few to test"
    return found


def test_nothing_absent_is_asked_about_where_all_is_there(monkeypatch):
    for module in ("naming", "dialogue"):
        monkeypatch.setattr(f"sightline.data.scenes.questions.{module}.absent", lambda *_: ())
    answers = set()
    for number, scene in enumerate(SCENES):
        answers |= {answer for _, answer in ask("exists", scene, Asking(random.Random(number), "en"))}
        ask("unanswerable", scene, Asking(random.Random(number), "en"))
    assert answers == {"Yes."}


@pytest.mark.parametrize("sort", ["shape", "thing"])
def test_what_is_absent_need_not_be_near_to_what_is_there(sort):
    """No other held-out shape has the colour or the shape of a red circle, and a small vocabulary one animal."""
    there = (
        Shape("red", "circle", "large", 1, 1, 0.5, 0.5, 0.2)
        if sort == "shape"
        else Thing("duck", "noto", 1, 1, 0.5, 0.5, 0.3)
    )
    scene = Scene("scatter", (there,), 0, ("duck", "car"))
    found = {absent(scene, Asking(random.Random(number), "en", "combination"), sort) for number in range(20)}
    assert {name[0] for name in found} == {sort}
    assert there.identity not in found


def mentioned(question, words):
    """The longest of `words` (values) that the question contains as a whole, by key."""
    found = [
        (len(word), key)
        for key, word in words.items()
        if re.search(rf"(?<![a-zA-Z]){re.escape(word)}(?![a-zA-Z])", question)
    ]
    return max(found)[1]


def longest(question, words):
    """As `mentioned`, for Chinese, which has no spaces."""
    return max((len(word), key) for key, word in words.items() if word in question)[1]


def named(question, words, language):
    return (mentioned if language == "en" else longest)(question, words)


def identities(scene):
    """Every name that a question may hold, those of any colour among them."""
    shapes = [("shape", colour, shape) for colour in ("", *COLOURS) for shape in SHAPES]
    return [("thing", thing) for thing in scene.vocabulary] + shapes


def fits(item, identity):
    if identity[0] == "thing":
        return item.identity == identity
    return isinstance(item, Shape) and identity[1] in ("", item.colour) and identity[2] in ("", item.shape)


def filled(kind, language, **fields):
    return {phrasing.format(**fields) for phrasing in PHRASINGS[kind][language]}


def spoken_place(answer, language):
    return next(cell for cell in CELLS if sentence(PLACES[language][cell[0]][cell[1]], language) == answer)


def tallied(scene, answer, language):
    """The objects that are numbered in the list of all before the number, which must be how many they are."""
    told, count = answer.split({"en": ": ", "zh": "："}[language])
    numbers = [re.search(r"[(（](.)[)）]$", part) for part in told.split({"en": ", ", "zh": "、"}[language])]
    assert [found[1] for found in numbers if found] == [str(number + 1) for number in range(int(count))]
    assert re.sub(r" ?[(（].[)）]", "", told).lower() == listed_in(scene, language).lower()
    return [item for item, found in zip(scene.objects, numbers, strict=True) if found]


def listed_in(scene, language):
    """`a duck, a cat`; 鸭子、猫."""
    if language == "zh":
        return "、".join(name(item.identity, "zh") for item in scene.objects)
    return ", ".join(names_in(scene, "en"))


@pytest.mark.parametrize("kind", ["count_thing", "count_both", "count_shape"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_counts_by_name_match_a_recount(kind, language):
    for scene, question, answer in asked(kind, language):
        wanted = named(question, {identity: plural(identity, language) for identity in identities(scene)}, language)
        assert tallied(scene, answer, language) == [item for item in scene.objects if fits(item, wanted)], question


@pytest.mark.parametrize("language", LANGUAGES)
def test_counts_of_all_and_by_colour_match_a_recount(language):
    for scene, question, answer in asked("count_colour", language):
        colour = next(key for key, word in COLOUR_WORDS[language].items() if word in question)
        wanted = [item for item in scene.objects if getattr(item, "colour", None) == colour]
        assert tallied(scene, answer, language) == wanted
    for scene, _, answer in asked("count_all", language):
        assert answer == str(len(scene.objects))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind].counts])
def test_counts_run_from_none_to_many(kind):
    counts = Counter(len(tallied(scene, answer, "en")) for scene, _, answer in asked(kind, "en"))
    assert counts[0]
    assert max(counts.values()) < 0.6 * counts.total()
    assert sum(counts[many] for many in range(3, 10)) >= 0.08 * counts.total()


@pytest.mark.parametrize("kind", ["where", "relation", "beside", "nearest"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_an_object_asked_for_by_name_is_the_only_one_so_called(kind, language):
    for scene, question, _ in asked(kind, language):
        present = {item.identity: name(item.identity, language) for item in scene.objects}
        whole = max((word for word in present.values() if word in question), key=len)
        assert [name(item.identity, language) for item in scene.objects].count(whole) == 1, question


@pytest.mark.parametrize("language", LANGUAGES)
def test_where_and_at_place_agree_with_the_cells(language):
    for scene, question, answer in asked("where", language):
        item = scene.at(*spoken_place(answer, language))
        assert name(item.identity, language) in question
    places = {cell: PLACES[language][cell[0]][cell[1]] for cell in CELLS}
    for scene, question, answer in asked("at_place", language):
        item = scene.at(*longest(question, places))
        nothing = {"en": "Nothing.", "zh": "什么都没有。"}[language]
        assert answer == (sentence(indefinite(item.identity, language), language) if item else nothing)
        assert item or scene.layout == "scatter"


def relation_questions(one, other, relation, language):
    """Every way to ask whether `one` is in a relation to `other`."""
    words = {"the": definite(one.identity, language), "name": name(one.identity, language)}
    return filled(
        "relation",
        language,
        other=definite(other.identity, language),
        relation=RELATIONS[language][relation],
        **words,
    )


def holds(one, other, relation):
    return {"left": one.x < other.x, "right": one.x > other.x, "above": one.y < other.y, "below": one.y > other.y}[
        relation
    ]


@pytest.mark.parametrize("language", LANGUAGES)
def test_relations_hold_between_the_objects_centres(language):
    for scene, question, answer in asked("relation", language)[:150]:
        readings = [
            (one, other, relation)
            for one, other in permutations(scene.objects, 2)
            for relation in RELATIONS[language]
            if question in relation_questions(one, other, relation, language)
        ]
        assert len(readings) == 1, question
        assert answer == YES_NO["is"][language][holds(*readings[0])], question


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_beside_is_the_only_one_on_that_side(language):
    for scene, question, answer in asked("beside", language):
        relation = next(key for key, word in RELATIONS[language].items() if word in question)
        item = scene.objects[
            named(question, {n: name(one.identity, language) for n, one in enumerate(scene.objects)}, language)
        ]
        across = relation in ("left", "right")
        there = [
            other
            for other in scene.objects
            if holds(other, item, relation) and (other.col != item.col if across else other.row != item.row)
        ]
        level = [other for other in there if (other.row == item.row if across else other.col == item.col)]
        answers = [sentence(indefinite(other.identity, language), language) for other in level or there]
        assert [answer] == (answers or [{"en": "Nothing.", "zh": "什么都没有。"}[language]]), question


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_nearest_object_is_nearer_than_all_others(language):
    for scene, question, answer in asked("nearest", language):
        item = scene.objects[
            named(question, {n: name(one.identity, language) for n, one in enumerate(scene.objects)}, language)
        ]
        others = [other for other in scene.objects if other is not item]
        others.sort(key=lambda other: (other.x - item.x) ** 2 + (other.y - item.y) ** 2)
        called, place = definite(item.identity, language), PLACES[language][item.row][item.col]
        told = sentence({"en": f"{called} is {place}", "zh": f"{called}在{place}"}[language], language)
        assert answer.startswith(told)
        *empty, found = answer.removeprefix(told).strip().split({"en": ", ", "zh": "，"}[language])
        result, there = indefinite(others[0].identity, language), PLACES[language][others[0].row][others[0].col]
        said = sentence({"en": f"{there} is {result}", "zh": f"{there}是{result}"}[language], language)
        assert found.lower() == said.lower()
        assert [said.lower() for said in empty] == empty_before(scene, item, others[0], language)


def empty_before(scene, item, found, language):
    """`on the left nothing`: the places nearer to `item` than `found` is, and as near ones that are read sooner."""

    def far(cell):
        return (cell[0] - item.row) ** 2 + (cell[1] - item.col) ** 2, cell

    sooner = sorted(
        (cell for cell in CELLS if cell != (item.row, item.col) and far(cell) < far((found.row, found.col))), key=far
    )
    assert not any(scene.at(*cell) for cell in sooner)
    places = [PLACES[language][row][col] for row, col in sooner]
    return [f"{place} nothing" if language == "en" else f"{place}没有" for place in places]


@pytest.mark.parametrize("language", LANGUAGES)
def test_exists_says_yes_exactly_for_what_is_there(language):
    for scene, question, answer in asked("exists", language):
        wanted = named(question, {identity: name(identity, language) for identity in identities(scene)}, language)
        assert answer == YES_NO["has"][language][any(fits(item, wanted) for item in scene.objects)], question


def shapes_meant(scene, question):
    """The shapes that a question speaks of: by place, or by what it says of colour and outline."""
    places = {cell: PLACES["en"][cell[0]][cell[1]] for cell in CELLS if PLACES["en"][cell[0]][cell[1]] in question}
    if places:
        return [scene.at(*longest(question, places))]
    said = [word for word in (*COLOURS, *SHAPES) if re.search(rf"\b{word}\b", question)]
    return [
        item
        for item in scene.objects
        if isinstance(item, Shape) and all(word in (item.colour, item.shape) for word in said)
    ]


@pytest.mark.parametrize("kind", ["colour", "shape", "size"])
def test_attributes_are_those_of_the_one_shape_meant(kind):
    for scene, question, answer in asked(kind, "en"):
        (item,) = shapes_meant(scene, question)
        if kind == "shape":
            assert answer == f"A {item.shape}."
        else:
            assert answer == getattr(item, kind).capitalize() + "."


def test_list_and_describe_name_everything_in_reading_order():
    for scene, _, answer in asked("list", "en"):
        assert answer == f"A{listed_in(scene, 'en')[1:]}."
    for scene, _, answer in asked("list", "zh"):
        assert answer == listed_in(scene, "zh")
    for scene, _, answer in asked("describe", "zh"):
        assert len(answer.split("，")) == len(scene.objects)
    for scene, _, answer in asked("describe", "en"):
        clauses = re.split(r", (?=a)| and (?=an? )", answer)
        assert len(clauses) == len(scene.objects), answer
    for scene in SCENES:
        cells = [(item.row, item.col) for item in scene.objects]
        assert cells == sorted(set(cells))


def test_short_descriptions_count_few_objects_by_name_and_tell_of_many_how_many_and_what_there_is():
    numbers = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
    forms = Counter()
    for scene, _, answer in asked("describe_short", "en"):
        every = [item.identity for item in scene.objects]
        names = list(dict.fromkeys(every))
        total, form, told = re.fullmatch(r"(?:(\w+) objects, (each|among them) )?(.*)\.", answer).groups()
        forms[form] += 1
        if form:
            parts = re.split(r", | or | and ", told)
            assert numbers[total.lower()] == len(every) > 3
            assert parts == [indefinite(one, "en") for one in names[:3]]
            assert (form == "each") == (" and " not in told) == (len(names) <= 3)
            continue
        singular = {name(identity, "en"): identity for identity in names}
        several = {plural(identity, "en"): identity for identity in names}
        counts = Counter()
        for part in re.split(r", | and ", told[0].lower() + told[1:]):
            number, _, noun = part.partition(" ")
            counts[singular[noun] if number in ("a", "an") else several[noun]] += numbers.get(number, 1)
        assert counts == Counter(every)
        assert len(every) <= 3 or len(names) == 1
    assert set(forms) == {None, "each", "among them"}


def test_short_descriptions_in_chinese_are_told_alike():
    forms = Counter()
    for scene, _, answer in asked("describe_short", "zh"):
        names = list(dict.fromkeys(item.identity for item in scene.objects))
        found = re.fullmatch(r"(.)个物体，(都是|其中有)(.*)。", answer)
        forms[found and found[2]] += 1
        if found:
            assert "零一两三四五六七八九".index(found[1]) == len(scene.objects) > 3
            assert re.split("、|或|和", found[3]) == [name(one, "zh") for one in names[:3]]
            assert (found[2] == "都是") == ("和" not in found[3]) == (len(names) <= 3)
    assert set(forms) == {None, "都是", "其中有"}


def test_more_compares_two_recounts():
    answers = Counter()
    for scene, question, answer in asked("more", "en"):
        names = {identity: plural(identity, "en") for identity in identities(scene)}
        names |= {("shape", colour, ""): f"{colour} shapes" for colour in COLOURS}
        first = named(question, names, "en")
        second = named(question.replace(names[first], ""), names, "en")
        counts = {names[one]: sum(fits(item, one) for item in scene.objects) for one in (first, second)}
        (_, low), (more, high) = sorted(counts.items(), key=lambda pair: pair[1])
        assert answer == ("The same number." if low == high else f"More {more}."), question
        answers[low == high] += 1
    assert answers[True]
    assert answers[False] > answers[True]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_larger_one_is_drawn_clearly_larger(language):
    for scene, question, answer in asked("larger", language):
        items = [item for item in scene.unique() if name(item.identity, language) in question]
        items.sort(key=lambda item: item.diameter)
        # A name may hold another's: hat, top hat.
        small, large = items[0], items[-1]
        wanted = small if re.search("small|小", re.sub("大还是小|小汽车|小鸡|小号", "", question)) else large
        assert answer == sentence(definite(wanted.identity, language), language), question
        assert large.diameter > 1.5 * small.diameter


def test_two_pictures_are_compared_by_what_they_hold():
    for pair, _, answer in asked("same_different", "en"):
        first, second = (Counter(item.identity for item in scene.objects) for scene in pair.scenes)
        assert told_apart(pair, answer, "added", totals=True) == ("Yes." if first == second else "No.")
    for kind, one, other in (("added", 1, 0), ("removed", 0, 1)):
        for pair, _, answer in asked(kind, "en"):
            names = [[indefinite(item.identity, "en") for item in scene.objects] for scene in pair.scenes]
            new = [what for what in names[one] if what not in names[other]]
            assert told_apart(pair, answer, kind) == sentence(new[0] if new else "nothing", "en")
            assert len(new) <= 1
    for pair, question, answer in asked("which_picture", "en"):
        wanted = mentioned(question, {identity: name(identity, "en") for identity in identities(pair.first)})
        held = [any(item.identity == wanted for item in scene.objects) for scene in pair.scenes]
        assert held == [answer == "The first.", answer == "The second."]
    for pair, question, answer in asked("in_picture", "zh"):
        number = 0 if ORDINALS["zh"][0] in question else 1
        assert re.split("、|和(?=一)", answer.removesuffix("。")) == names_in(pair.scenes[number], "zh")


def names_in(scene, language):
    return [indefinite(item.identity, language) for item in scene.objects]


def told_apart(pair, answer, kind, totals=False):
    """The result of a comparison, if what it follows from is all that the two pictures show, in reading order.

    Of the picture told last it is said of every object whether the other shows it, too.
    """
    shown, result = answer.split(". ")
    one, other = {"added": ("first", "second"), "removed": ("second", "first")}[kind]
    sides = re.fullmatch(f"The {one} shows (.*), the {other} (.*)", shown).groups()
    scenes = pair.scenes if kind == "added" else pair.scenes[::-1]
    known, others = (names_in(scene, "en") for scene in scenes)
    for side, names in zip(sides, (known, others), strict=True):
        told = side.removeprefix(f"{len(names)}: ") if totals else side
        assert (told != side) == totals
        noted = [f"{named} {'too' if named in known else 'only'}" for named in names]
        expected = names if side is sides[0] else noted
        assert re.split(", | and ", told) == expected
    return result


def test_same_and_different_are_balanced():
    answers = Counter(answer.split(". ")[1] for _, _, answer in asked("same_different", "en"))
    assert 0.3 < answers["Yes."] / answers.total() < 0.7


ANIMALS = "dog cat duck rabbit horse cow pig elephant fish butterfly lion frog monkey tiger turtle snake penguin bear"
NOT_ANIMALS = "apple car hammer drum sun cup key"


def test_categories_are_those_of_common_sense():
    from sightline.data.scenes.categories import belongs

    assert all(belongs(("thing", thing), "animal") for thing in ANIMALS.split())
    assert not any(belongs(("thing", thing), "animal") for thing in NOT_ANIMALS.split())
    assert belongs(("thing", "apple"), "fruit")
    assert belongs(("thing", "hamburger"), "food")
    assert belongs(("thing", "crab"), "food") is None  # some eat it
    assert belongs(("thing", "ghost"), "animal") is None
    assert belongs(("shape", "red", "circle"), "ball") is False


def test_which_one_is_of_a_category_has_one_answer():
    from sightline.data.scenes.categories import CATEGORIES, belongs

    for scene, question, answer in asked("category_which", "en"):
        category = next((key for key, row in CATEGORIES.items() if f" {row.a}" in question), "food")
        belonging = {item.identity: belongs(item.identity, category) for item in scene.objects}
        assert None not in belonging.values()
        assert answer == sentence(definite(next(key for key, is_in in belonging.items() if is_in), "en"), "en")
        assert sum(belongs(item.identity, category) for item in scene.objects) == 1


def test_the_odd_one_out_differs_from_all_others():
    from sightline.data.scenes.categories import CATEGORIES, belongs

    reasons = Counter()
    for scene, _, answer in asked("odd_one_out", "en"):
        common, called = re.fullmatch(r"All are (.*) but (.*)\.", answer).groups()
        (odd,) = [item for item in scene.objects if definite(item.identity, "en") == called]
        others = [item.identity for item in scene.objects if item is not odd]
        if len(set(others)) == 1:
            reasons["name"] += 1
            assert common == plural(others[0], "en")
        else:
            reasons["category"] += 1
            (key,) = [key for key, row in CATEGORIES.items() if row.plural == common]
            assert all(belongs(other, key) for other in others)
            assert belongs(odd.identity, key) is False
            # Strawberries and pears are fruits, not food.
            assert key == "fruit" or not all(belongs(other, "fruit") for other in others)
        assert len(others) >= 2
    assert set(reasons) == {"name", "category"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_question_about_what_is_not_there_is_answered_so(language):
    for scene, question, answer in asked("unanswerable", language):
        called = answer.removeprefix("There is no ").removeprefix("没有")[:-1]
        assert called in question
        wanted = next(key for key in identities(scene) if name(key, language) == called)
        assert not any(fits(item, wanted) for item in scene.objects)


def test_every_wording_is_one_of_at_least_four_and_stands_once():
    for key, languages in PHRASINGS.items():
        assert key.split("/")[0] in KINDS or key in ("smaller",) or key.startswith("it/"), key
        for language in LANGUAGES:
            assert 4 <= len(languages[language]) == len(set(languages[language])), key


def test_every_kind_has_a_layout():
    assert all(kind.layouts for kind in KINDS.values())
