"""How much work an answer takes: tokens computed, images encoded, operations run, bytes allocated. Never seconds."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.engine.engine import Engine
from sightline.engine.request import SamplingParams

from .conversations import CONVERSATIONS, NEW, ask, dialogue

VIEWS = {"view", "_unsafe_view", "reshape", "transpose", "permute", "t", "expand", "slice", "select", "split", "detach"}
VIEWS |= {"split_with_sizes", "unbind", "unsqueeze", "squeeze", "alias", "chunk", "narrow", "as_strided"}


class Counted(TorchDispatchMode):
    """Operations that compute something, the bytes of new tensors that they give, and those written into given ones."""

    def __init__(self):
        super().__init__()
        self.operations = 0
        self.bytes = self.bytes_out = 0
        self.sizes = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        name = function.overloadpacket.__name__
        if name not in VIEWS:
            self.operations += 1
            if "out" in (kwargs or {}):
                self.bytes_out += result.nbytes
            elif isinstance(result, torch.Tensor) and not name.endswith("_"):
                self.bytes += result.nbytes
                self.sizes.append(result.nbytes)
        return result


@pytest.fixture
def engine(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        yield engine


def decoding(engine, count, new_tokens=40):
    """`count` answers of which every step computes one more token."""
    for messages in CONVERSATIONS[:count]:
        prompt, images = engine._reader.read(messages)
        params = SamplingParams(max_new_tokens=new_tokens, logit_bias={})
        engine._core.add(prompt, images, params, lambda *_: False, lambda _: None)
    while (
        not all(sequence.is_decoding for sequence in engine._core.scheduler.running) or engine._core.scheduler.waiting
    ):
        engine._core.step()
    assert len(engine._core.jobs) == count


def step_of(engine):
    with Counted() as counted:
        engine._core.step()
    return counted


def test_a_decoding_step_takes_few_operations(engine, loaded):
    decoding(engine, 1)
    layers = loaded[0].config.num_hidden_layers
    assert step_of(engine).operations <= 35 * layers + 25


def test_a_batch_takes_the_operations_of_one_answer_and_a_few_for_reading_the_cache(loaded):
    taken = []
    for count in (1, 4):
        with Engine(*loaded, kv_cache_bytes=2**22) as engine:
            decoding(engine, count)
            taken.append(step_of(engine).operations)
    assert taken[1] < 2 * taken[0]


def test_a_step_allocates_no_more_for_a_longer_text(engine):
    """What has been computed stands in the cache: a step makes room for its own token alone."""
    decoding(engine, 1)
    early = step_of(engine).bytes
    for _ in range(16):
        engine._core.step()
    late = step_of(engine).bytes
    assert late <= early * 1.1


def test_a_step_of_a_batch_copies_its_keys_and_values_once_and_allocates_little_else(loaded):
    """Answers side by side read the cache through a copy that is written into the same memory in each step."""
    config, count = loaded[0].config, 4
    with Engine(*loaded, kv_cache_bytes=2**22) as engine:
        decoding(engine, count)
        early = step_of(engine)
        for _ in range(16):
            engine._core.step()
        late = step_of(engine)
        longest = max(len(sequence.ids) for sequence in engine._core.scheduler.running)
    of_a_token = 2 * config.num_key_value_heads * config.head_dim * 4  # keys and values, float32
    padded = -(-longest // 64) * 64
    assert 0 < early.bytes_out <= late.bytes_out <= config.num_hidden_layers * count * padded * of_a_token
    # What says where keys stand and which are seen: some numbers a key, whatever the model's size.
    grown = late.bytes - early.bytes
    assert grown <= 32 * count * 100 < 16 * count * config.num_hidden_layers * of_a_token


def test_the_head_reads_one_row_a_prompt(engine, loaded):
    """Logits of all positions of a prompt would be the largest tensor of all."""
    prompt, images = engine._reader.read(ask("What is this? " * 5, "red"))
    engine._core.add(prompt, images, SamplingParams(max_new_tokens=1), lambda *_: False, lambda _: None)
    with Counted() as counted:
        while engine._core.has_work:
            engine._core.step()
    assert max(counted.sizes) < len(prompt.ids) * loaded[0].config.vocab_size * 4


def test_eight_questions_about_one_picture_read_it_once(engine, loaded):
    questions = [ask(f"What is number {number}?", "red") for number in range(8)]
    prompts = [engine._reader.read(messages)[0].ids for messages in questions]
    same = min(
        next(n for n, pair in enumerate(zip(prompts[0], ids, strict=False)) if pair[0] != pair[1])
        for ids in prompts[1:]
    )
    engine.batch(questions, max_new_tokens=1)
    stats = engine.stats
    assert stats["images_encoded"] == 1
    own = sum(len(ids) - same for ids in prompts)
    # Whole blocks are shared while they are under way; the rest of the picture's last block may be read again.
    assert stats["tokens_computed"] <= same + own + 7 * 16


def test_a_turn_computes_what_is_new_in_it(engine):
    first = ask("What is this?", "red")
    reply = engine.chat(first, max_new_tokens=NEW)
    before = engine.stats["tokens_computed"]
    follow = [*first, {"role": "assistant", "content": reply.text}, {"role": "user", "content": "And?"}]
    prompt, _ = engine._reader.read(follow)
    engine.chat(follow, max_new_tokens=1)
    assert engine.stats["tokens_computed"] - before < len(prompt.ids) - 16  # not the picture, nor what stands before it


def test_a_picture_read_in_chunks_is_encoded_once_even_without_a_cache(loaded):
    with Engine(*loaded, kv_cache_bytes=2**22, max_batch_size=2, max_batch_tokens=3, image_cache_bytes=0) as engine:
        engine.batch([ask("A", "green"), ask("B", "red", "blue")], max_new_tokens=1)
        assert engine.stats["images_encoded"] == 3


def test_features_of_a_prompt_that_was_cancelled_half_way_are_forgotten_with_the_rest(loaded):
    messages = ask("What is this?", "red")
    with Engine(*loaded, kv_cache_bytes=2**22, max_batch_size=2, max_batch_tokens=3) as engine:
        prompt, images = engine._reader.read(messages)
        core = engine._core
        job = core.add(prompt, images, SamplingParams(max_new_tokens=1), lambda *_: False, lambda _: None)
        while not core._half_read:
            core.step()
        core.cancel(job)
        core.clear()
        assert not core._half_read


def test_equal_pictures_in_one_batch_are_encoded_once(engine):
    engine.batch([dialogue("green"), ask("A", "green"), ask("B", "green", "green")], max_new_tokens=1)
    assert engine.stats["images_encoded"] == 1
