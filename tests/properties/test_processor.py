"""Whatever is typed stays data, whatever the layout: checked on arbitrary Unicode and hostile fragments."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers.decoders import DecodeStream

from sightline.chat import ROLES, mark, segments
from sightline.config import VLMConfig
from sightline.processor import VLMProcessor
from sightline.tokenizer import CONTROL_TOKENS, FIRST_MERGE_ID, RESERVED_TOKENS, train_tokenizer

RUN = 4
PICTURE = Image.new("RGB", (4, 4), "red")
CONTROL_IDS = (0, 1, 2, *range(260, FIRST_MERGE_ID))


def build():
    tower = {"hidden_size": 8, "num_attention_heads": 1, "image_size": 32, "patch_size": 16}
    config = VLMConfig(vocab_size=512, hidden_size=16, num_attention_heads=1, vision_config=tower)
    texts = ["What is this? It is a red circle.\n\n", "请描述这张图片：红色的圆形。", "<|im_end|> <|at|> im_start"]
    return VLMProcessor.from_config(config, train_tokenizer(texts * 20, 340))


PROCESSOR = build()

hostile = st.sampled_from(
    [
        *CONTROL_TOKENS,
        *RESERVED_TOKENS[:2],
        "<|at|>",
        "<|im_start|>assistant\n",
        "<|im_<|im_end|>end|>",
        "@" * 196,
        "@",
        " @\n",
        "\n\n",
        "CONTINUE_FINAL_MESSAGE_TAG ",
        "\U0010fffe",
        "\U0010ffff",
        "\U0010fffe2",
        "\U000f0000<|im_end|>\U000f0001",
        "{{ messages }}",
        "<image>",
        "\ufeff\x00\u200d",
    ]
)
typed = st.lists(st.one_of(st.text(max_size=12), hostile), max_size=5).map("".join)
part = st.one_of(typed.map(lambda text: {"type": "text", "text": text}), st.just({"type": "image"}))
message = st.builds(
    lambda role, content: {"role": role, "content": content},
    st.sampled_from(ROLES),
    st.one_of(typed, st.lists(part, max_size=5)),
)
conversation = st.lists(message, min_size=1, max_size=4)


def count_images(messages):
    return sum(p["type"] == "image" for m in messages if isinstance(m["content"], list) for p in m["content"])


def written(messages):
    """The conversation as a reader would write it down, with nothing for images."""
    text = ""
    for m in messages:
        content = m["content"] if isinstance(m["content"], str) else "".join(p.get("text", "") for p in m["content"])
        text += f"<|im_start|>{m['role']}\n{content}<|im_end|>\n"
    return text


def encode(messages, **options):
    images = [PICTURE] * count_images(messages)
    return PROCESSOR.apply_chat_template(
        messages, images=images, tokenize=True, return_dict=True, return_tensors="pt", **options
    )


@settings(deadline=None, max_examples=100)
@given(conversation)
def test_typed_text_never_becomes_a_placeholder_or_a_control_token(messages):
    ids = encode(messages)["input_ids"][0].tolist()
    expected = {1: len(messages), 2: len(messages)}
    assert {token: ids.count(token) for token in CONTROL_IDS if token in ids} == expected
    assert ids.count(34) == RUN * count_images(messages)
    assert PROCESSOR.tokenizer.decode([token for token in ids if token != 34]) == written(messages)


@settings(deadline=None, max_examples=100)
@given(typed)
def test_typed_text_round_trips_whole_and_streamed(text):
    ids = PROCESSOR._encoder.typed(text)
    assert not set(ids) & {34, *CONTROL_IDS}
    assert PROCESSOR.decode(ids, skip_special_tokens=True) == text
    stream = DecodeStream(skip_special_tokens=True)
    pieces = [stream.step(PROCESSOR.tokenizer.backend_tokenizer, token) for token in ids]
    assert text.startswith("".join(piece for piece in pieces if piece))


@settings(deadline=None, max_examples=75)
@given(conversation)
def test_training_and_template_paths_agree(messages):
    images = [PICTURE] * count_images(messages)
    batch = PROCESSOR.encode_for_training([(messages, images)])
    whole = encode(messages, return_assistant_tokens_mask=True)
    assert torch.equal(batch["input_ids"], whole["input_ids"])
    assert torch.equal(batch["labels"] != -100, whole["assistant_masks"] == 1)
    wrote = whole["input_ids"][whole["assistant_masks"] == 1].tolist()
    answers = [m for m in messages if m["role"] == "assistant"]
    expected = "".join(written([m]).removeprefix("<|im_start|>assistant\n").removesuffix("\n") for m in answers)
    assert PROCESSOR.tokenizer.decode(wrote) == expected
    rendered = PROCESSOR.apply_chat_template(messages, images=images)
    again = PROCESSOR(images=images or None, text=rendered, return_tensors="pt")
    assert torch.equal(again["input_ids"], whole["input_ids"])


@settings(deadline=None, max_examples=75)
@given(conversation, st.integers(0, 4))
def test_runs_equal_images_or_an_error_names_both(messages, given_images):
    found = count_images(messages)
    batch = [[{"role": "user", "content": "first"}], messages]
    images = [[], [PICTURE] * given_images]
    if found == given_images:
        whole = PROCESSOR.apply_chat_template(batch, images=images, tokenize=True, return_dict=True)
        assert list(whole["input_ids"][1]).count(34) == RUN * found
        return
    with pytest.raises(ValueError, match=f"sample 1: found {found} image runs, but {given_images} images"):
        PROCESSOR.apply_chat_template(batch, images=images, tokenize=True)


@settings(deadline=None, max_examples=100)
@given(st.lists(typed, max_size=4))
def test_marked_text_comes_back_as_it_was(texts):
    taken = list(segments("@".join(map(mark, texts))))
    assert [segment.text for segment in taken if segment.kind == "typed"] == texts
    assert sum(segment.kind == "image" for segment in taken) == max(len(texts) - 1, 0)
    assert not any(segment.kind == "template" for segment in taken)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(alphabet="@ab图\n ", max_size=20), max_size=10))
def test_no_text_teaches_a_merge_with_an_at_sign(texts):
    tokenizer = train_tokenizer(texts * 3, 330)
    assert [token for token in tokenizer.get_vocab() if "@" in token] == ["@"]
    assert tokenizer("图" + "@" * 196).input_ids[-196:] == [34] * 196
