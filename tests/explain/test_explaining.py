"""`explain` as a caller uses it: words with maps, the answer generated or given, errors that say what to do."""

import copy
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import sightline
from sightline.config import VLMConfig
from sightline.explain import explain
from sightline.explain.seen import seen_region
from sightline.nn.vlm import VLM

LLAVA_TEMPLATE = (
    "{% for message in messages %}{{ message.role | upper }}: {% for part in message.content %}"
    "{{ '<image>\\n' if part.type == 'image' else part.text }}{% endfor %}"
    "{{ '\\n' if message.role == 'user' }}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)


def test_the_answer_is_the_models_own_unless_given(wide, pictures, ask):
    model, processor = wide
    messages = ask(pictures[0])
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    ids = model.generate(**inputs, max_new_tokens=5, do_sample=False)[0, inputs["input_ids"].shape[1] :].tolist()
    found = explain(model, processor, messages, occlusion=False, max_new_tokens=5)
    assert found.answer == processor.decode([token for token in ids if token != processor.tokenizer.eos_token_id])
    written = [
        token for token in ids if token != processor.tokenizer.eos_token_id and processor.decode([token]).strip()
    ]
    assert [token for word in found.words for token in word.token_ids] == written
    given = explain(model, processor, messages, ids, occlusion=False)
    assert given.answer == found.answer
    assert [word.log_probability for word in given.words] == [word.log_probability for word in found.words]


@pytest.mark.parametrize("text", ["A red duck.", "一只鸭子。", "@ <|im_end|> @"])
def test_a_given_text_is_scored_as_it_is_trained(wide, pictures, ask, text):
    """As the chat format writes it, and with the probabilities that the labels' loss is made of."""
    model, processor = wide
    messages = ask(pictures[0])
    found = explain(model, processor, messages, text, occlusion=False)
    assert found.answer == text
    batch = processor.encode_for_training([([*messages, {"role": "assistant", "content": text}], None)])
    logits = model(input_ids=batch["input_ids"], pixel_values=batch["pixel_values"], logits_to_keep=0).logits
    supervised = batch["labels"][0] != -100
    scores = logits[0].log_softmax(-1)[:-1].gather(-1, batch["input_ids"][0, 1:, None])[:, 0][supervised[1:]]
    total = sum(word.log_probability for word in found.words)
    spaces = [i for i, token in enumerate(batch["labels"][0][supervised][:-1]) if not processor.decode([token]).strip()]
    kept = [score for i, score in enumerate(scores[:-1].tolist()) if i not in spaces]
    assert total == pytest.approx(sum(kept), rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])  # where two passes differ
def test_every_picture_has_its_maps_and_the_worst_window_is_named(wide, pictures, ask, dtype):
    model, processor = wide
    found = explain(copy.deepcopy(model).to(dtype), processor, ask(*pictures), "A duck.", window=2, stride=2)
    assert found.grid == (4, 4)
    assert found.regions == ((0.0, 0.0, 1.0, 1.0),) * 2
    for word in found.words:
        assert word.attention.shape == word.occlusion.shape == (2, 4, 4)
        worst = word.worst
        most = word.occlusion.max()
        assert word.occlusion[worst.image, worst.row, worst.col] == most
        assert most == pytest.approx(word.probability - worst.probability, abs=1e-5)
        assert word.loss == max(0.0, word.probability - worst.probability)
        assert 0 < word.on_pictures < 1


def test_attention_alone_hides_nothing(wide, pictures, ask, monkeypatch):
    def fail(*_, **__):
        raise AssertionError("a window was hidden")

    monkeypatch.setattr("sightline.explain.explaining.score_hidden", fail)
    found = explain(*wide, ask(pictures[0]), "A duck.", occlusion=False)
    assert (found.window, found.stride, found.words[0].occlusion, found.words[0].worst) == (None,) * 4


def test_json_holds_what_the_explanation_holds(wide, pictures, ask):
    found = explain(*wide, ask(pictures[0]), "A duck.")
    report = json.loads(json.dumps(found.as_dict()))
    for word, kept in zip(found.words, report["words"], strict=True):
        assert found.answer[kept["start"] : kept["end"]] == kept["text"] == word.text
        assert kept["probability"] == pytest.approx(word.probability, abs=1e-5)
        np.testing.assert_allclose(kept["attention"], word.attention, atol=1e-5)
        np.testing.assert_allclose(kept["occlusion"], word.occlusion, atol=1e-5)
        assert math.exp(kept["worst"]["log_probability"]) == pytest.approx(word.worst.probability, abs=1e-4)


def test_what_is_looked_at_is_named(wide, pictures, ask):
    def source(**options):
        return explain(*wide, ask(pictures[0]), "A", occlusion=False, **options).attention_from

    assert source() == "mean over 2 layers, mean over 2 heads"
    assert source(layer=1, head=0) == "layer 1, head 0"
    assert source(rollout=True) == "rollout through 2 layers"


def test_folded_patches_are_hidden_and_shown_as_one(wide, pictures, ask):
    """With pixel shuffle an image token stands for a square of patches."""
    config = wide[0].config
    folded = VLMConfig.from_dict(
        {**config.to_dict(), "pixel_shuffle_factor": 2, "image_ids": [34] * 4, "image_special_token": "@@@@"}
    )
    torch.manual_seed(0)
    processor = type(wide[1]).from_config(folded, wide[1].tokenizer)
    found = explain(VLM(folded).eval(), processor, ask(pictures[0]), "A duck.")
    assert found.grid == (2, 2)
    assert found.words[0].occlusion.shape == (1, 2, 2)


def test_a_llava_checkpoint_with_its_own_processor_is_explained(wide, ask):
    """Its processor crops, and its template writes text where ours writes marks."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    from sightline.interop.llava import vlm_from_llava

    tokenizer = copy.deepcopy(wide[1].tokenizer)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=32, patch_size=8, **sizes),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **sizes),
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
    )
    processor = LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )
    torch.manual_seed(0)
    model = vlm_from_llava(LlavaForConditionalGeneration(config).eval())
    found = explain(model, processor, ask(Image.new("RGB", (64, 32), "red")), "A duck.")
    assert (found.answer, found.grid, found.regions) == ("A duck.", (4, 4), ((0.25, 0.0, 0.75, 1.0),))
    assert [word.text for word in found.words] == ["A", "duck", "."]


def test_bfloat16_gives_maps_near_those_of_float32(wide, pictures, ask):
    rounded = copy.deepcopy(wide[0]).to(torch.bfloat16)
    words = [explain(model, wide[1], ask(pictures[0]), "A duck.").words[1] for model in (wide[0], rounded)]
    for maps in ([word.attention for word in words], [word.occlusion for word in words]):
        assert maps[0].dtype == maps[1].dtype == np.float32
        assert np.corrcoef(maps[0].ravel(), maps[1].ravel())[0, 1] > 0.9  # a map of something else is not so near


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 2}, "no layer 2: the model has 2, from 0 to 1"),
        ({"head": -1}, "no head -1"),
        ({"rollout": True, "head": 0}, "leave head out"),
        ({"window": 5}, "1 to 4 patches wide"),
        ({"window": 2, "stride": 3}, "a stride is 1 to 2"),
        ({"answer": " \n"}, "holds no word"),
        ({"answer": []}, "holds no word"),
        ({"answer": "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 9}, "max_position_embeddings is 128"),
    ],
)
def test_what_cannot_be_explained_is_said(wide, pictures, ask, options, message):
    with pytest.raises(ValueError, match=message):
        explain(*wide, ask(pictures[0]), **{"answer": "A", **options})


def test_an_answer_that_is_too_long_is_refused_before_its_tokens_are_looked_at(wide, pictures, ask, monkeypatch):
    monkeypatch.setattr("sightline.explain.explaining.words_of", lambda *_: pytest.fail("its words were looked for"))
    with pytest.raises(ValueError, match="max_position_embeddings is 128"):
        explain(*wide, ask(pictures[0]), "a b c " * 999)


def test_the_documented_program_runs(wide, monkeypatch, capsys):
    root = Path(__file__).parents[2]
    monkeypatch.chdir(root)
    monkeypatch.setattr(sightline, "load", lambda name: wide, raising=False)
    program = re.search(r"```python\n(.*?)```", (root / "docs" / "explain.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(program[1], {})
    assert "(1, 4, 4) (1, 4, 4)" in capsys.readouterr().out


def test_messages_without_a_picture_are_refused(wide, ask):
    with pytest.raises(ValueError, match="no picture in the messages"):
        explain(*wide, ask(), "A")


def test_what_a_processor_crops_away_is_known():
    from transformers import CLIPImageProcessorPil

    square = {"height": 32, "width": 32}
    crops = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=square)
    assert seen_region(crops, (64, 32)) == (0.25, 0.0, 0.75, 1.0)
    assert seen_region(crops, (100, 400)) == (0.0, 0.375, 1.0, 0.625)
    assert seen_region(CLIPImageProcessorPil(size=square, do_center_crop=False), (64, 32)) == (0.0, 0.0, 1.0, 1.0)
    half = CLIPImageProcessorPil(size=square, crop_size={"height": 16, "width": 64})
    assert seen_region(half, (9, 9)) == (-0.5, 0.25, 1.5, 0.75)
    # And the pixels agree: what the processor keeps is that part of the picture.
    picture = Image.new("RGB", (64, 32))
    picture.paste("white", (16, 0, 48, 32))
    assert crops(picture, return_tensors="pt")["pixel_values"].std((2, 3)).max() < 1e-6
