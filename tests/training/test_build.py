"""Where a run's model comes from: the same recipe gives the same model, from each of the three origins."""

import json

import pytest
import torch

import sightline
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.batches import open_batches
from sightline.training.build import build, reload
from sightline.training.checkpoint import save_model
from sightline.training.recipe import Recipe

CAPTION = [{"role": "user", "content": "What is this?"}, {"role": "assistant", "content": "A duck."}]


@pytest.fixture(scope="module")
def folder(recipe, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "model"
    save_model(folder, *build(recipe))
    return folder


def with_model(recipe, **model):
    """`recipe` with another model section; only the language is trained, so that LoRA fits."""
    stages = [{"kind": "instruct", "steps": 1}]
    tokenizer = recipe.tokenizer.model_dump() if "preset" in model else {}
    fields = {**recipe.model_dump(exclude_none=True), "model": model, "tokenizer": tokenizer, "stages": stages}
    return Recipe.model_validate(fields)


def from_checkpoint(recipe, folder, **model):
    return with_model(recipe, checkpoint=str(folder), **model)


def same_weights(one, other):
    weights = other.state_dict()
    assert weights.keys() == one.state_dict().keys()
    return all(torch.equal(weight, weights[name]) for name, weight in one.state_dict().items())


def test_a_preset_is_fresh_and_its_tokenizer_knows_the_world(recipe):
    model, processor = build(recipe)
    assert isinstance(processor, VLMProcessor)
    assert model.config.hidden_size == 32
    assert model.config.vocab_size == len(processor.tokenizer) == 600
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert len(processor.tokenizer.encode("Describe the picture.")) < len("Describe the picture.") / 2


def test_an_override_of_the_tower_keeps_the_rest_of_the_presets(recipe):
    overrides = {"num_hidden_layers": 1, "vision_config": {"num_hidden_layers": 2}}
    fields = {**recipe.model_dump(exclude_none=True), "model": {"preset": "sightline-tiny", "overrides": overrides}}
    model, processor = build(Recipe.model_validate(fields))
    tower = model.vision_encoder.vision_model
    assert (len(tower.encoder.layers), tower.config.hidden_size) == (2, 192)
    assert model.config.num_image_tokens == processor.num_image_tokens == 196


def test_the_seed_decides_the_fresh_weights(recipe, make_recipe):
    torch.manual_seed(1)
    one, _ = build(recipe)
    torch.manual_seed(2)
    again, _ = build(recipe)
    assert same_weights(one, again)
    other, _ = build(make_recipe(train={"seed": 7}))
    assert not torch.equal(one.model.layers[0].mlp.up_proj.weight, other.model.layers[0].mlp.up_proj.weight)


def test_a_preset_without_the_world_has_no_texts_for_its_tokenizer(make_recipe):
    recipe = make_recipe(data={"world": None, "files": [{"path": "rows.jsonl"}]})
    with pytest.raises(ValueError, match=r"model\.preset learns its tokenizer from the built-in world") as caught:
        build(recipe)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_is_taken_as_it_is_in_float32(recipe, folder):
    recipe = from_checkpoint(recipe, folder)
    model, processor = build(recipe)
    assert same_weights(model, VLM.from_pretrained(folder))
    half = VLM.from_pretrained(folder, dtype=torch.bfloat16)
    save_model(folder.parent / "half", half, processor)
    model, _ = build(from_checkpoint(recipe, folder.parent / "half"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_a_checkpoint_may_be_the_shipped_one(recipe):
    model, processor = build(from_checkpoint(recipe, "sightline-tiny"))
    assert model.config.num_image_tokens == processor.num_image_tokens == 196


def test_the_declared_state_of_the_tower_is_kept(recipe, folder, tmp_path):
    model, processor = build(from_checkpoint(recipe, folder))
    assert model.config.freeze_vision
    model.config.freeze_vision = False
    save_model(tmp_path, model, processor)
    assert not build(from_checkpoint(recipe, tmp_path))[0].config.freeze_vision


def test_a_checkpoint_can_be_upcycled(recipe, folder):
    section = {"n_routed_experts": 3, "num_experts_per_token": 1, "noise": 0.1}
    recipe = from_checkpoint(recipe, folder, upcycle=section)
    model, _ = build(recipe)
    assert model.config.n_routed_experts == 3
    assert same_weights(model, build(recipe)[0])


def test_a_checkpoint_can_get_adapters_of_which_the_seed_decides(recipe, folder):
    section = {"rank": 2, "targets": ["q_proj"]}
    recipe = from_checkpoint(recipe, folder, lora=section)
    model, processor = build(recipe)
    assert any(".lora_A." in name for name, _ in model.named_parameters())
    assert same_weights(model, build(recipe)[0])
    again, its_processor = reload(recipe, folder)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert its_processor.chat_template == processor.chat_template


def test_reload_gives_the_weights_of_the_folder(recipe, folder):
    model, processor = reload(recipe, folder)
    fresh, its_processor = build(recipe)
    assert same_weights(model, fresh)
    one, other = (each.encode_for_training([(CAPTION, None)])["labels"] for each in (processor, its_processor))
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", ["/nowhere", "runs"])
def test_a_checkpoint_that_is_not_there_is_one_line(recipe, name):
    with pytest.raises(FileNotFoundError, match=f"there is no model '{name}'") as caught:
        build(from_checkpoint(recipe, name))
    assert "\n" not in str(caught.value)


def test_a_pretrained_tower_and_language_model_are_composed(recipe, monkeypatch):
    asked = {}

    def stand_in(vision, language, **options):
        asked.update(options, vision=vision, language=language)
        return sightline.load("sightline-tiny", device="cpu", dtype="float32")

    monkeypatch.setattr("sightline.training.build.compose", stand_in)
    build(with_model(recipe, vision="towers/clip", language="models/small", overrides={"dropout": 0.1}))
    assert (asked["vision"], asked["language"]) == ("towers/clip", "models/small")
    assert asked["overrides"]["dropout"] == 0.1
    assert asked["trains_embeddings"]


def with_rows(recipe, folder, path, **model):
    fields = recipe.model_dump(exclude_none=True) | {
        "tokenizer": {},
        "model": {"checkpoint": str(folder), **model},
        "data": {"files": [{"path": str(path)}]},
        "stages": [{"kind": "instruct", "steps": 1}],
    }
    return Recipe.model_validate(fields)


def test_a_checkpoint_may_be_taken_for_pictures_of_another_size(recipe, folder):
    recipe = from_checkpoint(recipe, folder, image_size=48)
    model, processor = build(recipe)
    assert model.config.num_image_tokens == processor.num_image_tokens == 36
    batches = open_batches(recipe, recipe.stages[0], processor, model.config.vision_config)
    (batch,) = batches[0]
    assert batch["pixel_values"].shape[1:] == (3, 48, 48)
    assert model(**{name: batch[name] for name in ("input_ids", "pixel_values")}).logits.isfinite().all()
    with pytest.raises(ValueError, match=r"image_size=50 is no multiple of patch_size=8"):
        build(from_checkpoint(recipe, folder, image_size=50))


def test_words_that_the_files_say_and_the_tokenizer_spells_out_become_tokens(recipe, folder, tmp_path):
    said = "Der Würfel liegt auf der Wiese, und die Wiese ist neben dem Würfel."
    turns = [{"role": "user", "content": said}, {"role": "assistant", "content": "Würfel"}]
    (tmp_path / "rows.jsonl").write_text(f"{json.dumps({'messages': turns})}\n" * 3)
    plain = build(with_rows(recipe, folder, tmp_path / "rows.jsonl"))[1]
    recipe = with_rows(recipe, folder, tmp_path / "rows.jsonl", new_words=4)
    model, processor = build(recipe)
    assert len(processor.encode_text(said)) < 0.7 * len(plain.encode_text(said))
    assert model.config.vocab_size == len(processor.tokenizer) > 600
    assert same_weights(model, build(recipe)[0])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"preset": "sightline-tiny", "image_size": 32}, r"a fresh one's is overrides\.vision_config\.image_size"),
        ({"preset": "sightline-tiny", "new_words": 3}, r"a fresh one's are tokenizer\.vocab_size"),
        ({"checkpoint": "x", "new_words": 3, "lora": {}}, r"LoRA leaves embeddings as they are"),
        ({"checkpoint": "x", "new_words": 3}, r"new_words come from files"),
    ],
)
def test_what_cannot_grow_is_refused(recipe, model, message):
    with pytest.raises(ValueError, match=message):
        with_model(recipe, **model)


def test_new_words_need_a_stage_that_learns_them(recipe, folder):
    fields = with_rows(recipe, folder, "rows.jsonl", new_words=3).model_dump()
    fields["stages"] = [{"kind": "align", "steps": 1}]
    with pytest.raises(ValueError, match="give a stage that trains the language model"):
        Recipe.model_validate(fields)
