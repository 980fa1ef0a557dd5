"""Messages to ids: the template, image runs, typed text as data, the assistant's mask, and back to text."""

import copy
import pickle

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, TextIteratorStreamer

from sightline.chat import CHAT_TEMPLATE
from sightline.config import VLMConfig
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer

RED, BLUE = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
RUN = 4


@pytest.fixture(scope="module")
def processor():
    texts = ["What is this? It is a red circle.", "请描述这张图片：红色的圆形。", "system user assistant"] * 20
    return VLMProcessor.from_config(small_config(), train_tokenizer(texts, 330))


def small_config(**fields):
    tower = {"hidden_size": 8, "num_attention_heads": 1, "image_size": 32, "patch_size": 16}
    return VLMConfig(vocab_size=512, hidden_size=16, num_attention_heads=1, vision_config=tower, **fields)


def test_a_tokenizer_that_the_default_template_is_not_for_is_refused(processor):
    other = copy.deepcopy(processor.tokenizer)
    other.add_special_tokens({"additional_special_tokens": ["<image>"]})
    with pytest.raises(ValueError, match=r"the default chat template writes .* give a chat_template"):
        VLMProcessor(processor.image_processor, other, image_token="<image>", num_image_tokens=4)
    other.pad_token = None
    with pytest.raises(ValueError, match="has no padding token: set its pad_token"):
        VLMProcessor(processor.image_processor, other, num_image_tokens=4)


def test_what_tools_are_called_is_data(processor):
    from sightline.chat import mark_values

    tools = {"type": "function", "<|im_end|>": 1, "$ref": "a", "properties": {"type": {"type": "<|im_end|>"}}}
    marked = mark_values(tools)
    assert marked["type"] == "function"
    assert "<|im_end|>" not in marked
    assert "$ref" in marked
    assert marked["properties"]["type"]["type"] != "<|im_end|>"


def image(source=RED):
    return {"type": "image", "image": source}


def text(content):
    return {"type": "text", "text": content}


def user(*parts):
    return {"role": "user", "content": list(parts)}


CONVERSATION = [
    {"role": "system", "content": "Be brief."},
    user(image(), text("What is this?"), image(BLUE)),
    {"role": "assistant", "content": "A red circle."},
    user(text("And "), image(BLUE), text("@home?")),
    {"role": "assistant", "content": [text("  Blue.\n")]},
]


def encode(processor, messages, **options):
    return processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt", **options)


def test_the_template_is_chatml(processor):
    rendered = processor.apply_chat_template(CONVERSATION, add_generation_prompt=True, sanitize_control_tokens=False)
    assert rendered == (
        "<|im_start|>system\nBe brief.<|im_end|>\n"
        "<|im_start|>user\n@What is this?@<|im_end|>\n"
        "<|im_start|>assistant\nA red circle.<|im_end|>\n"
        "<|im_start|>user\nAnd @<|at|>home?<|im_end|>\n"
        "<|im_start|>assistant\n  Blue.\n<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_each_image_becomes_its_run_and_pixels_stay_in_reading_order(processor):
    batch = encode(processor, CONVERSATION)
    ids = batch["input_ids"][0].tolist()
    assert ids.count(34) == 3 * RUN
    start = ids.index(34)
    assert ids[start : start + RUN] == [34] * RUN
    assert batch["pixel_values"].shape == (3, 3, 32, 32)
    assert batch["pixel_values"].dtype == torch.float32
    red, *blue = processor.image_processor([RED, BLUE, BLUE], return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"], torch.stack([red, *blue]), rtol=0, atol=0)


def test_adjacent_images_are_adjacent_runs(processor):
    ids = encode(processor, [user(image(), image(BLUE))])["input_ids"][0].tolist()
    start = ids.index(34)
    assert ids[start : start + 2 * RUN] == [34] * (2 * RUN)
    assert ids.count(34) == 2 * RUN


def test_text_alone_has_no_pixel_values(processor):
    batch = encode(processor, [user(text("hi"))])
    assert set(batch) == {"input_ids", "attention_mask"}


def test_decoding_gives_back_what_was_typed(processor):
    batch = encode(processor, CONVERSATION)
    assert processor.batch_decode(batch["input_ids"], skip_special_tokens=True) == [
        "system\nBe brief.\nuser\nWhat is this?\nassistant\nA red circle.\nuser\nAnd @home?\nassistant\n  Blue.\n\n"
    ]
    assert processor.decode(batch["input_ids"][0][-5:]) == processor.tokenizer.decode(batch["input_ids"][0][-5:])
    assert processor.decode(batch["input_ids"], skip_special_tokens=True) == processor.post_process_image_text_to_text(
        batch["input_ids"]
    )
    assert processor.decode(34, skip_special_tokens=True) == ""
    ids = batch["input_ids"][0]
    for listed in (list(ids), list(ids.numpy())):
        assert processor.decode(listed, skip_special_tokens=True) == processor.decode(ids, skip_special_tokens=True)


def test_streaming_gives_typed_at_signs(processor):
    streamer = TextIteratorStreamer(processor.tokenizer, skip_special_tokens=True)
    for token in processor._encoder.typed("红@home @@ ok"):
        streamer.put(torch.tensor([token]))
    streamer.end()
    assert "".join(streamer) == "红@home @@ ok"


@pytest.mark.parametrize("role", ["system", "user", "assistant"])
@pytest.mark.parametrize(
    "typed",
    ["<|im_end|>", "<|im_start|>assistant\n", "@", "@" * 196, "<|at|>", "<|reserved_3|>", "\U0010fffe2@\U0010ffff"],
)
def test_typed_control_text_is_data(processor, role, typed):
    plain = encode(processor, [{"role": role, "content": "x"}])["input_ids"][0]
    ids = encode(processor, [{"role": role, "content": typed}])["input_ids"][0]
    assert 34 not in ids
    for control in (0, 1, 2, *range(260, 272)):
        assert (ids == control).sum() == (plain == control).sum()
    assert processor.decode(ids) == f"<|im_start|>{role}\n{typed}<|im_end|>\n"


def test_the_template_alone_keeps_a_typed_at_from_being_an_image(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "me@home"}])["input_ids"]
    assert 34 not in ids
    assert tokenizer.decode(ids) == "<|im_start|>user\nme@home<|im_end|>\n"


def test_the_assistant_mask_covers_its_text_and_end_token_exactly(processor):
    batch = encode(processor, CONVERSATION, return_assistant_tokens_mask=True)
    ids, mask = batch["input_ids"][0], batch["assistant_masks"][0]
    assert processor.decode(ids[mask == 1]) == "A red circle.<|im_end|>  Blue.\n<|im_end|>"
    without = encode(processor, CONVERSATION)
    assert torch.equal(ids, without["input_ids"][0])


def test_training_labels_are_the_template_path_mask(processor):
    samples = [(CONVERSATION, None), ([user({"type": "image"}, text("?")), CONVERSATION[2]], [RED])]
    batch = processor.encode_for_training(samples, pad_to_multiple_of=8)
    assert batch["input_ids"].shape[1] % 8 == 0
    assert batch["pixel_values"].shape[0] == 4
    for row, (messages, images) in enumerate(samples):
        one = encode(processor, messages, images=images, return_assistant_tokens_mask=True)
        length = one["input_ids"].shape[1]
        assert torch.equal(batch["input_ids"][row, :length], one["input_ids"][0])
        assert batch["attention_mask"][row].tolist() == [1] * length + [0] * (batch["input_ids"].shape[1] - length)
        labels = torch.where(one["assistant_masks"][0] == 1, one["input_ids"][0], -100)
        assert torch.equal(batch["labels"][row, :length], labels)
        assert (batch["labels"][row, length:] == -100).all()


def test_another_template_trains_by_rendering_it(processor):
    template = CHAT_TEMPLATE.replace("<|im_end|>\\n'", "<|im_end|>'")
    other = VLMProcessor(processor.image_processor, processor.tokenizer, template, num_image_tokens=RUN)
    batch = other.encode_for_training([(CONVERSATION, None)])
    wrote = batch["labels"][0] != -100
    assert other.decode(batch["input_ids"][0][wrote]) == "A red circle.<|im_end|>  Blue.\n<|im_end|>"


def test_images_in_an_assistant_turn_carry_no_labels(processor):
    batch = processor.encode_for_training([([{"role": "assistant", "content": [text("a"), image(), text("b")]}], None)])
    assert 34 not in batch["labels"]
    assert processor.decode(batch["labels"][0][batch["labels"][0] != -100]) == "ab<|im_end|>"


def test_a_final_message_can_be_continued(processor):
    messages = [user(text("hi")), {"role": "assistant", "content": "I am @"}]
    ids = encode(processor, messages, continue_final_message=True)["input_ids"][0]
    assert processor.decode(ids) == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nI am @"
    with pytest.raises(ValueError, match="excludes"):
        encode(processor, messages, continue_final_message=True, add_generation_prompt=True)


def test_a_template_that_does_not_tell_what_the_assistant_writes_cannot_train(processor):
    template = CHAT_TEMPLATE.replace("{%- generation -%}", "").replace("{%- endgeneration -%}", "")
    other = VLMProcessor(processor.image_processor, processor.tokenizer, template, num_image_tokens=RUN)
    with pytest.raises(ValueError, match=r"chat_template has no \{% generation %\} block") as caught:
        other.encode_for_training([(CONVERSATION, None)])
    assert "\n" not in str(caught.value)


def test_a_template_that_tears_typed_text_apart_is_an_error(processor):
    template = "{% for message in messages %}{{ message.content[:2] }}{% endfor %}"
    with pytest.raises(ValueError, match="takes the text of messages apart"):
        processor.apply_chat_template([{"role": "user", "content": "hello"}], chat_template=template)


def test_tools_and_documents_are_data_too(processor):
    template = "{{ tools | tojson }}{{ documents[0].text }}"
    ids = processor.apply_chat_template(
        [user(text("x"))],
        chat_template=template,
        tools=[{"type": "function", "function": {"name": "@<|im_end|>"}}],
        documents=[{"text": "<|im_start|>@"}],
        tokenize=True,
    )[0]
    assert not {0, 1, 2, 34} & set(ids)
    assert processor.decode(ids).endswith('{"name": "@<|im_end|>"}}]<|im_start|>@')


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "sample 0: a conversation is a list"),
        ("hello", "sample 0: a conversation is a list"),
        (["hello"], "message 0 is a dict"),
        ([{"role": "asistant", "content": "x"}], "sample 0, message 0: the role .* not 'asistant'"),
        ([{"role": "user", "content": 3}], "content is a string or a list of parts, but not int"),
        ([{"role": "user"}], "but not NoneType"),
        ([user({"type": "video"})], "not 'video'"),
        ([user({"type": "text", "text": None})], "sample 0, message 0: a part"),
        ([user(text("a\ud800"))], "character 1 of the text is a lone surrogate"),
    ],
)
def test_broken_messages_are_errors_that_name_the_place(processor, messages, message):
    with pytest.raises(ValueError, match=message):
        processor.apply_chat_template(messages)


def test_an_unreadable_image_names_its_sample(processor):
    with pytest.raises(ValueError, match="sample 1, image 0: the image given as bytes is not an image"):
        encode(processor, [[user(image())], [user(image(b"nope"))]])
    with pytest.raises(FileNotFoundError, match="sample 0, image 1"):
        encode(processor, [user(image(), image("/nowhere/x.png"))])


def test_saving_and_loading_changes_nothing(processor, tmp_path):
    processor.save_pretrained(tmp_path)
    reloaded = VLMProcessor.from_pretrained(tmp_path)
    assert reloaded.to_dict() == processor.to_dict()
    assert reloaded.chat_template == processor.chat_template == CHAT_TEMPLATE
    assert (reloaded.num_image_tokens, reloaded.image_token, reloaded.image_token_id) == (RUN, "@", 34)
    before, after = encode(processor, CONVERSATION), encode(reloaded, CONVERSATION)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda processor: pickle.loads(pickle.dumps(processor))])
def test_copies_encode_alike(processor, duplicate):
    twin = duplicate(processor)
    assert torch.equal(encode(twin, CONVERSATION)["input_ids"], encode(processor, CONVERSATION)["input_ids"])


def test_the_processor_must_fit_the_config(processor):
    config = small_config()
    config.vocab_size = 300
    with pytest.raises(ValueError, match="330 ids, but vocab_size=300"):
        VLMProcessor.from_config(config, processor.tokenizer)
    with pytest.raises(ValueError, match="id 34, but image_ids repeats 35"):
        VLMProcessor.from_config(small_config(image_ids=[35] * RUN), processor.tokenizer)
    with pytest.raises(ValueError, match="no single token"):
        VLMProcessor(processor.image_processor, processor.tokenizer, image_token="<image>")
    with pytest.raises(ValueError, match="ordinary text"):
        VLMProcessor(processor.image_processor, processor.tokenizer, image_token="#")


def test_an_added_token_can_be_the_placeholder(processor):
    tokenizer = copy.deepcopy(processor.tokenizer)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    template = CHAT_TEMPLATE.replace("'@' -", "'<image>' -").replace(" | replace('@', '<|at|>')", "")
    other = VLMProcessor(processor.image_processor, tokenizer, template, "<image>", num_image_tokens=2)
    ids = encode(other, [user(image(), text("a@b<image>"))])["input_ids"][0].tolist()
    assert ids.count(other.image_token_id) == 2
    assert other.decode(ids, skip_special_tokens=True) == "user\na@b<image>\n"
