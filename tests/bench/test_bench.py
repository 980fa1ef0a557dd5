"""The benchmark: what it compares is the same work, and its ratios say which side is better."""

import json

import pytest

from sightline.bench.asking import another, endless, engine_answers, questions, transformers_answers
from sightline.bench.run import Figure, _in_turns, bench, limits, used_weights
from sightline.cli import main
from sightline.engine.engine import Engine


@pytest.fixture(scope="module")
def loaded(tiny_model_folder):
    from sightline.interop.load import load

    return load(tiny_model_folder, device="cpu", dtype="float32")


def test_engine_and_peer_are_asked_the_same_and_say_as_much(loaded):
    model, processor = loaded
    asked = questions(32)
    some = [next(asked) for _ in range(3)]
    with endless(model), Engine(model, processor, kv_cache_bytes=2**22) as engine:
        assert engine_answers(engine, some, 9) == [transformers_answers(model, processor, [one], 9)[0] for one in some]
        assert all(len(answer) == 9 for answer in engine_answers(engine, some, 9))


def test_a_llava_checkpoint_is_asked_as_one_padded_batch(tmp_path):
    import sightline

    from ..stand_ins import save_llava

    save_llava(tmp_path)
    model, processor = sightline.load(tmp_path, device="cpu", dtype="float32")
    some = [another(next(questions(32))), next(questions(32))]
    with endless(model), Engine(model, processor, kv_cache_bytes=2**22) as engine:
        assert engine_answers(engine, some, 3) == transformers_answers(model, processor, some, 3)


@pytest.mark.parametrize("int8", [False, True])
def test_a_token_goes_through_the_experts_that_are_chosen_for_it(int8):
    from sightline.config import LLMConfig
    from sightline.engine.quantize import quantize
    from sightline.nn.language import CausalLM

    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 4, "num_key_value_heads": 2, "pad_token_id": 0}
    routed = {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 1, "moe_intermediate_size": 16}
    model = CausalLM(LLMConfig(**sizes, **routed)).eval()
    whole = sum(weight.numel() for weight in model.model.layers.parameters())
    experts = 4 * 3 * 16 * 32
    numbers, read = used_weights(model)
    assert numbers == whole - experts * 3 / 4
    assert read == 4 * numbers
    if int8:
        assert used_weights(quantize(model))[1] < read / 2


def test_limits_count_what_runs(loaded, monkeypatch):
    model, _ = loaded
    monkeypatch.setattr("sightline.bench.run.matmul_rate", lambda *_: 1e9)
    monkeypatch.setattr("sightline.bench.run.copy_rate", lambda *_: 1e9)
    figures = [Figure(name, "s", speed, speed, True) for name, speed in (("first", 0.5), ("next", 7.0), ("more", 20.0))]
    found = limits(model, figures)
    blocks = sum(weight.numel() for weight in model.model.layers.parameters())
    tower = model.vision_encoder.vision_model
    seen = sum(weight.numel() for weight in tower.encoder.layers.parameters())
    seen += tower.embeddings.patch_embedding.weight.numel()
    tokens = model.config.num_image_tokens
    assert found.prefill_share == pytest.approx(2 * tokens * (blocks + seen) / 0.5 / 1e9)
    assert found.decode_share == pytest.approx(4 * (blocks + model.lm_head.weight.numel()) * 20.0 / 1e9)
    monkeypatch.setattr(model.config, "vision_feature_layer", 0)  # no block of the tower runs
    assert limits(model, figures).prefill_share < found.prefill_share


def test_endless_leaves_the_model_as_it_was(loaded):
    model, _ = loaded
    before = model.generation_config.eos_token_id
    with endless(model):
        assert model.generation_config.eos_token_id != before
    assert model.generation_config.eos_token_id == before


def test_another_question_is_about_the_same_picture():
    first = next(questions(32))
    second = another(first)
    texts = [messages[0]["content"][1]["text"] for messages in (first, second)]
    assert texts[0] != texts[1]
    assert first[0]["content"][0]["image"].tobytes() == second[0]["content"][0]["image"].tobytes()


def test_both_are_asked_the_same_at_once():
    asked = [], []
    work = iter(range(6))
    _in_turns(5, *(lambda one, new_tokens, seen=seen: seen.append(one) for seen in asked), lambda: (next(work), 1))
    assert asked[0] == asked[1] == list(range(6))


def test_a_ratio_above_one_is_in_the_engines_favour():
    assert Figure("time", "s", 1.0, 2.0, higher_is_better=False).ratio == 2.0
    assert Figure("rate", "tokens/s", 3.0, 2.0, higher_is_better=True).ratio == 1.5


def test_engines_that_disagree_are_not_compared(loaded, monkeypatch):
    monkeypatch.setattr("sightline.bench.run.engine_answers", lambda engine, some, count: [[1] * count for _ in some])
    with pytest.raises(RuntimeError, match="different tokens"):
        bench(*loaded, rounds=1, batch=2, new_tokens=2)


def test_the_command_prints_a_table_and_json(tiny_model_folder, capsys, monkeypatch):
    import sightline.bench.run as run

    small = run.bench
    monkeypatch.setattr(run, "bench", lambda *given, **_: small(*given, rounds=1, batch=2, new_tokens=3))
    words = ["bench", "--model", str(tiny_model_folder), "--quick", "--dtype", "float32"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "throughput, 2 answers" in shown
    assert "GFLOP/s" in shown
    assert main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [figure["unit"] for figure in told["figures"]] == ["s", "s", "tokens/s", "tokens/s"]
    assert 0 < told["limits"]["prefill_share"] < 10
