"""The runner: the model's own logits, however the tokens are cut into works, and no more work than that takes."""

import copy
import itertools
import random

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sightline.config import LLMConfig, VLMConfig
from sightline.engine import rope_table
from sightline.engine.kv_cache import PagedKVCache
from sightline.engine.request import ImageRun, Prompt, Sequence
from sightline.engine.runner import Runner
from sightline.engine.step import Work
from sightline.nn.language import CausalLM
from sightline.nn.vlm import VLM

SIZES = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
SIZES |= {"num_key_value_heads": 2, "max_position_embeddings": 64, "pad_token_id": 0, "initializer_range": 0.2}
BLOCK = 4
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": 16}
MOE = {"use_moe": True, "n_routed_experts": 4, "moe_intermediate_size": 24}

VARIANTS = {
    "grouped queries": {},
    "one key head": {"num_key_value_heads": 1},
    "a key head each": {"num_key_value_heads": 4},
    "wide heads": {"head_dim": 16},
    "normed queries and keys": {"qk_norm": True},
    "biases": {"attention_bias": True, "attention_output_bias": True},
    "sliding window": {"sliding_window": 5},
    "gelu, untied": {"hidden_act": "gelu", "tie_word_embeddings": False},
    "partial rotary": {"rope_parameters": {**ROPE, "rope_type": "default", "partial_rotary_factor": 0.5}},
    "yarn": {"rope_parameters": {**ROPE, "rope_type": "yarn", "factor": 4.0}},
    "linear": {"rope_parameters": {**ROPE, "rope_type": "linear", "factor": 4.0}},
    "dynamic": {"rope_parameters": {**ROPE, "rope_type": "dynamic", "factor": 2.0}},
    "experts": MOE,
    "shared experts behind a dense block": {**MOE, "n_shared_experts": 1, "first_k_dense_replace": 1},
    "eager attention": {"attn_implementation": "eager"},
}


def language_model(**fields):
    torch.manual_seed(0)
    model = CausalLM(LLMConfig(**{**SIZES, **fields})).eval()
    for name, parameter in model.named_parameters():
        if name.endswith(("norm.weight", "bias")):
            torch.nn.init.normal_(parameter, mean=1.0, std=0.3)
    return model


def runner_of(model, num_blocks=40):
    return Runner(model, PagedKVCache(model.config, num_blocks, BLOCK, dtype=model.dtype))


def sequences_of(lengths, num_blocks=40, seed=0, scattered=True, images=()):
    """Sequences of random tokens with blocks of their own for `lengths` tokens each."""
    rng = random.Random(seed)
    free = list(range(num_blocks))
    if scattered:
        rng.shuffle(free)
    sequences = []
    for length in lengths:
        sequence = Sequence(Prompt(tuple(rng.randrange(1, 64) for _ in range(length)), images))
        needed = -(-length // BLOCK)
        sequence.blocks, free = free[:needed], free[needed:]
        sequences.append(sequence)
    return sequences


def random_steps(sequences, rng):
    """Steps of works that together compute all tokens: any cut, any order, any company."""
    steps = []
    while unfinished := [sequence for sequence in sequences if sequence.missing]:
        works = []
        for sequence in rng.sample(unfinished, rng.randint(1, len(unfinished))):
            count = min(sequence.missing, rng.choice([1, 1, 2, 3, 7]))
            works.append(Work(sequence, sequence.computed, count))
            sequence.computed += count
        steps.append(works)
    return steps


def run(runner, steps, sequences, features=None):
    """The logits of every position of each sequence."""
    pieces = {sequence.arrival: [] for sequence in sequences}
    for works in steps:
        logits = runner.forward(works, features, all_rows=True)
        for number, work in enumerate(works):
            assert len(logits.of(number)) == work.count
            pieces[work.seq.arrival].append(logits.of(number))
    return [torch.cat(pieces[sequence.arrival]) for sequence in sequences]


def assert_same(found, expected, tolerance=1e-5):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    assert torch.equal(found.argmax(-1), expected.argmax(-1))


@torch.no_grad()
@pytest.mark.parametrize("name", VARIANTS)
def test_logits_are_the_models_however_the_tokens_are_cut(name):
    model = language_model(**VARIANTS[name])
    lengths = [23, 9, 16, 1, 30]
    expected = [model(torch.tensor([sequence.ids])).logits[0] for sequence in sequences_of(lengths)]
    runner = runner_of(model)
    for seed in range(3):
        sequences = sequences_of(lengths)
        found = run(runner, random_steps(sequences, random.Random(seed)), sequences)
        for mine, theirs in zip(found, expected, strict=True):
            assert_same(mine, theirs)


@torch.no_grad()
@pytest.mark.parametrize("first", [1, 8])
def test_a_text_may_outgrow_the_first_rows_of_the_rotary_table(first, monkeypatch):
    monkeypatch.setattr(rope_table, "_FIRST_ROWS", first)
    model = language_model(max_position_embeddings=40)
    (sequence,) = sequences_of([39])
    expected = model(torch.tensor([sequence.ids])).logits[0]
    steps = [[Work(sequence, 0, 7)], *([Work(sequence, place, 1)] for place in range(7, 39))]
    runner = runner_of(model)
    assert_same(run(runner, steps, [sequence])[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("scattered", [True, False])
def test_a_whole_prompt_and_single_tokens_behind_it(window, scattered):
    model = language_model(sliding_window=window)
    (sequence,) = sequences_of([26], scattered=scattered)
    expected = model(torch.tensor([sequence.ids])).logits[0]
    steps = [[Work(sequence, 0, 20)], *([Work(sequence, place, 1)] for place in range(20, 26))]
    assert_same(run(runner_of(model), steps, [sequence])[0], expected)


@torch.no_grad()
@pytest.mark.parametrize("prompt", [10, 20])
def test_longrope_changes_its_frequencies_where_generate_does(prompt, monkeypatch):
    monkeypatch.setattr(rope_table, "_FIRST_ROWS", 4)
    factors = {"short_factor": [1.0, 1.5, 2.0, 3.0], "long_factor": [2.0, 3.0, 5.0, 9.0]}
    model = language_model(rope_parameters={**ROPE, "rope_type": "longrope", "factor": 4.0, **factors})
    (sequence,) = sequences_of([24])
    sequence.prompt = Prompt(tuple(sequence.ids[:prompt]))
    pieces, cache = [sequence.ids[:prompt], *([token] for token in sequence.ids[prompt:])], None
    expected = []
    for piece in pieces:  # the prompt comes whole, then token by token
        out = model(torch.tensor([piece]), past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        expected.append(out.logits[0])
    cuts = [0, 4, 9, 10, 15, 16, 17, 22, 24]
    steps = [[Work(sequence, start, end - start)] for start, end in itertools.pairwise(cuts)]
    assert_same(run(runner_of(model), steps, [sequence])[0], torch.cat(expected))


@torch.no_grad()
def test_bfloat16_is_as_near_to_float32_as_the_models_own():
    exact = language_model(qk_norm=True)
    sequences = sequences_of([23, 9])
    expected = [exact(torch.tensor([sequence.ids])).logits[0] for sequence in sequences]
    model = copy.deepcopy(exact).to(torch.bfloat16)
    theirs = [model(torch.tensor([sequence.ids])).logits[0] for sequence in sequences]
    found = run(runner_of(model), random_steps(sequences, random.Random(1)), sequences)
    for mine, own, true in zip(found, theirs, expected, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - true).norm() < 1.2 * (own - true).norm()


TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
TOWER |= {"model_type": "clip_vision_model", "image_size": 16, "patch_size": 8}  # four patches


@pytest.fixture(scope="module")
def vlm():
    torch.manual_seed(0)
    model = VLM(VLMConfig(**SIZES, vision_config=TOWER)).eval()
    for parameter in model.vision_encoder.parameters():
        parameter.data.mul_(3.0)
    return model


@torch.no_grad()
def test_pictures_stand_where_their_placeholders_stand(vlm):
    pixels = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
    images = (ImageRun(3, 4, b"first"), ImageRun(9, 4, b"second"))
    runner = runner_of(vlm)
    features = dict(zip((b"first", b"second"), runner.image_features(pixels), strict=True))
    ids = [5, 6, 7, *[34] * 4, 8, 9, *[34] * 4, 10, 11, 12]
    expected = vlm(torch.tensor([ids]), pixel_values=pixels).logits[0]
    assert not torch.allclose(expected, vlm(torch.tensor([ids]), pixel_values=pixels.flip(0)).logits[0], atol=0.1)
    for seed in range(4):
        (sequence,) = sequences_of([len(ids)], images=images)
        sequence.ids = list(ids)
        (other,) = sequences_of([10], num_blocks=30)  # whose blocks the first does not have
        other.blocks = [block for block in range(40) if block not in sequence.blocks][:3]
        steps = random_steps([sequence, other], random.Random(seed))
        assert_same(run(runner, steps, [sequence, other], features)[0], expected)


def test_missing_features_are_an_error(vlm):
    (sequence,) = sequences_of([8], images=(ImageRun(2, 4, bytes(range(32))),))
    with pytest.raises(ValueError, match="features of image 000102030405"):
        runner_of(vlm).forward([Work(sequence, 0, 4)])
    runner_of(vlm).forward([Work(sequence, 0, 2)])  # none is needed here


@torch.no_grad()
def test_only_wanted_rows_have_logits():
    model, heads = language_model(), []
    model.lm_head.register_forward_pre_hook(lambda _, inputs: heads.append(inputs[0].shape))
    runner = runner_of(model)
    reading, drafted, alone = sequences_of([20, 8, 5])
    drafted.draft = [7, 8, 9]
    drafted.blocks.append(next(block for block in range(40) if block not in reading.blocks + alone.blocks))
    runner.forward([Work(drafted, 0, 7), Work(alone, 0, 4)])
    heads.clear()
    logits = runner.forward([Work(reading, 0, 6), Work(drafted, 7, 4), Work(alone, 4, 1)])
    assert logits.offsets == [0, 0, 4, 5]
    assert heads == [(5, 32)]  # one product for all of them
    assert_same(logits.of(1), model(torch.tensor([drafted.ids + drafted.draft])).logits[0, 7:])
    assert_same(logits.of(2), model(torch.tensor([alone.ids])).logits[0, 4:])
    assert runner.forward([Work(reading, 6, 6)]).rows.shape == (0, 64)
    assert_same(runner.forward([Work(reading, 12, 8)]).rows, model(torch.tensor([reading.ids])).logits[0, 19:])


@torch.no_grad()
def test_a_graded_sequence_has_logits_from_where_it_is_graded():
    model = language_model()
    (sequence,) = sequences_of([12])
    sequence.logits_from = 5
    logits = runner_of(model).forward([Work(sequence, 0, 12)])
    assert_same(logits.rows, model(torch.tensor([sequence.ids])).logits[0, 5:])


class Recorder(TorchDispatchMode):
    """The names of all operations that run."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))

    def count(self, *names):
        return sum(self.names.count(name) for name in names)


# What copies nothing, or only where it must.
VIEWS = ("view", "reshape", "flatten", "slice", "select", "unbind", "chunk", "split_with_sizes", "transpose", "alias")
VIEWS += ("expand", "permute", "unsqueeze", "narrow", "to", "lift_fresh", "detach")


def recorded(runner, works):
    runner.forward(works)
    with Recorder() as seen:
        runner.forward(works)
    return seen


@pytest.mark.parametrize("company", [1, 6])
def test_a_decoding_step_is_few_operations_and_waits_for_nothing(company):
    counts = {}
    for layers in (2, 3):
        runner = runner_of(language_model(num_hidden_layers=layers, qk_norm=True))
        works = [Work(sequence, 19, 1) for sequence in sequences_of([20] * company)]
        seen = recorded(runner, works)
        assert not seen.count("_local_scalar_dense", "nonzero", "item", "is_nonzero")
        counts[layers] = len(seen.names) - seen.count(*VIEWS)
    assert counts[3] - counts[2] <= 28
    assert counts[2] - 2 * (counts[3] - counts[2]) <= 20


def test_one_token_of_each_of_many_is_one_attention():
    runner = runner_of(language_model(), num_blocks=80)
    sequences = sequences_of([20, 23, 29, 31, 20, 18], num_blocks=80)
    seen = recorded(runner, [Work(sequence, len(sequence.ids) - 1, 1) for sequence in sequences])
    assert seen.count("scaled_dot_product_attention") == 2  # one a layer


def test_a_sliding_window_reads_no_more_than_it_sees():
    model = language_model(sliding_window=5)
    runner, (sequence,) = runner_of(model), sequences_of([60])
    runner.forward([Work(sequence, 0, 59)])
    for block in sequence.blocks[: 55 // BLOCK]:  # all that lie behind the window
        for layer in runner.cache.layers:
            layer[:, block * BLOCK : (block + 1) * BLOCK] = float("nan")
    logits = runner.forward([Work(sequence, 59, 1)]).rows
    assert_same(logits, model(torch.tensor([sequence.ids])).logits[0, 59:].detach())


def test_a_step_leaves_no_tensor_behind():
    runner, sequences = runner_of(language_model()), sequences_of([20, 23])
    works = [Work(sequence, 19, 1) for sequence in sequences]
    runner.forward(works)
    places = [runner.cache.workspace(1).data_ptr(), *(layer.data_ptr() for layer in runner.cache.layers)]
    for _ in range(3):
        runner.forward(works)
    assert [runner.cache.workspace(1).data_ptr(), *(layer.data_ptr() for layer in runner.cache.layers)] == places


@torch.no_grad()
def test_replaced_weights_are_used_once_they_are_taken_over():
    model = language_model()
    runner, (sequence,) = runner_of(model), sequences_of([12])
    before = runner.forward([Work(sequence, 0, 12)]).rows
    model.model.layers[0].self_attn.q_proj.weight = torch.nn.Parameter(torch.randn(32, 32))
    assert runner.refresh()
    after = runner.forward([Work(sequence, 0, 12)]).rows
    assert not torch.allclose(before, after, atol=0.1)
    assert_same(after, model(torch.tensor([sequence.ids])).logits[0, 11:])


def test_a_cast_model_needs_another_cache():
    model = language_model()
    runner = runner_of(model)
    model.to(torch.bfloat16)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"the KV cache is torch\.float32 on cpu, but the model is torch\.bfloat16"
        ):
            runner.refresh()
    model.to(torch.float32)
    runner.refresh()


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft reads it by its old name
def test_adapters_count():
    peft = pytest.importorskip("peft")
    model = language_model()
    targets = ["q_proj", "v_proj", "up_proj", "down_proj"]
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)).eval()
    sequences = sequences_of([12, 9])
    expected = [adapted(input_ids=torch.tensor([sequence.ids])).logits[0] for sequence in sequences]
    found = run(runner_of(model), random_steps(sequences, random.Random(0)), sequences)
    for mine, theirs in zip(found, expected, strict=True):
        assert_same(mine, theirs)
