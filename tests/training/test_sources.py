"""Samples are dealt out in exact proportions, each file row once an epoch, all as a function of the place alone."""

import json
import pickle
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from sightline.data.readers import open_data
from sightline.data.sample import answers_of
from sightline.training import rows as measuring
from sightline.training.batches import RegionBatches, StageBatches, batches_from
from sightline.training.build import build
from sightline.training.contrast import patch_weights
from sightline.training.grouping import MOST
from sightline.training.recipe import WorldSource
from sightline.training.row_checks import BEGIN_ANEW
from sightline.training.rows import count_rows, measure_groups
from sightline.training.sources import BLOCK, Deal, FileGroups, WorldGroups


def test_every_block_holds_the_proportions_exactly():
    deal = Deal([3, 1, 0.5], seed=1)
    for block in range(3):
        counts = Counter(deal(place)[0] for place in range(block * BLOCK, (block + 1) * BLOCK))
        assert [counts[source] for source in range(3)] == [667, 222, 111]


def test_a_sources_samples_come_in_order_and_none_is_left_out():
    deal = Deal([1, 2], seed=0)
    numbers = [[], []]
    for place in range(2 * BLOCK + 17):
        source, number = deal(place)
        numbers[source].append(number)
    assert all(found == list(range(len(found))) for found in numbers)


def test_a_place_is_dealt_the_same_way_whenever_it_is_asked_for():
    one, other = Deal([1, 1], seed=4), Deal([1, 1], seed=4)
    other(5 * BLOCK + 3)
    assert [one(place) for place in range(50)] == [other(place) for place in range(50)]
    assert [one(place) for place in range(50)] != [Deal([1, 1], seed=5)(place) for place in range(50)]


@pytest.fixture
def rows(tmp_path):
    text = "".join(
        json.dumps({"messages": [{"role": "user", "content": f"q{n}"}, {"role": "assistant", "content": f"a{n}"}]})
        + "\n"
        for n in range(7)
    )
    (tmp_path / "rows.jsonl").write_text(text)
    return open_data(tmp_path / "rows.jsonl")


def test_an_epoch_reads_each_row_once_in_an_order_of_its_own(rows):
    groups = FileGroups(rows, seed=0)
    epochs = [[groups.which(number) for number in range(7 * epoch, 7 * epoch + 7)] for epoch in range(2)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(7))] * 2
    assert epochs[0] != epochs[1]
    assert groups.origin(0).endswith(f"rows.jsonl, line {groups.which(0) + 1}")


def test_a_weight_too_small_for_any_place_is_an_error_with_the_least_that_does(rows):
    with pytest.raises(ValueError, match=r"weight 0\.0004 would never be read.* at least 0\.00101, or") as caught:
        Deal([1, 0.0004], seed=0)
    least = float(re.search(r"at least ([\d.e-]+)", str(caught.value))[1])
    assert [Deal([1, least], seed=0)(place)[0] for place in range(BLOCK)].count(1) == 1


IMAGE = {"type": "image"}


def text(words):
    return {"type": "text", "text": words}


def row(question, answer, images=(), system=None, picture_first=True):
    parts = [IMAGE] * len(images)
    content = [*parts, text(question)] if picture_first else [text(question), *parts]
    before = [{"role": "system", "content": [text(system)]}] if system else []
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": [text(answer)]}]
    return {"messages": [*before, *turns], "images": list(images)}


@pytest.fixture
def write(tmp_path, picture):
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_bytes(picture.read_bytes())

    def write_rows(*lines, name="written.jsonl"):
        path = tmp_path / name
        path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        return path

    return write_rows


def test_rows_about_the_same_pictures_are_one_group_wherever_they_stand(write):
    lines = [
        row("q0", "a0", ["a.png"]),
        row("q1", "a1", ["b.png"]),
        row("q2", "a2"),
        row("q3", "a3", ["a.png"]),
        row("q4", "a4", ["a.png"], picture_first=False),
        row("q5", "a5", ["a.png", "b.png"]),
        row("q6", "a6", ["a.png"], system="Be brief."),
        row("q7", "a7", ["a.png"], system="Be brief."),
        row("q8", "a8"),
        row("q9", "a9", ["b.png", "a.png"]),
    ]
    groups = FileGroups(open_data(write(*lines)), seed=0)
    members = [groups.members(index) for index in range(len(groups))]
    assert members == [[0, 3], [1], [2], [4], [5], [6, 7], [8], [9]]
    number = next(number for number in range(len(groups)) if groups.which(number) == 0)
    assert [answers_of(sample) for sample in groups.group(number)] == [["a0"], ["a3"]]
    assert groups.origin(number).endswith("written.jsonl, lines 1, 4")
    for epoch in range(2):
        places = range(epoch * len(groups), (epoch + 1) * len(groups))
        said = [answer for place in places for sample in groups.group(place) for answer in answers_of(sample)]
        assert sorted(said) == [f"a{n}" for n in range(10)]


def test_a_group_of_rows_is_no_longer_than_it_may_be(write):
    lines = [row(f"q{n}", f"a{n}", ["a.png"]) for n in range(2 * MOST + 1)]
    groups = FileGroups(open_data(write(*lines)), seed=0)
    assert [len(groups.members(index)) for index in range(len(groups))] == [MOST, MOST, 1]


def test_rows_about_one_picture_share_its_tokens(make_recipe, write):
    path = write(row("What?", "A.", ["a.png"]), row("Why?", "B.", ["a.png"]), row("Who?", "C.", ["b.png"]))
    recipe = of_files(make_recipe, path)
    _, processor = build(recipe)
    (batch,) = StageBatches(recipe, recipe.stages[0], processor, 32)[0]
    assert len(batch["pixel_values"]) == len(batch["input_ids"]) == 2
    assert int((batch["input_ids"] == processor.image_token_id).sum()) == 2 * 16
    assert batch["branch_ids"].max() == 2


def of_files(make_recipe, *paths, **train):
    files = [{"path": str(path)} for path in paths]
    return make_recipe(data={"world": {"weight": 0}, "files": files}, train=train)


def test_pictures_in_folders_and_inside_parquet_are_trained_on(make_recipe, tmp_path, picture, processor, monkeypatch):
    pa = pytest.importorskip("pyarrow", reason="the extra [data] is not installed")
    from pyarrow import parquet

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("cats", "dogs"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        (tmp_path / "pets" / name / "a.png").write_bytes(picture.read_bytes())
    turns = json.dumps([{"role": "user", "content": "<image>\nQ"}, {"role": "assistant", "content": "A"}])
    rows = [{"conversations": turns, "image_bytes": picture.read_bytes()}] * 3
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    recipe = of_files(make_recipe, tmp_path / "pets", tmp_path / "rows.parquet", batch_size=8)
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    assert [len(source) for source in batches.sources] == [2, 3]
    (batch,) = pickle.loads(pickle.dumps(batches))[0]
    assert batch["pixel_values"].shape[0] == 8
    said = {processor.decode(row[row >= 0].tolist()) for row in batch["labels"]}
    assert said == {"cats<|im_end|>", "dogs<|im_end|>", "A<|im_end|>"}
    assert len({one.tokens for one in measure_groups(batches)}) > 1


def test_files_are_known_again_by_what_they_hold(make_recipe, tmp_path, write):
    import shutil

    from sightline.training.fingerprints import check_same_files, fingerprints

    path = write(row("q", "a"))
    before = fingerprints(of_files(make_recipe, path))
    shutil.copy(path, tmp_path / "moved.jsonl")
    check_same_files(of_files(make_recipe, tmp_path / "moved.jsonl"), before)
    write(row("q", "b"))
    with pytest.raises(ValueError, match="has changed since the run began"):
        check_same_files(of_files(make_recipe, path), before)


def test_a_row_without_the_assistants_turn_takes_its_first_answer(write):
    asked = {"messages": [{"role": "user", "content": "What does it say?"}], "answers": ["STOP", "HALT"]}
    said = {**row("And this?", "GO"), "answers": ["LEAVE"]}
    groups = FileGroups(open_data(write(asked, said)), seed=0)
    assert [answers_of(groups.samples(index)[0]) for index in range(2)] == [["STOP"], ["GO"]]


def test_the_rows_of_the_documentation_can_be_learned_from(make_recipe, write, tmp_path, picture):
    page = (Path(__file__).parents[2] / "docs" / "your-own-questions.md").read_text(encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text(re.search(r"```json\n(.*?)```", page, flags=re.DOTALL)[1], encoding="utf-8")
    (tmp_path / "square.png").write_bytes(picture.read_bytes())
    recipe = of_files(make_recipe, tmp_path / "rows.jsonl")
    _, processor = build(recipe)
    sizes = measure_groups(StageBatches(recipe, recipe.stages[0], processor, 32))
    assert [one.images for one in sizes] == [1]  # all are about one picture
    assert "lines 1, 2, 3, 4" in sizes[0].origin


@pytest.fixture(scope="module")
def processor(recipe):
    return build(recipe)[1]


def same(one, other):
    return all(
        first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)
        for first, second in zip(one, other, strict=True)
    )


def test_batches_can_be_sent_to_a_worker_that_is_not_forked(make_recipe, write, processor):
    path = write(*(row(f"q{n}", f"a{n}", ["a.png"] * (n % 2)) for n in range(5)))
    recipe = make_recipe(
        data={"world": {"weight": 1}, "files": [{"path": str(path)}]}, stages=[{"kind": "joint", "steps": 1}]
    )
    tower = make_recipe(stages=[{"kind": "tower", "steps": 1}])
    for batches in (
        StageBatches(recipe, recipe.stages[0], processor, 32),
        RegionBatches(tower, tower.stages[0], processor, 32, 4),
    ):
        before = batches[1]
        sent = pickle.loads(pickle.dumps(batches))
        assert same(sent[1], before)
        assert same(sent[2], batches[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_a_picture_that_cannot_be_read_is_one_line_with_its_row(make_recipe, write, tmp_path, processor, workers):
    lines = [row(f"q{n}", f"a{n}", ["b.png" if n == 3 else "a.png"]) for n in range(4)]
    recipe = of_files(make_recipe, write(*lines), batch_size=2)
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"written\.jsonl, line 4: .*b\.png. is not an image.*; mend it") as caught:
        next(batches_from(batches, 0, workers))
    assert "\n" not in str(caught.value)
    assert "sample" not in str(caught.value)
    (tmp_path / "b.png").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"written\.jsonl, line 4: there is no picture .*; mend it and"
    ) as caught:
        next(batches_from(batches, 0, workers))
    assert str(caught.value).count("line 4") == 1
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("max_length", "limit"), [(None, 30), (40, 30), (30, 40)])
def test_a_row_longer_than_the_model_or_the_recipe_allows_is_named(make_recipe, write, processor, max_length, limit):
    path = write(row("a", "b", ["a.png"]), row("w" * 50, "b", ["a.png"]))
    recipe = of_files(make_recipe, path, max_length=max_length)
    name = "train.max_length" if max_length == 30 else "the model's max_position_embeddings"
    with pytest.raises(ValueError, match=rf"line 2: its \d+ tokens are more than {name} 30; shorten it"):
        measure_groups(StageBatches(recipe, recipe.stages[0], processor, 32), limit)


def test_a_row_in_which_the_assistant_says_nothing_is_named(make_recipe, write, processor):
    recipe = of_files(make_recipe, write(row("a", "b", ["a.png"]), row("c", " ", ["a.png"])))
    with pytest.raises(ValueError, match=r"line 2: an assistant message of it says nothing; give it text"):
        measure_groups(StageBatches(recipe, recipe.stages[0], processor, 32))


def test_a_file_is_measured_once_for_all_stages_while_it_stays_as_it_is(make_recipe, write, processor):
    lines = [row(f"q{n}", "a" * (n + 1), ["a.png"] * (n < 3)) for n in range(6)]
    path = write(*lines)
    recipe = make_recipe(
        data={"world": {"weight": 0}, "files": [{"path": str(path)}]},
        stages=[{"kind": "align", "steps": 1}, {"kind": "joint", "steps": 1}],
    )

    def measured(stage):
        heard, data = [], StageBatches(recipe, recipe.stages[stage], processor, 32)
        sizes = measure_groups(data, None, heard.append)
        # Each stage has its own order: a size must be that of the group at its place.
        for one in sizes:
            ids = data.encode([data.sources[0].group(one.number)])["input_ids"]
            assert ids.shape[1] == one.tokens
        return heard, sizes, count_rows(data)

    heard, first, rows = measured(0)
    assert heard == [3, 1, 1, 1]
    assert rows == 6
    heard, second, _ = measured(1)
    assert heard == []
    assert [one.origin for one in first] != [one.origin for one in second]
    assert sorted(one.origin for one in first) == sorted(one.origin for one in second)
    write(*lines, row("q6", "and another", ["a.png"]))
    heard, _, rows = measured(1)
    assert sum(heard) == rows == 7


def test_a_batch_is_a_function_of_its_step(recipe):
    _, processor = build(recipe)
    one, other = (StageBatches(recipe, recipe.stages[0], processor, 32) for _ in range(2))
    other[0]
    for first, second in zip(one[3], other[3], strict=True):
        assert first.keys() == second.keys()
        assert all((first[name] == second[name]).all() for name in first)


def test_a_boxs_weights_lie_on_the_patches_that_it_covers():
    weights = patch_weights([(0.25, 0.0, 0.75, 0.25), (0.0, 0.0, 1.0, 1.0)], 4)
    assert weights[0].nonzero().flatten().tolist() == [1, 2]
    assert weights.sum(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert weights[1].tolist() == pytest.approx([1 / 16] * 16)


TOO_BAD = [
    ({"messages": row("q", "", ["a.png"])["messages"][:1]}, "no token of it carries loss; give it"),
    (row("q", " \n", ["a.png"]), "an assistant message of it says nothing; give it text"),
    (row("w" * 80, "b", ["a.png"]), "tokens are more than the model's max_position_embeddings 60; shorten it or take"),
]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(("bad", "message"), TOO_BAD)
@pytest.mark.parametrize("shown", ["a.png", "b.png"])
def test_a_row_that_cannot_teach_is_refused_in_its_batch_as_in_preflight(
    make_recipe, write, processor, bad, message, shown, workers
):
    # About the picture of other rows, with which it is put together, and about one of its own.
    lines = [row("q0", "a0", ["a.png"]), bad | {"images": [shown]}, row("q2", "a2", ["a.png"])]
    recipe = of_files(make_recipe, write(*lines), batch_size=2)
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    with pytest.raises(ValueError, match=rf"written\.jsonl, line 2: .*{message}") as before:
        measure_groups(batches, 60)
    with pytest.raises(ValueError, match=rf"written\.jsonl, line 2: .*{message}") as caught:
        next(batches_from(batches, 0, workers, 60))
    assert str(caught.value) == f"{before.value}{BEGIN_ANEW}"


def test_a_picture_of_the_built_in_world_is_not_to_be_mended(make_recipe, processor):
    recipe = make_recipe(train={"max_length": 20}, stages=[{"kind": "joint", "steps": 1}])
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    told = (
        r"^the built-in world's picture \d+: its \d+ tokens are more than train\.max_length 20; raise that, or give "
        r"the kinds that say much the weight 0 in data\.world\.mix, or pair in data\.world\.layouts$"
    )
    with pytest.raises(ValueError, match=told):
        measure_groups(batches)
    with pytest.raises(ValueError, match=told):
        next(batches_from(batches, 0, 0))


def test_good_rows_of_every_shape_are_taken(make_recipe, write, processor):
    lines = [row(f"q{n}", f"a{n}", ["a.png"] * (n % 3)) for n in range(6)] + [row("q", "a", ["b.png"])]
    recipe = of_files(make_recipe, write(*lines), batch_size=8)
    batches = StageBatches(recipe, recipe.stages[0], processor, 32)
    longest = max(one.tokens for one in measure_groups(batches, 10_000))
    (batch,) = next(batches_from(batches, 0, 0, longest))
    assert (batch["labels"] != -100).any(dim=1).all()


@pytest.mark.parametrize("words_only", [False, True])
def test_exercises_stand_in_place_of_their_share_of_the_worlds_pictures(words_only):
    source = WorldSource(exercises=0.25, questions=1, things=8)
    groups = WorldGroups(source, seed=5, image_size=8, words_only=words_only)
    exercises = [number for number in range(200) if groups.origin(number) == f"the built-in world's exercise {number}"]
    assert 30 < len(exercises) < 70
    pictures = sorted(set(range(200)) - set(exercises))[:5]
    ask = groups.world.text_questions if words_only else groups.world.questions
    assert [groups.group(number) for number in exercises[:5]] == [
        groups.world.exercises(number, 1) for number in exercises[:5]
    ]
    assert [groups.group(number) for number in pictures] == [ask(number, 1) for number in pictures]


@pytest.mark.parametrize(("share", "pictures"), [(0.0, 64), (0.9, 64), (1.0, 0)])
def test_as_many_pictures_of_the_world_are_measured_however_many_exercises_stand_among_them(
    make_recipe, processor, share, pictures, monkeypatch
):
    monkeypatch.setattr(measuring, "WORLD_SAMPLE", 64)
    recipe = make_recipe(data={"world": {"exercises": share, "questions": 1}}, stages=[{"kind": "joint", "steps": 1}])
    sizes = measure_groups(StageBatches(recipe, recipe.stages[0], processor, 8))
    assert sum(one.images > 0 for one in sizes) == pictures
    assert len(sizes) >= 64
