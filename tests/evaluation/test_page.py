"""The page holds everything it shows, runs nothing that was typed, and its filters work in a browser."""

import base64
import html
import io
import math
import re
import shutil
import subprocess

import pytest
from jinja2 import UndefinedError
from PIL import Image

from sightline.evaluation.curves import svg
from sightline.evaluation.examples import Example
from sightline.evaluation.page import Accuracy, Curves, Facts, Gallery, Listing, render_report
from sightline.evaluation.results import Answer, Results

EVIL = "<script>alert('x')</script>\"'&{{ 7 * 7 }}"
RED = Image.new("RGB", (640, 320), "red")


def example(kind="name", right=0.0, **fields):
    return Example((RED,), "What is this?", "A duck.", "A dog.", right, kind, "en", **fields)


def results():
    return Results(Answer(kind, "en", n, "q", "t", "a", n % 2) for kind in ("name", EVIL) for n in range(4))


def page(tmp_path, *sections, **options):
    path = render_report(tmp_path / "new" / "page.html", **{"title": "A title", **options}, sections=sections)
    return path.read_text(encoding="utf-8")


def test_whatever_was_typed_stays_text(tmp_path):
    typed = Example((RED,), EVIL, EVIL, EVIL, 0.0, EVIL, EVIL, [("user", EVIL)], EVIL)
    text = page(
        tmp_path,
        Accuracy(EVIL, results()),
        Gallery(EVIL, [typed]),
        Facts(EVIL, {EVIL: EVIL}),
        Listing(EVIL, EVIL),
        Curves(EVIL, {EVIL: [(1, 2.0)]}, [(1, EVIL)]),
        title=EVIL,
        summary=EVIL,
    )
    assert "<script>alert" not in text
    assert text.count("<script") == 1  # the page's own
    assert html.unescape(text).count(EVIL) >= 20
    assert not re.search(r'="[^"]*<script', text)


def test_the_page_fetches_nothing_and_its_pictures_are_small(tmp_path):
    text = page(tmp_path, Gallery("Answers", [example()]), Accuracy("Accuracy", results()))
    assert "http" not in text.replace("http-equiv", "")
    sources = re.findall(r'src="([^"]+)"', text)
    assert len(sources) == 1
    picture = Image.open(io.BytesIO(base64.b64decode(sources[0].partition(",")[2])))
    assert picture.size == (256, 128)
    assert "default-src 'none'" in text


def test_accuracy_is_shown_with_its_interval(tmp_path):
    answers = [Answer("name", "en", n, "q", "t", "a", n < 81) for n in range(263)]
    text = page(tmp_path, Accuracy("Accuracy", Results(answers)))
    assert "30.8&thinsp;%</b> <small>25.5 to 36.6</small>" in text
    assert "left:25.5%;width:11.1%" in text


def test_an_earlier_answer_and_earlier_turns_are_shown(tmp_path):
    text = page(
        tmp_path, Gallery("Answers", [example(earlier=[("user", "Look."), ("assistant", "I do.")], before="Hm.")])
    )
    assert "» I do." in text
    assert "<dt>before</dt><dd>Hm.</dd>" in text
    assert "before" not in page(tmp_path, Gallery("Answers", [example()])).partition("<main>")[2]


def test_an_old_page_is_there_until_the_new_one_is_whole(tmp_path):
    before = page(tmp_path, Listing("Recipe", "old"))
    with pytest.raises(UndefinedError):
        page(tmp_path, Gallery("Answers", [example(), None]))
    path = tmp_path / "new" / "page.html"
    assert path.read_text(encoding="utf-8") == before
    assert list(path.parent.iterdir()) == [path]


def numbers(drawn, tag):
    return [tuple(map(float, pair.split(","))) for pair in re.search(tag + r' points="([^"]*)"', drawn)[1].split()]


def test_a_curve_goes_where_its_points_are():
    line = numbers(svg([(0, 0.0), (50, 2.0), (100, 1.0)], (0, 200)), 'class="line"')
    assert [x for x, _ in line] == [80, 80 + 628 / 4, 80 + 628 / 2]
    bottom, top, middle = (y for _, y in line)
    assert (bottom, top) == (210, 26)
    assert middle == (bottom + top) / 2


def test_a_curve_leaves_out_what_cannot_be_drawn():
    points = [(1, math.nan), (2, 1.0), (3, math.inf), (4, 0.0), (5, 100.0)]
    assert len(numbers(svg(points, (1, 5)), 'class="line"')) == 3
    assert len(numbers(svg(points, (1, 5), logarithmic=True), 'class="line"')) == 2
    assert "nothing to draw" in svg([(1, math.nan)], (1, 1))
    for few in ([(1, 3.0)], [(1, 0.0), (2, 0.0)], [(1, 5.0), (2, 5.0)]):
        for logarithmic in (False, True):
            assert "nan" not in svg(few, (1, 2), logarithmic=logarithmic)


def test_a_long_curve_is_thinned_and_keeps_its_extremes():
    points = [(n, 5.0 + (n == 777) * 40) for n in range(100_000)]
    drawn = svg(points, (0, 100_000))
    assert len(drawn) < 20_000
    assert min(y for _, y in numbers(drawn, 'class="band"')) == 26  # the one high point, at the top


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_the_filters_hide_what_was_not_chosen(tmp_path):
    shown = [example(EVIL, 0.0), example("name", 1.0), example("name", 0.5), example("name", 0.0)]
    page(tmp_path, Gallery("Answers", shown))
    path = tmp_path / "new" / "page.html"
    # The browser prints the document after this script has chosen, as a person would, first a kind, then an outcome.
    choose = """<script>
    const choose = (name, value) => {
      const select = document.querySelector(`[data-filter=${name}]`);
      select.value = value;
      select.dispatchEvent(new Event("change", {bubbles: true}));
      const visible = [...document.querySelectorAll("article")].filter((card) => card.checkVisibility()).length;
      document.body.append(`[${visible} | ${document.querySelector("output").textContent}]`);
    };
    choose("kind", "name"); choose("outcome", "right"); choose("kind", ""); choose("outcome", "wrong");
    </script></body>"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", choose), encoding="utf-8")
    printed = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    found = re.findall(r"\[(\d) \| (\d) of 4 shown\]", printed)
    assert found == [("3", "3"), ("1", "1"), ("1", "1"), ("2", "2")]


def test_few_points_are_drawn_one_by_one_and_many_are_not():
    assert svg([(3, 0.2)], (0, 9)).count("<circle") == 1
    assert "<circle" not in svg([(x, 1.0) for x in range(100)], (0, 99))
