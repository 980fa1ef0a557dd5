"""`processor(images=..., text=...)`: counting, padding, limits, and the ways transformers and TRL call it."""

import base64

import pytest
import torch
from PIL import Image

from sightline.config import PRESETS, VLMConfig
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer

RED, GREEN, BLUE = (Image.new("RGB", (8, 6), colour) for colour in ("red", "green", "blue"))


@pytest.fixture(scope="module")
def processor():
    config = VLMConfig(**PRESETS["sightline-tiny"])
    return VLMProcessor.from_config(config, train_tokenizer(["What is this? A red circle."] * 5, 300))


def question(text, *images):
    return [{"role": "user", "content": [*({"type": "image"} for _ in images), {"type": "text", "text": text}]}]


QUESTIONS = [question("What?", RED), question("How many are there in both?", GREEN, BLUE), question("Hello")]
IMAGES = [[RED], [GREEN, BLUE], []]


def test_the_default_run_is_196_ids_and_the_picture_is_224_wide(processor):
    batch = processor(images=RED, text="@What?", return_tensors="pt")
    assert (batch["input_ids"] == 34).sum() == 196
    assert batch["pixel_values"].shape == (1, 3, 224, 224)
    assert set(processor.model_input_names) == {"input_ids", "attention_mask", "pixel_values"}


def test_rendered_text_encodes_as_messages_do(processor):
    rendered = processor.apply_chat_template(QUESTIONS, images=IMAGES, add_generation_prompt=True)
    by_text = processor(images=IMAGES, text=rendered, return_tensors="pt")
    by_messages = processor.apply_chat_template(
        QUESTIONS, images=IMAGES, add_generation_prompt=True, tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert set(by_text) == set(by_messages)
    assert all(torch.equal(by_text[name], by_messages[name]) for name in by_text)


def test_text_is_rendered_before_its_images_are_known_as_trl_does(processor):
    rendered = [processor.apply_chat_template(messages) for messages in QUESTIONS]
    assert rendered == processor.apply_chat_template(QUESTIONS, images=IMAGES)
    batch = processor(images=IMAGES, text=rendered, return_tensors="pt")
    assert (batch["input_ids"] == 34).sum(dim=1).tolist() == [196, 392, 0]
    with pytest.raises(ValueError, match="sample 0: found 1 image runs, but 0 images"):
        processor.apply_chat_template(QUESTIONS[0], tokenize=True)


def test_the_call_of_transformers_pipeline_works(processor):
    batch = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "image", "image": RED}, {"type": "text", "text": "What?"}]}],
        continue_final_message=False,
        return_tensors="pt",
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        processor_kwargs={},
    ).to(dtype=torch.bfloat16)
    assert batch["pixel_values"].dtype == torch.bfloat16
    assert batch["input_ids"].dtype == torch.int64
    assert processor.post_process_image_text_to_text(batch["input_ids"], skip_special_tokens=True) == [
        "user\nWhat?\nassistant\n"
    ]


def test_a_batch_is_each_sample_alone_padded_on_the_left(processor):
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    batch = processor.apply_chat_template(QUESTIONS, images=IMAGES, **options)
    width = batch["input_ids"].shape[1]
    pixels = []
    for row, (messages, images) in enumerate(zip(QUESTIONS, IMAGES, strict=True)):
        alone = processor.apply_chat_template(messages, images=images, **options)
        length = alone["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][row, width - length :], alone["input_ids"][0])
        assert batch["attention_mask"][row].tolist() == [0] * (width - length) + [1] * length
        assert (batch["input_ids"][row, : width - length] == processor.tokenizer.pad_token_id).all()
        pixels += list(alone.get("pixel_values", []))
    torch.testing.assert_close(batch["pixel_values"], torch.stack(pixels), rtol=0, atol=0)


def test_a_flat_list_of_images_is_dealt_out_in_reading_order(processor):
    text = ["@a", "@@b", "c"]
    flat = processor(images=[RED, GREEN, BLUE], text=text, return_tensors="pt")
    nested = processor(images=IMAGES, text=text, return_tensors="pt")
    assert all(torch.equal(flat[name], nested[name]) for name in flat)


@pytest.mark.parametrize(
    ("text", "images", "message"),
    [
        (["@a"], None, "sample 0: found 1 image runs, but 0 images were given"),
        (["@a", "b"], [[RED], [BLUE]], "sample 1: found 0 image runs, but 1 images were given"),
        (["@a", "@@b"], [RED, BLUE], "sample 1: found 2 image runs, but 1 images were given"),
        (["@a", "b"], [RED, BLUE], "sample 1: found 0 image runs, but 1 images were given"),
        (["@" * 196], [RED], "196 image runs, but 1 images were given: write the placeholder once for each image"),
        (["@a"], [[RED], [RED]], "1 texts, but lists of images for 2"),
    ],
)
def test_runs_that_do_not_match_images_are_an_error(processor, text, images, message):
    with pytest.raises(ValueError, match=message):
        processor(images=images, text=text)


def test_messages_that_do_not_match_images_are_an_error(processor):
    with pytest.raises(ValueError, match=r"sample 1: found 2 image runs, but 1 images were given \(0 in the messages"):
        processor.apply_chat_template(QUESTIONS, images=[[RED], [GREEN], []])
    with pytest.raises(ValueError, match="sample 0: found 1 image runs, but 2 images"):
        processor.encode_for_training([(QUESTIONS[0], [RED, BLUE])])
    with pytest.raises(ValueError, match="3 conversations, but images for 1"):
        processor.apply_chat_template(QUESTIONS, images=[[RED]])
    with pytest.raises(ValueError, match="give text, images or both"):
        processor()


def test_a_prompt_over_max_length_raises_with_both_numbers(processor):
    messages = question("What?", RED)
    length = len(processor.apply_chat_template(messages, images=[RED], tokenize=True)[0])
    call = {"images": [RED], "tokenize": True}
    processor.apply_chat_template(messages, max_length=length, **call)
    with pytest.raises(ValueError, match=f"sample 0 has {length} tokens, but max_length={length - 1}"):
        processor.apply_chat_template(messages, processor_kwargs={"max_length": length - 1}, **call)
    with pytest.raises(ValueError, match=f"sample 0 has {length} tokens, but max_length=100"):
        processor.encode_for_training([(messages, [RED])], max_length=100)


def test_padding_follows_the_options_of_transformers(processor):
    text = ["a", "a longer text"]
    ragged = processor(text=text, padding=False)["input_ids"]
    assert len(ragged[0]) < len(ragged[1])
    right = processor(text=text, padding_side="right", return_tensors="pt")
    assert right["attention_mask"][0].tolist() == [1] * len(ragged[0]) + [0] * (len(ragged[1]) - len(ragged[0]))
    assert processor(text=text, pad_to_multiple_of=16, return_tensors="pt")["input_ids"].shape[1] % 16 == 0
    fixed = processor(text=text, padding="max_length", max_length=40, return_tensors="pt")
    assert fixed["input_ids"].shape == (2, 40)
    as_trl = processor(
        images=[[RED]], text=["@a"], padding=True, padding_side="right", add_special_tokens=False, return_tensors="pt"
    )
    assert as_trl["input_ids"].shape == (1, 197)


def test_what_the_tokenizer_was_saved_with_decides_nothing(processor, monkeypatch):
    monkeypatch.setitem(processor.tokenizer.init_kwargs, "padding_side", "right")
    monkeypatch.setitem(processor.tokenizer.init_kwargs, "max_length", 3)
    mask = processor(text=["a", "a longer text"], return_tensors="pt")["attention_mask"]
    assert mask[0].tolist() == sorted(mask[0].tolist())
    assert mask.shape[1] > 3


def test_how_the_tokenizer_was_last_called_decides_nothing(processor):
    messages = [{"role": "user", "content": [{"type": "text", "text": "a longer text"}]}]
    expected = processor.apply_chat_template(messages, tokenize=True)
    processor.tokenizer(["a", "b"], padding="max_length", max_length=64)
    processor.tokenizer("a longer text", truncation=True, max_length=2)
    processor.tokenizer("a", split_special_tokens=True)
    assert processor.apply_chat_template(messages, tokenize=True) == expected


def test_one_picture_need_not_be_in_a_list(processor):
    messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    listed = processor.apply_chat_template([messages, messages], images=[[RED], [BLUE]], **options)
    alone = processor.apply_chat_template([messages, messages], images=[RED, BLUE], **options)
    assert torch.equal(alone["pixel_values"], listed["pixel_values"])
    assert torch.equal(alone["input_ids"], listed["input_ids"])


def test_images_alone_give_pixel_values(processor):
    batch = processor(images=[RED, BLUE], return_tensors="pt")
    assert set(batch) == {"pixel_values"}
    assert batch["pixel_values"].shape == (2, 3, 224, 224)


def test_images_are_taken_from_files_bytes_and_openai_parts(processor, tmp_path):
    path = tmp_path / "red.png"
    RED.save(path)
    sources = [
        {"type": "image", "image": str(path)},
        {"type": "image", "path": path},
        {"type": "image", "image": path.read_bytes(), "text": None},
        {"type": "image_url", "image_url": {"url": _data_uri(path)}},
        {"type": "image", "url": _data_uri(path), "image": None},
    ]
    batch = processor.apply_chat_template(
        [{"role": "user", "content": sources}], tokenize=True, return_dict=True, return_tensors="pt"
    )
    assert batch["pixel_values"].shape[0] == 5
    assert torch.equal(batch["pixel_values"], batch["pixel_values"][:1].expand(5, -1, -1, -1))


def test_transparent_pictures_are_on_white_and_wide_ones_are_not_cropped(processor):
    clear = Image.new("RGBA", (300, 20), (0, 0, 0, 0))
    white = Image.new("RGB", (50, 50), "white")
    seen = processor(images=[clear, white], return_tensors="pt")["pixel_values"]
    assert torch.equal(seen[0], seen[1])
    halves = Image.new("RGB", (400, 100), "black")
    halves.paste("white", (200, 0, 400, 100))
    pixels = processor(images=halves, return_tensors="pt")["pixel_values"][0, 0]
    assert pixels[:, 0].unique().numel() == 1
    assert pixels[0, 0] < 0 < pixels[0, -1]


def _data_uri(path):
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
