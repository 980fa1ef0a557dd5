"""A language that the tokenizer has not learned is told from one that it has, and its dear words are found."""

import pytest

from sightline.data.carrying import ENOUGH, LONGEST, POOR, Carried, spelled_out
from sightline.interop.load import load_processor

KNOWN = {
    "English": "What is the man holding? He is holding a red umbrella and walking a brown dog.",
    "Chinese": "图片里有什么？红色的球在蓝色方块的左边，绿色的三角形在右边。",
}
UNKNOWN = {
    "Russian": "Что изображено на картинке? Красный мяч лежит слева от синего куба на траве.",
    "Thai": "ในภาพมีอะไรบ้าง ลูกบอลสีแดงอยู่ทางซ้ายของลูกบาศก์สีน้ำเงิน",
    "Japanese": "写真には何が写っていますか。赤いボールが青い立方体の左にあります。",
}


@pytest.fixture(scope="module")
def processor():
    return load_processor("sightline-tiny")[1]


def carried(text, processor, times=5):
    found = Carried()
    for _ in range(times):
        found.add(text, len(processor.encode_text(text)))
    return found


@pytest.mark.parametrize("language", KNOWN)
def test_what_the_tokenizer_has_learned_is_well_carried(language, processor):
    assert str(carried(KNOWN[language], processor)) == ""


@pytest.mark.parametrize("language", UNKNOWN)
def test_another_language_is_warned_of_with_its_figures(language, processor):
    found = carried(UNKNOWN[language], processor)
    assert f"{found.per_character:.2f} tokens a character" in str(found)
    assert found.per_character > 1.5


def test_figures_and_signs_tell_nothing(processor):
    found = carried("3.14159 + 2.71828 = 5.85987", processor, times=50)
    assert found.bytes == 0


def test_the_bounds_are_exact():
    found = Carried()
    found.add("a" * (ENOUGH - 1), ENOUGH)
    assert not found.is_poor
    found = Carried()
    found.add("a" * ENOUGH, int(POOR * ENOUGH))
    assert not found.is_poor
    more = Carried()
    more.add("a", 1)
    found += more
    assert found.is_poor


def test_the_words_that_cost_most_come_first_and_no_sentence_is_one(processor):
    texts = ["Würfel Wiese 红色的球在蓝色方块的左边的东西 12345678 a@b"] * 3 + ["Würfel circle", "Fahrradkette"]
    words = spelled_out(texts, processor.tokenizer, 9)
    assert [word.removeprefix("Ġ") for word in words] == ["WÃ¼rfel", "Wiese"]
    assert all(len(word) <= LONGEST + 1 for word in words)
    assert not any("Fahrrad" in word or "@" in word or "1" in word for word in words)
    assert spelled_out(texts, processor.tokenizer, 1) == words[:1]
