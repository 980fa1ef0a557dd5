"""Generation: cached is uncached, a batch is each alone, a stream is the whole, and the placeholder never comes."""

import threading

import pytest
import torch
from tiny import IMAGE, left_padded, tiny_vlm
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, TextIteratorStreamer

from sightline.tokenizer import train_tokenizer

GREEDY = {"do_sample": False, "max_new_tokens": 8, "eos_token_id": None}
ROWS = [[5, *IMAGE, 6, *IMAGE, 7], [8, 9, 10], [11, *IMAGE, 12, 13]]
COUNTS = [2, 0, 1]


@pytest.fixture(scope="module")
def batch(pictures):
    return left_padded(ROWS), pictures[:3]


def alone(model, pictures, sample, **options):
    """The new tokens of one sample of `ROWS`, generated without the others."""
    images = pictures[:3].split(COUNTS)[sample]
    ids = torch.tensor([ROWS[sample]])
    out = model.generate(ids, pixel_values=images if len(images) else None, **{**GREEDY, **options})
    return out[:, ids.shape[1] :].tolist()


def test_cached_is_uncached(vlm, batch):
    inputs, images = batch
    cached = vlm.generate(**inputs, pixel_values=images, **GREEDY)
    assert torch.equal(vlm.generate(**inputs, pixel_values=images, **GREEDY, use_cache=False), cached)


@pytest.mark.parametrize("options", [{}, {"use_cache": False}, {"num_beams": 3}, {"check_images": False}])
def test_features_generate_what_their_pixels_do(vlm, batch, options):
    inputs, images = batch
    expected = vlm.generate(**inputs, pixel_values=images, **GREEDY, **options)
    features = vlm.encode_images(images)
    assert torch.equal(vlm.generate(**inputs, image_features=features, **GREEDY, **options), expected)


def test_positions_may_be_given(vlm, batch):
    inputs, images = batch
    positions = (inputs["attention_mask"].cumsum(1) - 1).clamp(min=0)
    given = vlm.generate(**inputs, pixel_values=images, position_ids=positions, **GREEDY)
    assert torch.equal(given, vlm.generate(**inputs, pixel_values=images, **GREEDY))


def test_a_static_cache_generates_the_same(vlm, batch):
    inputs, images = batch
    dynamic = vlm.generate(**inputs, pixel_values=images, **GREEDY)
    static = vlm.generate(**inputs, pixel_values=images, **GREEDY, cache_implementation="static")
    assert torch.equal(static, dynamic)


def test_a_batch_of_mixed_lengths_and_image_counts_is_each_alone(vlm, batch, pictures):
    inputs, images = batch
    together = vlm.generate(**inputs, pixel_values=images, **GREEDY)[:, inputs["input_ids"].shape[1] :]
    for sample, tokens in enumerate(together.tolist()):
        assert alone(vlm, pictures, sample) == [tokens]


def test_pixels_are_seen_in_the_prefill_only(vlm, pictures, monkeypatch):
    calls, encode = [], vlm.encode_images
    monkeypatch.setattr(vlm, "encode_images", lambda pixels: calls.append(len(pixels)) or encode(pixels))
    vlm.generate(torch.tensor([ROWS[2]]), pixel_values=pictures[:1], **GREEDY)
    assert calls == [1]


@pytest.mark.parametrize("options", [{"num_beams": 3}, {"num_beams": 3, "num_return_sequences": 2}])
def test_beams_of_mixed_image_counts_are_each_alone(vlm, batch, pictures, options):
    inputs, images = batch
    together = vlm.generate(**inputs, pixel_values=images, **GREEDY, **options)
    together = together[:, inputs["input_ids"].shape[1] :].tolist()
    each = [tokens for sample in range(3) for tokens in alone(vlm, pictures, sample, **options)]
    assert together == each


def test_beams_over_two_images_a_sample_bind_each_to_its_own(vlm, pictures):
    ids = torch.tensor([ROWS[0], ROWS[0][::-1]])
    options = {**GREEDY, "num_beams": 2}
    by_sample = vlm.generate(ids, pixel_values=pictures[:4].view(2, 2, 3, 32, 32), **options)
    assert torch.equal(vlm.generate(ids, pixel_values=pictures[:4], **options), by_sample)
    for index in (0, 1):
        one = vlm.generate(ids[index : index + 1], pixel_values=pictures[2 * index : 2 * index + 2], **options)
        assert torch.equal(one[0], by_sample[index])
    swapped = vlm.generate(ids, pixel_values=pictures[[1, 0, 3, 2]], **options)
    assert not torch.equal(swapped, by_sample)


def test_expanding_repeats_whole_samples(vlm, batch):
    inputs, images = batch
    _, kwargs = vlm._expand_inputs_for_generation(2, input_ids=inputs["input_ids"], pixel_values=images)
    assert torch.equal(kwargs["pixel_values"], images[[0, 1, 0, 1, 2, 2]])
    with pytest.raises(ValueError, match=r"found 3 runs .* but 2 images"):
        vlm._expand_inputs_for_generation(2, input_ids=inputs["input_ids"], pixel_values=images[:2])


def test_sampling_follows_the_seed(vlm, pictures):
    draws = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        draws.append(alone(vlm, pictures, 2, do_sample=True, temperature=2.0, top_k=50))
    assert draws[0] == draws[1] != draws[2]


def test_prompt_lookup_changes_nothing(vlm, pictures):
    assert alone(vlm, pictures, 2, prompt_lookup_num_tokens=3) == alone(vlm, pictures, 2)


@pytest.mark.parametrize("seed", [0, 5])
def test_an_assistant_sees_the_images_too_and_changes_nothing(vlm, pictures, monkeypatch, seed):
    assistant, calls = tiny_vlm(seed=seed), []
    encode = assistant.encode_images
    monkeypatch.setattr(assistant, "encode_images", lambda pixels: calls.append(len(pixels)) or encode(pixels))
    assert alone(vlm, pictures, 2, assistant_model=assistant) == alone(vlm, pictures, 2)
    assert calls == [1]


def test_an_answer_ends_where_the_assistants_positions_do(vlm, pictures):
    given = len(ROWS[2])
    small = tiny_vlm(seed=5, max_position_embeddings=given + 4)
    found = alone(vlm, pictures, 2, assistant_model=small, eos_token_id=None)
    assert found == alone(vlm, pictures, 2, max_new_tokens=4, eos_token_id=None)
    with pytest.raises(ValueError, match="but the model's or its assistant's max_position_embeddings is"):
        alone(vlm, pictures, 2, assistant_model=tiny_vlm(seed=5, max_position_embeddings=given))


def test_generation_from_embeddings(vlm, pictures):
    ids = torch.tensor([ROWS[2]])
    embeds = vlm.count_vision_proj(ids, vlm.model.embed_tokens(ids), vlm.encode_images(pictures[:1]))
    from_embeddings = vlm.generate(inputs_embeds=embeds, **GREEDY)
    fused = vlm.generate(ids, pixel_values=pictures[:1], **GREEDY)
    assert torch.equal(from_embeddings, fused[:, ids.shape[1] :])


def turns(pictures):
    """A first prompt with an image, and the tokens of a second turn with another."""
    return torch.tensor([ROWS[2]]), pictures[:1], torch.tensor([[14, *IMAGE, 15]]), pictures[1:2]


@pytest.mark.parametrize("give", ["all", "flat all", "new images", "new tokens"])
def test_a_second_turn_that_continues_a_cache_is_fresh(vlm, pictures, give):
    first, image, second, new_image = turns(pictures)
    done = vlm.generate(first, pixel_values=image, **GREEDY, return_dict_in_generate=True)
    ids, images = torch.cat([done.sequences, second], dim=1), torch.cat([image, new_image])
    fresh = vlm.generate(ids, pixel_values=images, **GREEDY)[:, ids.shape[1] :]
    pixels = {"all": images[None], "flat all": images}.get(give, new_image)
    prompt = ids
    if give == "new tokens":  # the last generated token is not in the cache yet
        prompt = ids[:, done.past_key_values.get_seq_length() :]
    more = vlm.generate(
        prompt,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels,
        past_key_values=done.past_key_values,
        **GREEDY,
    )
    assert torch.equal(more[:, prompt.shape[1] :], fresh)


def test_one_placeholder_an_image_does_not_take_a_step_for_a_prefill(pictures):
    model = tiny_vlm(pixel_shuffle_factor=4)
    done = model.generate(torch.tensor([[5, 34, 6]]), pixel_values=pictures[:1], **GREEDY, return_dict_in_generate=True)
    ids = torch.cat([done.sequences, torch.tensor([[8, 34, 9]])], dim=1)
    fresh = model.generate(ids, pixel_values=pictures[:2], **GREEDY)
    more = model.generate(ids, pixel_values=pictures[1:2], past_key_values=done.past_key_values, **GREEDY)
    assert torch.equal(more, fresh)


def test_a_second_turn_without_a_new_image_needs_no_pixels(vlm, pictures):
    first, image, _, _ = turns(pictures)
    done = vlm.generate(first, pixel_values=image, **GREEDY, return_dict_in_generate=True)
    ids = torch.cat([done.sequences, torch.tensor([[14, 15]])], dim=1)
    fresh = vlm.generate(ids, pixel_values=image, **GREEDY)
    assert torch.equal(vlm.generate(ids, pixel_values=image, past_key_values=done.past_key_values, **GREEDY), fresh)


def test_a_prompt_longer_than_the_positions_is_refused_with_both_numbers(vlm):
    with pytest.raises(ValueError, match="the prompt has 130 tokens, but the model's max_position_embeddings is 128"):
        vlm.generate(torch.full((1, 130), 5))
    with pytest.raises(ValueError, match="the prompt has 128 tokens"):
        vlm.generate(inputs_embeds=torch.zeros(1, 128, 32))


@pytest.mark.parametrize(
    "options",
    [{"max_new_tokens": 50}, {"max_length": 500}, {}, {"generation_config": GenerationConfig(max_length=999)}],
)
def test_generation_ends_at_the_positions(vlm, options):
    ids = torch.full((1, 120), 5)
    assert vlm.generate(ids, eos_token_id=None, do_sample=False, **options).shape == (1, 128)
    embeds = vlm.model.embed_tokens(ids)
    assert vlm.generate(inputs_embeds=embeds, eos_token_id=None, do_sample=False, **options).shape == (1, 8)


def test_a_shorter_length_that_was_asked_for_holds(vlm):
    ids = torch.full((1, 5), 5)
    options = {"eos_token_id": None, "do_sample": False}
    assert vlm.generate(ids, GenerationConfig(max_length=9), **options).shape == (1, 9)
    assert vlm.generate(ids, max_length=7, **options).shape == (1, 7)
    assert vlm.generate(ids, GenerationConfig(max_new_tokens=3), **options).shape == (1, 8)
    assert vlm.generate(ids, GenerationConfig(max_length=9), max_new_tokens=2, **options).shape == (1, 7)


class Loudest(LogitsProcessor):
    """Makes the placeholder's score the largest by far."""

    def __call__(self, input_ids, scores):
        scores = scores.clone()
        scores[:, 34] = 1e4
        return scores


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"do_sample": True, "top_k": 1},
        {"do_sample": True, "num_beams": 2, "temperature": 0.5},
        {"generation_config": GenerationConfig(suppress_tokens=[5], max_new_tokens=6)},
    ],
)
@pytest.mark.parametrize("processors", [None, LogitsProcessorList([Loudest()])])
def test_the_placeholder_is_never_generated(options, processors):
    model = tiny_vlm(tie_word_embeddings=False)
    model.lm_head.weight.data[34] = 0
    model.lm_head.register_forward_hook(lambda _, __, logits: logits.index_fill(-1, torch.tensor([34]), 1e4))
    torch.manual_seed(0)
    ids = torch.tensor([[5, 6, 7], [8, 9, 10]])
    new = model.generate(ids, logits_processor=processors, max_new_tokens=6, eos_token_id=None, **options)[:, 3:]
    assert new.shape == (2, 6)
    assert not (new == 34).any()


def test_the_callers_suppressed_tokens_still_count(vlm):
    ids = torch.tensor([[5, 6, 7]])
    first = vlm.generate(ids, **{**GREEDY, "max_new_tokens": 1})[0, -1].item()
    assert vlm.generate(ids, suppress_tokens=[first], **{**GREEDY, "max_new_tokens": 1})[0, -1].item() != first


class Say(LogitsProcessor):
    """Forces the given tokens, one a step."""

    def __init__(self, tokens, start):
        self.tokens, self.start = tokens, start

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, -float("inf"))
        forced[:, self.tokens[input_ids.shape[1] - self.start]] = 0
        return forced


def test_a_stream_is_the_whole_text_and_never_half_a_character(vlm, pictures):
    text = "一只猫 🐈‍⬛ sits, 静静地。 Done 🎉 ok"
    tokenizer = train_tokenizer([], 300)  # no merges: a Chinese character is three tokens, an emoji four and more
    tokens = tokenizer(text)["input_ids"]
    ids = torch.tensor([ROWS[2]])
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, timeout=30)
    options = {"max_new_tokens": len(tokens), "do_sample": False, "streamer": streamer, "eos_token_id": None}
    options |= {"logits_processor": [Say(tokens, ids.shape[1])], "pixel_values": pictures[:1]}
    thread = threading.Thread(target=vlm.generate, args=(ids,), kwargs=options)
    thread.start()
    pieces = list(streamer)
    thread.join()
    assert "".join(pieces) == text
    assert len([piece for piece in pieces if piece]) > 3
    assert not any("\ufffd" in piece for piece in pieces)


def test_stop_strings(vlm):
    tokenizer = train_tokenizer([], 300)
    tokens = tokenizer("one. two")["input_ids"]
    ids = torch.tensor([[5, 6]])
    options = {**GREEDY, "logits_processor": [Say(tokens, 2)]}
    out = vlm.generate(ids, stop_strings=["."], tokenizer=tokenizer, **options)
    assert tokenizer.decode(out[0, 2:]) == "one."


def test_a_caller_that_has_checked_the_images_can_skip_the_check(vlm, pictures, monkeypatch):
    prompt = torch.tensor([[5, *[34] * 16, 6]])
    expected = vlm.generate(prompt, pixel_values=pictures[:1], **GREEDY)

    def refuse(*_):
        raise AssertionError("this waits for the device")

    monkeypatch.setattr("sightline.nn.vlm.check_runs", refuse)
    assert torch.equal(vlm.generate(prompt, pixel_values=pictures[:1], check_images=False, **GREEDY), expected)
    with pytest.raises(AssertionError, match="waits"):
        vlm.generate(prompt, pixel_values=pictures[:1], **GREEDY)
