"""Print, digits and charts: every question has one true answer, and what is kept from training stays out of it."""

import random
import re
from collections import Counter
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import sightline
from sightline.data.scenes import digits, printed, words
from sightline.data.scenes.charts import LABELS, Bars
from sightline.data.scenes.fonts import FONTS, HELD_OUT_FONTS, paste_text, text_extent
from sightline.data.scenes.language import COLOUR_WORDS, LANGUAGES, PLACES, QUOTES
from sightline.data.scenes.panel_phrasings import PANEL_PHRASINGS
from sightline.data.scenes.panels import PANEL_AXES, PANEL_KINDS, PANELS

ASSETS = resources.files("sightline") / "assets"


def made(layout, count=80, unseen=()):
    return [PANELS[layout].random(random.Random(index), unseen) for index in range(count)]


def asked(kind, language, count=60, held_out=False):
    """Panel, question and answer, wherever the kind applies."""
    for layout in PANEL_KINDS[kind]:
        for index, panel in enumerate(made(layout, count)):
            if turn := PANELS[layout].kinds[kind](panel, random.Random(index), language, held_out):
                yield panel, *turn


@pytest.mark.parametrize("layout", PANELS)
def test_a_panel_is_the_same_each_time_and_drawn_at_any_size(layout):
    one, two = (PANELS[layout].random(random.Random(3)) for _ in range(2))
    assert one == two
    assert one.layout == layout
    assert one.draw(64).tobytes() == two.draw(64).tobytes()
    for size in (8, 57, 300):
        assert (one.draw(size).size, one.draw(size).mode) == ((size, size), "RGB")
    with pytest.raises(ValueError, match="at least 8 pixels"):
        one.draw(7)


def texts_and_letters(panel):
    """What is named besides a panel's parts: letters, and a chart's texts of several letters."""
    if panel.layout == "digits":
        return []
    if panel.layout == "printed":
        return [letter for item in panel.items for letter in item.text]
    numbers = range(0, panel.axis + 1, 2) if getattr(panel, "axis", 0) else [entry.value for entry in panel.entries]
    texts = [*(entry.label for entry in panel.entries), *map(str, numbers)]
    return [text for text in texts if len(text) > 1] + [letter for text in texts for letter in text]


@pytest.mark.parametrize("layout", PANELS)
def test_regions_lie_in_the_picture_and_name_its_content(layout):
    for panel in made(layout):
        parts = panel.items if hasattr(panel, "items") else panel.entries
        for language in LANGUAGES:
            regions = panel.regions(language)
            assert len(regions) == len(parts) + len(texts_and_letters(panel))
            for (left, top, right, bottom), text in regions:
                assert 0 <= left < right <= 1
                assert 0 <= top < bottom <= 1
                assert text.isascii() == (language == "en")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", PANEL_KINDS)
def test_every_kind_is_asked_in_wordings_of_training_and_one_kept_from_it(kind, language):
    usual = {question for _, question, _ in asked(kind, language)}
    unseen = {question for _, question, _ in asked(kind, language, held_out=True)}
    assert usual
    assert not any("{" in question for question in usual | unseen)
    assert not usual & unseen
    assert len(PANEL_PHRASINGS[kind][language]) >= 4
    assert all(question.isascii() == (language == "en") for question in usual | unseen)


def test_the_phrasings_are_those_of_the_kinds():
    assert set(PANEL_PHRASINGS) == set(PANEL_KINDS)


def test_an_unknown_axis_is_an_error_that_offers_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'font'"):
        PANELS["printed"].random(random.Random(0), ["fonts"])


def test_the_held_out_words_and_fonts_are_drawn_only_when_asked_for():
    for panel in made("printed"):
        assert all(item.text in words.WORDS + words.NUMBERS and item.font in FONTS for item in panel.items)
    printed = [item for panel in made("printed", 400) for item in panel.items]
    assert {item.font for item in printed} == set(FONTS)
    assert len({item.colour for item in printed}) >= 5
    assert min(item.angle for item in printed) < -5 < 5 < max(item.angle for item in printed)
    assert max(item.em for item in printed) > 2 * min(item.em for item in printed)
    for panel in made("printed", unseen=PANEL_AXES):
        assert all(words.is_held_out(item.text) and item.font in HELD_OUT_FONTS for item in panel.items)
    for layout in ("bars", "pie"):
        assert {panel.font for panel in made(layout)} <= set(FONTS)
        assert {panel.font for panel in made(layout, unseen=["font"])} == set(HELD_OUT_FONTS)
        labels = {entry.label for panel in made(layout, 400) for entry in panel.entries}
        assert labels == set(LABELS)
        assert not any(words.is_held_out(label) for label in labels)
        assert {"cat", "tree"} < labels


def test_every_fifth_digit_is_kept_for_testing():
    def indices(unseen):
        return {item.index for panel in made("digits", 300, unseen) for item in panel.items}

    assert all(index % 5 for index in indices(()))
    assert not any(index % 5 for index in indices(["digit"]))


def test_words_are_short_lower_case_and_in_one_part():
    every = words.WORDS + words.HELD_OUT_WORDS
    assert len(set(every)) == len(every) > 900
    assert all(re.fullmatch("[a-z]{2,8}", word) for word in every)
    assert 0.1 < len(words.HELD_OUT_WORDS) / len(every) < 0.25
    assert sorted(map(int, words.NUMBERS + words.HELD_OUT_NUMBERS)) == list(range(1000))
    # By letters, not by place: these must stay where they are when words are added.
    assert {"banana", "clock"} < set(words.HELD_OUT_WORDS)
    assert {"apple", "river"} < set(words.WORDS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_read_is_what_is_printed(language):
    place_of = {PLACES[language][row][col]: (row, col) for row in range(3) for col in range(3)}
    for panel, _, answer in asked("word", language):
        assert [item.text for item in panel.items if item.text.isalpha()] == [answer]
    for panel, _, answer in asked("number", language):
        assert [item.text for item in panel.items if item.text.isdigit()] == [answer]
    for panel, question, answer in asked("read_at", language):
        place = max((place for place in place_of if place in question), key=len)
        assert [item.text for item in panel.items if (item.row, item.col) == place_of[place]] == [answer]
    for panel, _, answer in asked("read_all", language):
        assert re.split(", |、", answer) == [QUOTES[language].format(item.text) for item in panel.items]
    for panel, question, answer in asked("text_where", language):
        (item,) = [item for item in panel.items if re.search(rf"\b{item.text}\b", question, re.ASCII)]
        spoken = answer.rstrip(".。")
        assert place_of[spoken[0].lower() + spoken[1:]] == (item.row, item.col)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_default_says_what_is_printed_letter_by_letter(language):
    _, processor = sightline.load("sightline-tiny", device="cpu")
    for kind in ("word", "number", "read_at", "read_all", "text_describe", "chart_label", "chart_describe"):
        for panel, _, answer in asked(kind, language, 20):
            pieces = [processor.tokenizer.decode(one).strip() for one in processor.tokenizer(answer).input_ids]
            parts = getattr(panel, "items", ()) or [entry.label for entry in panel.entries]
            for text in {getattr(part, "text", part) for part in parts}:
                if re.search(rf"\b{text}\b", answer, re.ASCII):
                    assert f" {' '.join(text)} " in f" {' '.join(pieces)} ", answer


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_word_is_there_or_not_and_has_its_colour(language):
    answers = []
    for panel, question, answer in asked("word_exists", language):
        quoted = re.search('["“](.*)["”]', question)[1]
        answers.append(any(item.text == quoted for item in panel.items))
        assert answer == {"en": ("No.", "Yes."), "zh": ("没有。", "有。")}[language][answers[-1]]
    assert 0.3 < np.mean(answers) < 0.7
    for panel, question, answer in asked("text_colour", language):
        (item,) = [item for item in panel.items if re.search(rf"\b{item.text}\b", question, re.ASCII)]
        assert answer.rstrip(".。").lower() == COLOUR_WORDS[language][item.colour]


def test_a_printed_word_is_never_said_to_be_absent(monkeypatch):
    # Where every word that looks alike is printed, too, the absent one begins otherwise.
    monkeypatch.setattr(printed, "WORDS", ("bank", "bench", "bird", "cold"))
    panels = [panel for panel in made("printed", 300) if {"bank", "bench", "bird"} == {i.text for i in panel.items}]
    assert panels
    for number, panel in enumerate(panels * 4):
        question, answer = PANELS["printed"].kinds["word_exists"](panel, random.Random(number), "en")
        assert answer == ("No." if "cold" in question else "Yes."), question


def test_prints_stand_where_their_places_say():
    for panel in made("printed", 200):
        for item in panel.items:
            left, top, right, bottom = item.box
            if len(panel.items) > 1:
                assert int((top + bottom) / 2 * 3) == item.row
                assert item.col == 1 or int((left + right) / 2 * 2) == item.col // 2
        texts = [item.text for item in panel.items]
        assert len(set(texts)) == len(texts)


def test_digits_are_read_from_left_to_right():
    for kind in ("digit", "digits"):
        for panel, _, answer in asked(kind, "en"):
            assert (len(answer) == 1) == (kind == "digit")
            by_place = sorted(panel.items, key=lambda item: item.x)
            assert answer == "".join(digits.digit_label(item.index) for item in by_place)
    counts = Counter()
    for panel, _, answer in asked("digits_count", "zh"):
        assert answer == str(len(panel.items))
        counts[answer] += 1
    assert max(counts.values()) < 0.45 * counts.total()  # half of all digits stand alone


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_charts_answers_follow_from_its_values(language):
    def table(panel):
        return {entry.label: entry.value for entry in panel.entries}

    def quoted(question):
        return re.findall('["“](.*?)["”]', question)

    for panel, _, answer in asked("chart_tallest", language):
        assert [label for label, value in table(panel).items() if value == max(table(panel).values())] == [answer]
    for panel, _, answer in asked("chart_smallest", language):
        assert [label for label, value in table(panel).items() if value == min(table(panel).values())] == [answer]
    for panel, question, answer in asked("chart_value", language):
        assert str(table(panel)[quoted(question)[0]]) == answer
    for panel, question, answer in asked("chart_label", language):
        value = int(re.search(r"\d+", question)[0])
        assert [label for label, other in table(panel).items() if other == value] == [answer]
    for panel, _, answer in asked("chart_total", language):
        values, steps = list(table(panel).values()), answer.split(", ")
        sums = [sum(values[:count]) for count in range(1, len(values) + 1)]
        assert len(steps) == len(values) - 1
        for step, before, value, after in zip(steps, sums, values[1:], sums[1:], strict=False):
            assert step == f"{before} + {value} = {after}"
    for panel, _, answer in asked("chart_count", language):
        assert len(table(panel)) == int(answer)
    for panel, question, answer in asked("chart_more", language):
        one, other = quoted(question)
        left, right = table(panel)[one], table(panel)[other]
        said = {"en": (", so no.", ", so yes."), "zh": ("，不是。", "，是。")}[language][left > right]
        assert answer == f"{left} {'>' if left > right else '<'} {right}{said}"
        assert left != right


def test_a_pie_begins_at_the_top_so_that_the_order_of_its_slices_can_be_seen():
    for pie in made("pie"):
        angles = [pie.slice(index) for index in range(len(pie.entries))]
        assert angles[0][0] == -90
        assert all(one[1] == pytest.approx(other[0]) for one, other in pairwise(angles))


def test_a_number_is_the_only_one_in_its_picture():
    panels = [panel for panel, *_ in asked("number", "en", 300)]
    assert any(item.is_word for panel in panels for item in panel.items)
    for panel in panels:
        assert len([item for item in panel.items if not item.is_word or item.text in words.NUMERALS]) == 1


def test_a_chart_has_two_to_five_whole_numbers_and_different_labels():
    counts = set()
    for layout in ("bars", "pie"):
        for panel in made(layout, 150):
            labels = [entry.label for entry in panel.entries]
            assert len(set(labels)) == len(labels)
            assert set(labels) <= set(LABELS)
            assert all(1 <= entry.value <= 10 for entry in panel.entries)
            counts.add(len(labels))
    assert counts == {2, 3, 4, 5}
    assert {(panel.horizontal, panel.axis > 0) for panel in made("bars") if isinstance(panel, Bars)} == {
        (across, axis) for across in (False, True) for axis in (False, True)
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_descriptions_hold_all_that_is_asked(language):
    for layout in PANELS:
        for panel in made(layout, 30):
            told = panel.describe(language)
            for entry in getattr(panel, "entries", ()):
                assert re.search(rf"{QUOTES[language].format(entry.label)}(?: |为){entry.value}\b", told, re.ASCII)
            if layout == "digits":
                assert panel.number in told
            if layout == "printed":
                assert all(COLOUR_WORDS[language][item.colour] in told and item.text in told for item in panel.items)


@pytest.mark.parametrize("folder", ["fonts", "digits"])
def test_assets_are_small_and_credited(folder):
    files = [path for path in (ASSETS / folder).iterdir() if path.is_file()]
    assert sum(len(path.read_bytes()) for path in files) < 200_000
    text = (ASSETS / folder / "CREDITS.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in files if path.name.endswith((".ttf", ".png")))
    for licence in re.findall(r"\((LICENSE-[^)]*)\)", text):
        assert (ASSETS / folder / licence).is_file()


def test_every_character_leaves_its_own_ink_in_every_typeface():
    characters = sorted(set("".join((*words.WORDS, *words.NUMBERS, *LABELS))))
    for font in (*FONTS, *HELD_OUT_FONTS):
        drawn = set()
        for character in characters:
            canvas = Image.new("RGB", (48, 48))
            paste_text(canvas, character, font, 40, (24, 24), (255, 255, 255))
            drawn.add(canvas.tobytes())
        # A glyph that is missing would be drawn as the same box each time.
        assert len(drawn) == len(characters), font
    with pytest.raises(ValueError, match="leaves no ink"):
        text_extent(" ", "sans", 1.0)
