"""The page holds all it shows, runs nothing that was typed, and shows a word's maps when it is pointed at."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from sightline.explain.explanation import Explanation, Window, Word
from sightline.explain.heat import levels, overlay
from sightline.explain.page import pieces, write_page

EVIL = "<script>alert('x')</script>\"'&{{ 7 * 7 }}</script>"
PICTURE = Image.new("RGB", (1600, 800), "white")


def spot(row, col, value):
    heat = np.zeros((1, 4, 4), dtype=np.float32)
    heat[0, row, col] = value
    return heat


def word(text, start, row, col, left=0.1):
    loss = spot(row, col, 0.9 - left)
    worst = Window(0, row, col, float(np.log(left)))
    return Word(text, start, start + len(text), (7,), float(np.log(0.9)), spot(row, col, 0.5), loss, worst)


def explanation(first="A", second="duck", **fields):
    answer = f"{first} {second}."
    words = (word(first, 0, 0, 3, left=0.89), word(second, len(first) + 1, 2, 1))
    kept = {"regions": ((0.0, 0.0, 1.0, 1.0),), "attention_from": "layer 1", "window": 2, "stride": 1, **fields}
    return Explanation(answer, words, **kept)


def page(tmp_path, found, question="What?", **options):
    path = write_page(tmp_path / "new" / "look.html", found, [PICTURE] * len(found.regions), question, **options)
    return path.read_text(encoding="utf-8")


def test_whatever_was_typed_stays_text(tmp_path):
    text = page(tmp_path, explanation(EVIL, EVIL), EVIL, facts={EVIL: EVIL}, generator=EVIL)
    assert "<script>alert" not in text
    assert text.count("<script") == 2  # the page's data and its own
    assert html.unescape(text).count(EVIL) >= 5
    data = json.loads(re.search(r'id="data">(.*?)</script>', text)[1])
    assert [one["text"] for one in data["words"]] == [EVIL, EVIL]


def test_the_page_fetches_nothing(tmp_path):
    text = page(tmp_path, explanation())
    assert "http" not in text.replace("http-equiv", "")
    assert all(source.startswith("data:image/webp;base64,") for source in re.findall(r'src="([^"]+)"', text))
    assert "default-src 'none'" in text


def test_the_answer_reads_as_it_was_written():
    found = explanation("一只", "鸭")
    assert pieces(found) == [("一只", 0), (" ", None), ("鸭", 1), (".", None)]
    assert "".join(text for text, _ in pieces(found)) == found.answer


def test_a_word_that_loses_little_is_shown_weakly():
    heat, scale = levels(word("A", 0, 0, 3, left=0.89), "occlusion")
    assert scale == 0.05
    assert heat.max() == pytest.approx(0.2, abs=1e-5)
    heat, scale = levels(word("duck", 0, 2, 1), "attention")
    assert (heat.max(), scale) == (1.0, 0.5)


def test_the_heat_lies_where_the_patch_is_and_nothing_else_changes():
    drawn = np.asarray(overlay(Image.new("RGB", (80, 40), "white"), spot(2, 1, 1.0)[0], (0.25, 0.0, 0.75, 1.0)))
    hot = (drawn[..., 2] < 150) & (drawn[..., 0] > 200)
    rows, cols = np.nonzero(hot)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (20, 29, 30, 39)
    assert (drawn[:, 25:30] == 255).all()
    assert (drawn[:, :20] < 128).all()  # not seen by the model


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_pointing_at_a_word_shows_its_maps(tmp_path):
    two = explanation(regions=((0.0, 0.0, 1.0, 1.0),))
    page(tmp_path, two)
    path = tmp_path / "new" / "look.html"
    script = """<script>
    const hot = (canvas) => {
      const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
      return [...Array(pixels.length / 4).keys()].filter((n) => pixels[4 * n + 3] > 150).join(",");
    };
    const say = (what) => {
      const maps = [...document.querySelectorAll("figure canvas")].map(hot).join(" | ");
      document.body.append(`[${what}: ${document.querySelector("[aria-current]").textContent}: ${maps}: ` +
        `${document.querySelector(".numbers").textContent}]`);
    };
    const [a, duck] = document.querySelectorAll("[data-word]");
    say("first");
    a.dispatchEvent(new Event("pointerenter")); say("hover");
    a.focus(); a.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight", bubbles: true})); say("key");
    a.click(); say("click");
    document.body.append(`[wide: ${document.documentElement.scrollWidth <= innerWidth}]`);
    </script></body>"""
    path.write_text(path.read_text(encoding="utf-8").replace("</body>", script), encoding="utf-8")
    printed = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=500,800", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    shown = dict(re.findall(r"\[(first|hover|key|click): ([^\]]+)\]", printed))
    assert shown["first"].startswith("duck: 9 | 9: duck: probability 90 %; 50 % of its attention on pictures; ")
    assert "largest loss 80 points, to 10 %, with the square from row 3, column 2 hidden" in shown["first"]
    assert shown["key"] == shown["first"]
    # One point of probability is shown weakly: its patch is not hot.
    assert shown["hover"].startswith("A: 3 | : A: ")
    assert shown["click"] == shown["hover"]
    assert "[wide: true]" in printed
