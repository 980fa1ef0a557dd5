"""The words of a region through the language model's head: the loss, what moves, what stays."""

import math

import pytest
import torch

from sightline.data.scenes.atlas import nouns
from sightline.data.scenes.vocabulary import word_splitter
from sightline.data.scenes.world import World
from sightline.tokenizer import train_tokenizer
from sightline.training.build import build
from sightline.training.preflight import preflight
from sightline.training.stage import StageRun
from sightline.training.words import RegionWords

WORDS = {"kind": "tower", "objective": "words", "train": {"batch_size": 8}}


def a_run(make_recipe, steps=1, seed=0, **stage):
    recipe = make_recipe(stages=[{**WORDS, "steps": steps, **stage}], train={"seed": seed})
    model, processor = build(recipe)
    return StageRun(recipe, recipe.stages[0], model, processor, torch.device("cpu"), torch.float32)


def test_the_loss_is_the_cross_entropy_of_the_words_by_their_rarity(make_recipe):
    run = a_run(make_recipe)
    words = RegionWords(run.model.eval())
    batch = {
        "pixel_values": torch.randn(1, 3, 32, 32),
        "region_image": torch.tensor([0, 0]),
        "region_patches": torch.eye(16)[:2],  # a region of one patch each
        "region_words": torch.tensor([[40, 50, 60], [50, -100, -100]]),
    }
    with torch.no_grad():
        found = words(**batch)
        patches = run.model.vision_proj(run.model.encode_images(batch["pixel_values"]))[0, :2]
        chances = run.model.lm_head(run.model.model.norm(patches)).log_softmax(-1)
    rare, shared = math.log(3 / 1), math.log(3 / 2)
    by_hand = -(rare * (chances[0, 40] + chances[0, 60]) + shared * (chances[0, 50] + chances[1, 50]))
    by_hand /= 2 * rare + 2 * shared
    torch.testing.assert_close(found, by_hand)


def test_tower_projector_and_embeddings_move_and_the_blocks_do_not(make_recipe):
    run = a_run(make_recipe)
    before = {name: parameter.clone() for name, parameter in run.model.named_parameters()}
    next(iter(run.steps()))
    moved = {name for name, parameter in run.model.named_parameters() if not torch.equal(parameter, before[name])}
    assert not [name for name in moved if name.startswith("model.layers.")]
    assert {"model.embed_tokens.weight", "model.norm.weight", "vision_proj.vision_proj.0.weight"} <= moved
    assert any(name.startswith("vision_encoder.") for name in moved)


def test_it_learns_to_say_what_regions_are(make_recipe):
    losses = [record["loss"] for record in a_run(make_recipe, steps=25).steps()]
    assert sum(losses[-5:]) / 5 < losses[0] - 0.7


def test_the_preflight_takes_the_batch_of_the_most_regions(make_recipe):
    run = a_run(make_recipe, seed=1)
    sizes = [len(batch["region_image"]) for step in range(4) for batch in run.data[step]]
    assert max(sizes) > sizes[0]
    assert preflight(run).rows == f"{max(sizes)} regions in the largest of the first 4 batches"


def test_a_region_has_the_words_of_both_languages_and_of_its_place(make_recipe):
    run = a_run(make_recipe)
    batch = run.data[0][0]
    said = [run.data.processor.tokenizer.decode(row[row >= 0]) for row in batch["region_words"]]
    placed = [text for text in said if " at the top left" in text or " in the centre" in text]
    assert placed
    assert all("左上角" in text or "中间" in text for text in placed)


def test_boxes_are_the_same_in_every_language():
    world = World(things=4, image_size=32)
    for index in range(20):
        both = world.regions(index, placed=True, languages=("en", "zh"))
        english, chinese = (world.regions(index, placed=True, languages=(one,)) for one in ("en", "zh"))
        assert both.boxes == english.boxes == chinese.boxes
        assert both.texts == [f"{one} {other}" for one, other in zip(english.texts, chinese.texts, strict=True)]


def test_words_take_no_accumulation_and_no_files(make_recipe):
    with pytest.raises(ValueError, match=r"a step of regions is one batch: set stages\.tower\.train\.accumulate to 1"):
        make_recipe(stages=[{**WORDS, "steps": 1, "train": {"batch_size": 8, "accumulate": 2}}])


def test_a_chinese_name_is_the_same_tokens_wherever_it_stands():
    world = World(things=12, image_size=32)
    tokenizer = train_tokenizer(world.texts(2000), 3000)

    def encode(text):
        return tokenizer(text, add_special_tokens=False)["input_ids"]

    for noun in (noun for noun in nouns() if noun.id in world.things):
        name = encode(noun.zh)
        assert encode(f"、{noun.zh}、") == [*encode("、"), *name, *encode("、")]
        assert encode(f"红色的{noun.zh}。") == [*encode("红色的"), *name, *encode("。")]


def test_the_longest_name_is_cut_out():
    assert word_splitter(["cat", "owl"])("一只猫头鹰和一只猫。") == ["一只", "猫头鹰", "和一只", "猫", "。"]


def test_regions_lie_on_the_projected_features_where_pixel_shuffle_joins_patches(make_recipe):
    recipe = make_recipe(
        model={"overrides": {"pixel_shuffle_factor": 2}}, stages=[{**WORDS, "steps": 1, "trains": ["projector"]}]
    )
    run = StageRun(recipe, recipe.stages[0], *build(recipe), torch.device("cpu"), torch.float32)
    assert run.data[0][0]["region_patches"].shape[1] == run.model.config.num_image_tokens == 4
    assert math.isfinite(next(iter(run.steps()))["loss"])
