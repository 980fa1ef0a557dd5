"""Everything that can be wrong with a row is found, and nothing else; the report counts it and says where."""

import json
import random

import numpy as np
import pytest
from PIL import Image, ImageDraw

from sightline.data.check import KINDS, Limits, check
from sightline.data.pictures import look_at
from sightline.data.readers import open_data

LIMITS = Limits(tokens=128)


@pytest.fixture
def problems(write, processor):
    """By row, the kinds of problems of these rows."""

    def of(*rows, limits=LIMITS, name="rows.jsonl"):
        report = check(open_data(write(*rows, name=name)), processor, limits)
        found = [[one.kind for one in report.findings if one.row == row] for row in range(len(rows))]
        assert report.rows == len(rows)
        assert sum(report.counts.values()) == len(report.findings)
        assert report.bad.keys() == {one.row for one in report.findings if KINDS[one.kind]}
        return found

    return of


def test_good_rows_of_all_sorts_have_no_problem(problems, chat):
    assert (
        problems(
            chat("What?", "A duck.", images=["a.png"]),
            chat("Why?", "So.", images=["a.png"]),
            chat("Which?", "Red", "Sure?", "Yes", images=["a.png", "b.png"]),
            chat("1+1?", "2"),
            chat("Where?", images=["a.png"], answers=["Here", "There"]),
            {"messages": [{"role": "system", "content": "Be brief."}, *chat("Hi", "Ho")["messages"]]},
            {
                "image": "a.png",
                "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}],
            },
        )
        == [[]] * 7
    )


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"nothing": 1}, "wrong format"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "wrong format"),
        ({"image": "a.png", "conversations": [{"from": "human", "value": "no tag"}]}, "pictures and places"),
        ({"messages": [{"role": "user", "content": "Q"}], "images": ["nowhere.png"]}, "missing picture"),
        ({"messages": [{"role": "user", "content": "Q"}], "images": ["https://x/y.png"]}, "missing picture"),
        ({"messages": [{"role": "user", "content": "Q"}]}, "empty answer"),
        ({"question": " ", "answer": "A"}, "empty question"),
        ({"messages": [{"role": r, "content": "x"} for r in ("assistant", "user")]}, "role order"),
        ({"messages": [{"role": r, "content": "x"} for r in ("user", "user", "assistant")]}, "role order"),
        ({"messages": [{"role": r, "content": "x"} for r in ("user", "assistant", "user")]}, "role order"),
        ({"messages": [{"role": r, "content": "x"} for r in ("user", "system", "assistant")]}, "role order"),
    ],
)
def test_a_bad_row_is_found_beside_good_ones(problems, chat, row, kind):
    assert problems(chat("What?", "A duck.", images=["a.png"]), row, chat("Hi", "Ho")) == [[], [kind], []]


@pytest.mark.parametrize(
    ("said", "kinds"),
    [
        (("Q", ""), ["empty answer"]),
        (("Q", " \n"), ["empty answer"]),
        (("Q", "A", "Q", ""), ["empty answer"]),
        (("Q " * 200, "A"), ["too long"]),
        (("Q", "A b c d " * 9), ["long answer"]),
        (("Q", "caf\ufffd, he said"), ["broken text"]),
        (("Is <image> a tag?", "Yes"), ["tag as text"]),
        (("Q", "龘龘龘龘"), ["poorly carried"]),
    ],
)
def test_what_is_wrong_with_words_is_found(problems, chat, said, kinds):
    assert problems(chat(*said)) == [kinds]


def test_what_is_wrong_with_pictures_is_found(problems, chat, tmp_path):
    folder = tmp_path / "data"
    for name, size in (("tiny.png", (48, 15)), ("narrow.png", (16, 200)), ("fine.png", (16, 128))):
        Image.effect_noise(size, 90).save(folder / name)
    (folder / "text.png").write_bytes(b"no picture")
    (folder / "cut.png").write_bytes((folder / "narrow.png").read_bytes()[:200])
    rows = [chat("Q", "A", images=[f"{name}.png"]) for name in ("tiny", "narrow", "fine", "text", "cut")]
    assert problems(*rows) == [
        ["tiny picture"],
        ["narrow picture"],
        [],
        ["unreadable picture"],
        ["unreadable picture"],
    ]
    assert problems(rows[0], limits=Limits(side=15)) == [[]]


def test_a_picture_of_nearly_one_colour_is_remarked_upon(problems, chat, tmp_path):
    ramp = np.linspace(0, 1, 48 * 32).reshape(32, 48)
    for name, values in (("dark", ramp * 4095), ("light", ramp * 65535)):  # of 12 bits, saved in 16; and of 16
        Image.fromarray(values.astype(np.uint16)).save(tmp_path / "data" / f"{name}.png")
    Image.new("RGB", (48, 32), "red").save(tmp_path / "data" / "red.png")
    rows = [chat("Q", "A", images=[f"{name}.png"]) for name in ("dark", "light", "red")]
    assert problems(*rows) == [["flat picture"], [], ["flat picture"]]
    assert problems(*rows, limits=Limits(span=0)) == [[], [], []]


def test_truncation_is_told_by_what_it_would_lose(write, processor, chat):
    report = check(open_data(write(chat("w " * 150, "A b c"))), processor, LIMITS)
    (finding,) = report.findings
    ((ids, mask),), _ = processor.encode_rows([(chat("w " * 150, "A b c")["messages"], [])])
    lost = sum(mask[128:])
    assert lost == sum(mask) > 0
    assert (
        f"it has {len(ids)} tokens, and the model reads 128: cut there it would lose {lost} of {lost}" in finding.text
    )


def test_an_answer_that_does_not_come_back_from_its_tokens_is_bad(write, chat, processor):
    class Forgetful:
        """A tokenizer without capitals."""

        image_token_id = processor.image_token_id
        encode_rows = staticmethod(processor.encode_rows)
        decode = staticmethod(processor.decode)

        def encode_text(self, text):
            return processor.encode_text(text.lower())

    report = check(open_data(write(chat("Q", "Paris"), chat("R", "rome"))), Forgetful())
    assert [(one.row, one.kind) for one in report.findings] == [(0, "not carried")]
    assert "makes 'paris' of the answer 'Paris'" in report.findings[0].text


def test_rows_that_repeat_or_contradict_earlier_ones_are_told_apart(problems, chat, tmp_path):
    Image.effect_noise((40, 40), 90).save(tmp_path / "data" / "a.png")
    Image.open(tmp_path / "data" / "a.png").save(tmp_path / "data" / "same.bmp")
    assert problems(
        chat("Q", "A", images=["a.png"]),
        chat("Q", "A", images=["same.bmp"]),  # equal pixels in another file
        chat("Q", "B", images=["a.png"]),
        chat("Q", "A"),
        chat("Q", "A", images=["b.png"]),
        chat("Q", "B", images=["a.png"]),
        chat("Q", "B"),
    ) == [[], ["repeated row"], ["contradiction"], [], [], ["repeated row"], ["contradiction"]]


def scene(seed, size=(160, 120)):
    picture = Image.new("RGB", size, "white")
    draw, chance = ImageDraw.Draw(picture), random.Random(seed)
    for _ in range(12):
        x, y, r = chance.randrange(size[0]), chance.randrange(size[1]), chance.randrange(8, 40)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=tuple(chance.randrange(256) for _ in range(3)))
    return picture


def test_a_picture_saved_again_looks_like_itself_and_others_do_not(problems, chat, tmp_path):
    folder = tmp_path / "data"
    for seed in range(60):
        scene(seed).save(folder / f"{seed}.png")
    scene(3).save(folder / "again.jpg", quality=60)
    scene(4).resize((100, 75)).save(folder / "smaller.png")
    scene(5).convert("L").convert("RGB").save(folder / "grey.png")  # other colours are another picture
    names = [*(f"{seed}.png" for seed in range(60)), "again.jpg", "smaller.png", "grey.png"]
    found = problems(*(chat(f"Q{name}", "A", images=[name]) for name in names))
    assert found == [*([[]] * 60), ["near copy"], ["near copy"], []]


def test_the_report_has_figures_of_what_was_read(write, processor, chat):
    rows = [chat(f"Q{n}", "A duck.", images=[f"{n % 10}.png"]) for n in range(40)] + [
        chat(f"T{n}", "A") for n in range(9)
    ]
    data, heard = open_data(write(*rows, {"bad": 1})), []
    report = check(data, processor, LIMITS, held_out=0.3, on_row=heard.append)
    fields = json.loads(json.dumps(report.as_dict()))
    assert fields["rows"] == len(heard) == 50
    assert heard[-1] == fields["bad_rows"] == 1
    assert fields["problems"] == {"wrong format": {"count": 1, "bad": True}}
    assert fields["pictures"]["different"] == 10
    assert fields["pictures"]["rows_without"] == 9
    assert fields["pictures"]["shorter_side"]["most"] == 32
    lengths = [len(processor.encode_rows([(row["messages"], row["images"])])[0][0][0]) for row in rows[40:]]
    assert fields["tokens"]["row"]["least"] == min(lengths)
    assert fields["tokens"]["of_pictures"] == 40 * 16 / fields["tokens"]["row"]["total"]
    held = open_data(write(*rows), split="held_out", held_out=0.3)
    sides = {"held_out": len(held), "train": 49 - len(held)}
    assert fields["split"] == {"share": 0.3, "own": None, **sides, "near_copies_across": 0}


def test_findings_of_a_kind_are_bounded_and_counts_are_not(write, processor, chat, monkeypatch):
    from sightline.data.check import run

    monkeypatch.setattr(run, "MOST", 5)
    report = check(open_data(write(*(chat("Q", "") for _ in range(20)))), processor)
    assert [one.kind for one in report.findings] == ["empty answer"] * 5 + ["repeated row"] * 5
    assert report.counts["empty answer"] == 20
    assert len(report.bad) == 20
    assert report.as_dict()["findings_left_out"] == 15 + 14


def test_a_crowd_of_warnings_hides_no_bad_row(write, processor, chat, monkeypatch):
    from sightline.data.check import run

    monkeypatch.setattr(run, "MOST", 5)
    rows = [chat(f"Q{n}", "A b c d " * 9) for n in range(20)]
    report = check(open_data(write(*rows, chat("Q", ""))), processor, LIMITS)
    assert report.counts["long answer"] == 20
    assert [(one.row, one.kind) for one in report.findings if one.bad] == [(20, "empty answer")]
    assert report.bad == {20: "empty answer"}


def test_a_language_that_the_tokenizer_does_not_know_is_told_once_for_all_rows(write, processor, chat, capsys):
    from sightline.commands.data_figures import print_report

    rows = [chat("Что изображено на картинке?", "Красный мяч лежит слева.") for _ in range(6)]
    report = check(open_data(write(*rows)), processor, LIMITS)
    assert report.tokens["per_character"] > 1
    assert report.tokens["warning"].startswith("the tokenizer carries this language badly")
    print_report(report, "model", 0)
    assert "warning: the tokenizer carries this language badly" in capsys.readouterr().out
    plain = check(open_data(write(chat("1 + 1", "2"), name="b.jsonl")), processor, LIMITS)
    assert (plain.tokens["per_character"], plain.tokens["warning"]) == (0.0, "")


@pytest.mark.parametrize("most", [20_000, 30])
def test_the_split_that_is_told_is_the_one_that_training_makes(write, processor, chat, monkeypatch, tmp_path, most):
    from sightline.data.readers import sides

    for number in range(40):
        Image.new("RGB", (24, 24), (number * 6, 9, 9)).save(tmp_path / "data" / f"p{number}.png")
    path = write(*(chat(f"Q{n}", "A", images=[f"p{n % 40}.png"]) for n in range(60)))
    monkeypatch.setattr(sides, "MOST", most)
    monkeypatch.setattr(sides, "SAMPLE", 20)
    divided = sides.open_sides(path)
    split = check(open_data(path), processor, LIMITS).split
    assert (split["share"], split["held_out"]) == ("auto", len(divided.held_out))
    taught = [row for row in divided.train if look_at(row.images[0]).key[:16] not in divided.barred]
    assert split["train"] == len(taught)
