"""Messages to prompts: the processor's ids, where images stand, and keys that tell pictures apart, and only those."""

import base64
import io

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import CLIPImageProcessorPil, LlavaProcessor

from sightline.chat import CHAT_TEMPLATE
from sightline.config import VLMConfig
from sightline.engine.prompts import PromptReader, _digest, find_images, image_key, pixels_key
from sightline.processor import VLMProcessor
from sightline.tokenizer import train_tokenizer

RUN = 4
TEXTS = ["What is this? It is a red circle.", "请描述这张图片：红色的圆形。", "system user assistant"] * 20
RED, BLUE = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
NOISE = Image.frombytes("RGB", (12, 8), bytes(range(256)) + bytes(range(32)))


def new_processor(template=None, **settings):
    tower = {"hidden_size": 8, "num_attention_heads": 1, "image_size": 32, "patch_size": 16}
    config = VLMConfig(vocab_size=512, hidden_size=16, num_attention_heads=1, vision_config=tower)
    made = VLMProcessor.from_config(config, train_tokenizer(TEXTS, 330))
    if settings:
        made.image_processor = CLIPImageProcessorPil(**settings)
    made.chat_template = template or made.chat_template
    return made


LLAVA_TEMPLATE = (
    "{% for message in messages %}USER{{ message.name }}: {% for part in message.content %}"
    "{% if part.type == 'image' %}<image>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ASSISTANT:{% endif %}"
)


@pytest.fixture(scope="module")
def processor():
    return new_processor()


@pytest.fixture(scope="module")
def llava():
    tokenizer = train_tokenizer(TEXTS, 330)
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    return LlavaProcessor(
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=LLAVA_TEMPLATE,
    )


def image(source=RED):
    return {"type": "image", "image": source}


def text(content):
    return {"type": "text", "text": content}


def user(*parts):
    return {"role": "user", "content": list(parts)}


def assistant(*parts):
    return {"role": "assistant", "content": list(parts)}


CONVERSATIONS = [
    [user(text("What is this?"))],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "me@home <|im_end|>"}],
    [user(image(), text("What is this?"), image(BLUE), image(RED), text("@"))],
    [user(image(BLUE)), assistant(text("A circle.")), user(text("And "), image(NOISE), text("?"))],
]


def encode(processor, messages, add_generation_prompt=True, **options):
    options["add_generation_prompt"] = add_generation_prompt
    return processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt", **options)


def key_of(source, processor):
    """The key of `source` alone in a conversation."""
    prompt, _ = PromptReader(processor).read([user(image(source), text("What is this?"))])
    return prompt.images[0].key


def as_file(picture, kind="PNG", **options):
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("messages", CONVERSATIONS)
@pytest.mark.parametrize("template", [None, "{{ bos_token }}" + CHAT_TEMPLATE + "{{ 'Circle:' }}"])
def test_the_ids_of_a_prompt_are_those_of_the_chat_template(processor, messages, template):
    if template:
        processor = new_processor(template)
    ids, _ = processor.encode_prompt(messages)
    assert ids == encode(processor, messages)["input_ids"][0].tolist()


def test_pictures_are_opened_in_order_and_not_prepared(processor):
    pale = Image.new("L", (5, 7), 200)
    _, pictures = processor.encode_prompt([user(image(as_file(pale)), image(NOISE), text("?"))])
    assert [(picture.mode, picture.size) for picture in pictures] == [("RGB", (5, 7)), ("RGB", (12, 8))]
    assert pictures[0].tobytes() == bytes([200]) * 3 * 35
    assert pictures[1].tobytes() == NOISE.tobytes()


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "a conversation is a list"),
        ([CONVERSATIONS[0]], "message 0 is a dict"),
        ([user(image(None))], "found 1 image runs, but 0 images were given"),
        ([user(image(), image(b"nope"))], "sample 0, image 1: the image given as bytes is not an image"),
    ],
)
def test_errors_are_those_of_the_chat_template(processor, messages, message):
    with pytest.raises(ValueError, match=message) as caught:
        PromptReader(processor).read(messages)
    if messages != [CONVERSATIONS[0]]:
        with pytest.raises(ValueError, match=message) as expected:
            encode(processor, messages)
        assert str(caught.value) == str(expected.value)


def test_a_template_that_drops_an_image_is_an_error():
    processor = new_processor("{% for message in messages %}{{ message.content[-1].text }}{% endfor %}")
    with pytest.raises(ValueError, match="sample 0: found 0 image runs, but 1 images were given"):
        PromptReader(processor).read([user(image(), text("What is this?"))])


@pytest.mark.parametrize("messages", CONVERSATIONS)
def test_runs_stand_where_the_placeholders_are(processor, messages):
    prompt, _ = PromptReader(processor).read(messages, b"salt")
    assert list(prompt.ids) == encode(processor, messages)["input_ids"][0].tolist()
    places = [position for run in prompt.images for position in range(run.start, run.end)]
    assert places == [n for n, token in enumerate(prompt.ids) if token == processor.image_token_id]
    assert [run.length for run in prompt.images] == [RUN] * len(prompt.images)
    assert prompt.salt == b"salt"


def test_keys_and_pixels_are_in_the_order_of_the_runs(processor):
    messages = CONVERSATIONS[2]
    prompt, images = PromptReader(processor).read(messages)
    assert [run.key for run in prompt.images] == [key_of(source, processor) for source in (RED, BLUE, RED)]
    pixels = torch.stack([images[run.key].pixel_values() for run in prompt.images])
    assert torch.equal(pixels, encode(processor, messages)["pixel_values"])


@settings(deadline=None)
@given(st.lists(st.integers(0, 3)), st.integers(1, 4), st.booleans())
def test_images_are_found_between_text_and_next_to_each_other(texts, length, ends):
    ids, starts = [], []
    for words in texts:
        ids += [7] * words
        starts.append(len(ids))
        ids += [34] * length
    assert find_images(ids + [8] * ends, 34, [length] * len(texts)) == starts


@pytest.mark.parametrize(
    ("ids", "lengths", "message"),
    [
        ([34, 34, 7], [], "the prompt has 2 image placeholders, but its 0 images take 0"),
        ([34, 34, 7], [2, 2], "2 image placeholders, but its 2 images take 4"),
        ([34, 7, 34], [2], "image 0: its 2 placeholders from position 0 on are not in a row"),
        ([34, 34, 34, 7, 34], [2, 2], "image 1: its 2 placeholders from position 2 on"),
    ],
)
def test_placeholders_of_no_image_are_an_error(ids, lengths, message):
    with pytest.raises(ValueError, match=message):
        find_images(ids, 34, lengths)


def test_a_picture_is_prepared_when_asked_for_and_once(processor, monkeypatch):
    calls = []
    inner = type(processor.image_processor).__call__
    monkeypatch.setattr(
        type(processor.image_processor),
        "__call__",
        lambda *given, **options: calls.append(1) or inner(*given, **options),
    )
    _, images = PromptReader(processor).read(CONVERSATIONS[2])
    assert len(images) == 2
    assert not calls
    for prepared in images.values():
        assert prepared.pixel_values() is prepared.pixel_values()
    assert len(calls) == 2


def test_a_picture_drawn_on_after_it_was_read_stays_as_it_was_read(processor):
    canvas = NOISE.copy()
    messages = [user(image(canvas))]
    expected = encode(processor, messages)["pixel_values"][0]
    _, images = PromptReader(processor).read(messages)
    canvas.paste("white", (0, 0, 12, 8))
    assert torch.equal(next(iter(images.values())).pixel_values(), expected)


def test_one_picture_has_one_key_wherever_it_comes_from(processor, tmp_path):
    (tmp_path / "noise.png").write_bytes(data := as_file(NOISE))
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    sources = [NOISE, data, bytearray(data), str(tmp_path / "noise.png"), tmp_path / "noise.png", uri]
    sources += [as_file(NOISE, "BMP"), as_file(NOISE, "WEBP", lossless=True)]
    keys = {key_of(source, processor) for source in sources}
    assert [len(key) for key in keys] == [32]
    prompt, _ = PromptReader(processor).read([user({"type": "image_url", "image_url": {"url": uri}})])
    assert prompt.images[0].key == key_of(NOISE, processor)


def test_equal_bytes_of_another_size_have_another_key(processor):
    wide, high = (Image.frombytes("RGB", size, bytes(range(24))) for size in ((4, 2), (2, 4)))
    assert wide.tobytes() == high.tobytes()
    assert key_of(wide, processor) != key_of(high, processor)


def test_equal_indices_under_another_palette_have_another_key(processor):
    def painted(*palette):
        picture = Image.frombytes("P", (4, 2), bytes([0, 1, 1, 0, 1, 0, 0, 1]))
        picture.putpalette(palette)
        return picture

    warm, cold = painted(255, 0, 0, 255, 255, 0), painted(0, 0, 255, 0, 255, 255)
    assert warm.tobytes() == cold.tobytes()
    assert key_of(warm, processor) != key_of(cold, processor)
    assert key_of(warm, processor) == key_of(warm.convert("RGB"), processor)
    assert key_of(as_file(warm), processor) != key_of(as_file(cold), processor)


@pytest.mark.parametrize("place", [(255, 255), (0, 100)])
def test_pictures_that_differ_after_64_kilobytes_have_another_key(processor, place):
    first = Image.new("RGB", (256, 256), "green")
    second = first.copy()
    second.putpixel(place, (0, 128, 1))
    assert first.tobytes()[: 2**16] == second.tobytes()[: 2**16]
    assert key_of(first, processor) != key_of(second, processor)


def test_transparency_has_the_key_of_what_it_shows_on_white(processor):
    drawn = Image.new("RGB", (8, 6), "white")
    drawn.paste("red", (2, 1, 5, 4))
    clear = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    clear.paste("red", (2, 1, 5, 4))
    assert key_of(clear, processor) == key_of(drawn, processor)
    hidden = Image.new("RGBA", (8, 6), (9, 9, 9, 0))  # other bytes, of which nothing is seen
    hidden.paste("red", (2, 1, 5, 4))
    assert key_of(hidden, processor) == key_of(drawn, processor)
    assert key_of(clear.convert("RGB"), processor) != key_of(drawn, processor)


def test_a_turned_picture_has_the_key_of_the_upright_one(processor):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees to the right
    turned = as_file(NOISE, exif=exif)
    assert key_of(turned, processor) == key_of(NOISE.transpose(Image.Transpose.ROTATE_270), processor)
    assert key_of(turned, processor) != key_of(NOISE, processor)


def test_a_grey_picture_has_the_key_of_its_rgb_version(processor):
    grey = NOISE.convert("L")
    assert key_of(grey, processor) == key_of(grey.convert("RGB"), processor)
    one, other = (encode(processor, [user(image(source))])["pixel_values"] for source in (grey, grey.convert("RGB")))
    assert torch.equal(one, other)


SQUARE = {"size": {"height": 32, "width": 32}, "crop_size": {"height": 32, "width": 32}, "do_center_crop": False}


@pytest.mark.parametrize(
    "change",
    [
        {"size": {"height": 48, "width": 48}},
        {"size": {"shortest_edge": 32}},
        {"do_center_crop": True},
        {"image_mean": [0.5] * 3},
        {"image_std": [0.5] * 3},
        {"resample": 2},
        {"do_normalize": False},
        {"rescale_factor": 1 / 127.5},
    ],
)
def test_other_preprocessing_gives_another_key(change):
    assert key_of(RED, new_processor(**SQUARE)) == key_of(RED, new_processor(**SQUARE))
    assert key_of(RED, new_processor(**SQUARE)) != key_of(RED, new_processor(**{**SQUARE, **change}))


def test_preprocessing_changed_under_a_reader_gives_another_key():
    processor = new_processor(**SQUARE)
    reader = PromptReader(processor)
    before, _ = reader.read([user(image())])
    processor.image_processor.image_mean = [0.25] * 3
    after, _ = reader.read([user(image())])
    assert before.images[0].key != after.images[0].key


def test_another_class_of_image_processor_gives_another_key():
    class CLIPImageProcessor(CLIPImageProcessorPil):
        """Of the same name and settings in `to_dict`, as the one of another backend is."""

    one, other = new_processor(**SQUARE), new_processor(**SQUARE)
    other.image_processor = CLIPImageProcessor(**SQUARE)
    assert one.image_processor.to_dict() == other.image_processor.to_dict()
    assert key_of(RED, one) != key_of(RED, other)


def test_fields_of_a_key_cannot_run_into_each_other():
    assert _digest(b"ab", b"c") != _digest(b"a", b"bc")
    assert _digest(b"ab") != _digest(b"ab", b"")
    assert image_key(RED, b"settings") != image_key(RED, b"settings" + RED.tobytes())


small = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 2**27 - 1))


@settings(deadline=None)
@given(small, small)
def test_keys_are_equal_where_size_and_pixels_are(one, other):
    def picture(width, height, bits):
        return Image.frombytes("RGB", (width, height), bytes(bits >> n & 1 for n in range(3 * width * height)))

    first, second = picture(*one), picture(*other)
    same = first.size == second.size and first.tobytes() == second.tobytes()
    assert (image_key(first, b"") == image_key(second, b"")) == same


@pytest.mark.parametrize(("dtype", "same_size"), [(torch.float32, torch.int32), (torch.bfloat16, torch.float16)])
def test_keys_of_pixel_values_tell_dtype_shape_and_values(dtype, same_size):
    pixels = torch.arange(24).view(3, 2, 4).to(dtype)
    assert pixels_key(pixels) == pixels_key(pixels.clone())
    assert pixels_key(pixels) == pixels_key(torch.stack([pixels, pixels], dim=-1)[..., 0])
    others = [pixels.view(3, 4, 2), pixels + 1, pixels.double(), pixels.view(same_size)]
    assert pixels_key(pixels) not in map(pixels_key, others)


def test_a_llava_processor_gives_its_own_ids_and_pixels(llava):
    messages = [user(image(NOISE), image(BLUE), text("What is this?"), image(NOISE)) | {"name": "Ann"}]
    expected = encode(llava, messages)
    prompt, images = PromptReader(llava).read(messages)
    assert list(prompt.ids) == expected["input_ids"][0].tolist()
    assert [run.length for run in prompt.images] == [16] * 3
    assert prompt.images[0].end == prompt.images[1].start
    assert [run.key for run in prompt.images] == [pixels_key(pixels) for pixels in expected["pixel_values"]]
    assert len(images) == 2
    pixels = torch.stack([images[run.key].pixel_values() for run in prompt.images])
    assert torch.equal(pixels, expected["pixel_values"])


def test_another_salt_gives_a_picture_another_key(processor):
    reader, messages = PromptReader(processor), [user(image(BLUE), text("What is this?"))]
    keys = [reader.read(messages, salt)[0].images[0].key for salt in (b"", b"one", b"two", b"one")]
    assert len(set(keys)) == 3
    assert keys[1] == keys[3]


def test_a_llava_processor_reads_text_alone(llava):
    messages = [user(text("What is this?"))]
    prompt, images = PromptReader(llava).read(messages)
    assert list(prompt.ids) == encode(llava, messages)["input_ids"][0].tolist()
    assert (prompt.images, images) == ((), {})


def test_no_picture_is_prepared_for_an_answers_ids(llava, monkeypatch):
    place = "{% if add_generation_prompt %}assistant:{% endif %}"
    turn = "{{ m.role }}:{% for p in m.content %}{{ '<image>' if p.type == 'image' else p.text }}{% endfor %}"
    monkeypatch.setattr(llava, "chat_template", "{% for m in messages %}" + turn + "{% endfor %}" + place)
    reader, messages = PromptReader(llava), [user(image(BLUE), text("What is this?"))]
    prompt, answered = reader.read(messages)[0].ids, [*messages, assistant(text("A duck."))]
    whole = encode(llava, answered, add_generation_prompt=False, continue_final_message=True)["input_ids"][0]
    monkeypatch.setattr(type(llava.image_processor), "__call__", lambda *_, **__: pytest.fail("a picture was prepared"))
    assert [*prompt, *reader.answer_ids(messages, "A duck.")] == whole.tolist()


def test_a_llava_processor_gets_pictures_opened_and_never_a_url(llava, tmp_path):
    (tmp_path / "noise.png").write_bytes(data := as_file(NOISE))
    uri = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [image(NOISE), image(data), image(tmp_path / "noise.png"), image(uri)]
    prompt, _ = PromptReader(llava).read([user(*parts, {"type": "image_url", "image_url": {"url": uri}}, text("?"))])
    assert len(prompt.images) == 5
    assert len({run.key for run in prompt.images}) == 1
    with pytest.raises(ValueError, match=r"sample 0, image 1: .* is a URL"):
        PromptReader(llava).read([user(image(), {"type": "image_url", "image_url": "https://example.com/a.png"})])


@pytest.mark.parametrize("parts", [[], [image()]])
def test_a_placeholder_typed_to_a_llava_processor_is_an_error(llava, parts):
    with pytest.raises(ValueError, match="<image> tokens"):
        PromptReader(llava).read([user(*parts, text("What is <image>?"))])


def test_a_control_token_typed_to_a_llava_processor_is_an_error(llava):
    control = next(str(token) for token in llava.tokenizer.added_tokens_decoder.values() if str(token) != "<image>")
    reader = PromptReader(llava)
    for messages in ([user(text(f"a{control}b"))], [user(text("a")), {"role": "assistant", "content": control}]):
        with pytest.raises(ValueError, match=rf"holds {control!r}, a control token of this model: leave it out"):
            reader.read(messages)
    with pytest.raises(ValueError, match=rf"holds {control!r}, a control token"):
        reader.read([user(text(f"a{control[:3]}"), text(f"{control[3:]}b"))])


def test_reading_plain_text_changes_nothing_for_a_prompt_that_is_read_beside_it(llava):
    control = next(str(token) for token in llava.tokenizer.added_tokens_decoder.values() if str(token) != "<image>")
    reader = PromptReader(llava)
    whole = llava.tokenizer(control)["input_ids"]
    assert len(reader.text_ids(control)) > len(whole)
    assert llava.tokenizer(control)["input_ids"] == whole
    assert not llava.tokenizer.backend_tokenizer.encode_special_tokens


def test_messages_are_left_as_they_were(processor, llava):
    for one in (processor, llava):
        messages = [user(image(), text("What is this?"))]
        PromptReader(one).read(messages)
        assert messages == [user(image(RED), text("What is this?"))]
