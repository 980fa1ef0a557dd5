"""One stage: what moves and what does not, and steps that are the same however they are cut."""

import copy
import json

import pytest
import torch
from PIL import Image

from sightline.data.scenes.questions import KINDS
from sightline.nn.float32_attention import NAME
from sightline.training.build import build
from sightline.training.parts import part_of
from sightline.training.stage import StageRun

from .conftest import merged
from .frozen import frozen_digest

CPU = torch.device("cpu")


def run_of(recipe, model, processor, stage=0):
    return StageRun(recipe, recipe.stages[stage], model, processor, CPU, torch.float32)


def weights(model):
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def still(recipe_maker, **sections):
    """A recipe without dropout, so that one batch has one loss."""
    return recipe_maker(**{"model": {"overrides": {"dropout": 0.0}}, **sections})


@pytest.mark.parametrize(
    ("kind", "moves"),
    [
        ("tower", {"vision"}),
        ("language", {"language"}),
        ("align", {"projector"}),
        ("instruct", {"projector", "language"}),
        ("joint", {"vision", "projector", "language"}),
    ],
)
def test_a_stage_moves_its_parts_and_leaves_the_others_bytes(make_recipe, kind, moves):
    recipe = make_recipe(stages=[{"kind": kind, "steps": 2}])
    model, processor = build(recipe)
    before = weights(model)
    run = run_of(recipe, model, processor)
    frozen = frozen_digest(model)
    assert len(list(run.steps())) == 2
    assert frozen_digest(model) == frozen
    moved = {part_of(name) for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == moves
    assert {part_of(name) for name in frozen} >= {"vision", "projector", "language"} - moves


def test_a_micro_batch_is_moved_to_the_device_when_its_turn_comes(make_recipe, monkeypatch):
    order = []

    class Seen(dict):
        def items(self):
            order.append("moved")
            return super().items()

    recipe = still(make_recipe, train={"batch_size": 4, "accumulate": 2})
    run = run_of(recipe, *build(recipe))
    loss = run.objective.loss
    monkeypatch.setattr(run.objective, "loss", lambda *given: order.append("loss") or loss(*given))
    run.take([Seen(batch) for batch in run.data[0]])
    assert order == ["moved", "loss"] * 2


def test_accumulated_micro_batches_are_one_batch(make_recipe):
    whole = still(make_recipe, train={"batch_size": 4, "accumulate": 1})
    cut = still(make_recipe, train={"batch_size": 4, "accumulate": 4})
    model, processor = build(whole)
    other = copy.deepcopy(model)
    one, many = run_of(whole, model, processor), run_of(cut, other, processor)
    assert len(many.data[0]) == 4
    tokens = [many.objective.weight(batch) for batch in many.data[0]]
    assert len(set(tokens)) > 1, "micro-batches of unequal tokens, or the weighting is not tested"
    first, second = one.take(one.data[0]), many.take(many.data[0])
    assert first["tokens"] == second["tokens"]
    assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
    assert first["grad_norm"] == pytest.approx(second["grad_norm"], rel=1e-5)


def gradients(run, batches):
    run._backward(batches)
    return {name: p.grad.clone() for name, p in run.model.named_parameters() if p.grad is not None}


def test_questions_that_share_a_picture_have_the_gradients_of_questions_alone(make_recipe):
    recipe = still(make_recipe, train={"batch_size": 1})
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    group = run.data.sources[0].group(3)
    assert len(group) == 3
    shared = run.data.encode([group])
    alone = run.data.encode([[one] for one in group])
    assert shared["input_ids"].numel() < alone["input_ids"].numel()
    assert len(shared["pixel_values"]) == 1
    together = gradients(run, [shared])
    model.zero_grad()
    for name, one in gradients(run, [alone]).items():
        torch.testing.assert_close(together[name], one, rtol=1e-3, atol=1e-6, msg=name)


def test_activation_checkpointing_changes_nothing_but_memory(make_recipe):
    plain = still(make_recipe)
    lean = still(make_recipe, train={"activation_checkpointing": True})
    model, processor = build(plain)
    run = run_of(plain, model, processor)
    expected = gradients(run, run.data[0])
    model.zero_grad()
    run = run_of(lean, model, processor)
    assert model.model.layers[0].gradient_checkpointing
    for name, one in gradients(run, run.data[0]).items():
        torch.testing.assert_close(one, expected[name])


@pytest.mark.parametrize("kind", ["joint", "align"])
def test_rows_with_and_without_pictures_mix(make_recipe, tmp_path, kind):
    Image.new("RGB", (40, 30), "red").save(tmp_path / "red.png")
    ask = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}
    rows = [
        {"messages": [ask, {"role": "assistant", "content": "red"}], "images": ["red.png"]},
        {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello there"}]},
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(
        data={"world": {"weight": 0}, "files": [{"path": str(tmp_path / "rows.jsonl")}]},
        # In micro-batches of one row, half of which have no picture for a projector to learn from.
        stages=[{"kind": kind, "steps": 2, "train": {"batch_size": 2, "accumulate": 2}}],
    )
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    before = weights(model)
    assert sorted("pixel_values" in batch for batch in run.data[0]) == [False, True]
    assert all(record["loss"] > 0 and record["pictures"] == 1 for record in run.steps())
    assert any(not torch.equal(p, before[name]) for name, p in model.named_parameters() if part_of(name) == "projector")


def test_the_average_follows_the_weights_and_replaces_them(make_recipe):
    recipe = make_recipe(train={"ema": 0.5}, stages=[{"kind": "align", "steps": 2}])
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    name = next(name for name in run.average.weights)
    expected = run.average.weights[name].clone()
    for number, _ in enumerate(run.steps(), start=1):
        decay = min(0.5, (1 + number) / (10 + number))
        expected = decay * expected + (1 - decay) * dict(model.named_parameters())[name].detach()
    assert not torch.equal(dict(model.named_parameters())[name], expected)
    run.average.put_into(model)
    torch.testing.assert_close(dict(model.named_parameters())[name].detach(), expected)


@pytest.mark.parametrize("schedule", ["constant", "wsd"])
def test_steps_are_those_of_a_loop_written_out(make_recipe, schedule):
    """Clipping, betas, decay, warm-up and schedule reach the weights: by PyTorch's AdamW and the rates by hand."""
    train = {"optimizer": "adamw", "lr": 0.01, "beta1": 0.7, "beta2": 0.9, "weight_decay": 0.2, "max_grad_norm": 0.3}
    train |= {"schedule": schedule, "warmup_steps": 1, "decay_share": 0.5, "lr_scale": {"vision": 0.1}}
    recipe = still(make_recipe, train=train, stages=[{"kind": "joint", "steps": 4}])
    model, processor = build(recipe)
    other = copy.deepcopy(model)
    run, by_hand = run_of(recipe, model, processor), run_of(recipe, other, processor)
    named = {name: p for name, p in other.named_parameters() if p.requires_grad}
    tables = {f"{name}.weight": module for name, module in other.named_modules()}
    groups = [
        {
            "params": [p],
            "weight_decay": 0.2 if p.ndim >= 2 and not isinstance(tables.get(name), torch.nn.Embedding) else 0.0,
            "scale": scale,
        }
        for name, p in named.items()
        for scale in [0.1 if part_of(name) == "vision" else 1.0]
    ]
    adamw = torch.optim.AdamW(groups, lr=0.01, betas=(0.7, 0.9), fused=False)
    falling = {"constant": [0.5, 1, 1, 1], "wsd": [0.5, 1, 1, 0.5]}[schedule]
    for factor, record in zip(falling, run.steps(), strict=True):
        by_hand._backward(by_hand.data[by_hand.step])
        gradients = [p.grad for p in named.values() if p.grad is not None]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        assert norm > 0.3, "or the clipping is not tested"
        for gradient in gradients:
            gradient *= 0.3 / norm
        for group in adamw.param_groups:
            group["lr"] = 0.01 * factor * group["scale"]
        adamw.step()
        adamw.zero_grad()
        by_hand.step += 1
        assert record["lr"] == pytest.approx(0.01 * factor)
        assert record["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p, dict(other.named_parameters())[name], rtol=1e-3, atol=1e-5)


def test_a_run_that_goes_on_takes_the_rates_of_its_recipe(make_recipe):
    before = make_recipe(train={"lr": 0.001, "muon_lr": 0.01})
    after = make_recipe(train={"lr": 0.002, "muon_lr": 0.03})
    model, processor = build(before)
    run = run_of(before, model, processor)
    next(run.steps())
    resumed = run_of(after, model, processor)
    resumed.load_state_dict(copy.deepcopy(run.state_dict()))
    record = next(resumed.steps())
    muon, adamw = resumed.optimizers
    assert record["lr"] == pytest.approx(0.002)
    assert [group["lr"] for group in adamw.param_groups] == pytest.approx([0.002] * len(adamw.param_groups))
    assert [group["lr"] for group in muon.param_groups] == pytest.approx([0.03] * len(muon.param_groups))
    assert {state["step"].item() for state in adamw.state.values()} == {2}


def test_a_gradient_that_is_not_finite_stops_although_the_loss_is(make_recipe):
    recipe = make_recipe()
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    before = weights(model)
    run.trained[0].register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(FloatingPointError, match=r"the loss is \d.* and the gradient's norm (inf|nan)"):
        next(run.steps())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("factor", [float("inf"), float("nan")])
def test_a_loss_that_is_not_finite_stops_before_the_weights_change(make_recipe, factor):
    recipe = make_recipe()
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    original = run.objective.loss
    run.objective.loss = lambda batch, total: original(batch, total)._replace(
        value=original(batch, total).value * factor
    )
    before = weights(model)
    with pytest.raises(FloatingPointError, match=r"stage joint, step 1 \(rows: the built-in world's picture 0, .*\)"):
        next(run.steps())
    for name, p in model.named_parameters():
        assert torch.equal(p, before[name])


def test_a_spike_is_skipped_and_too_many_in_a_row_stop_the_run(make_recipe):
    rule = {"factor": 2.0, "window": 2, "patience": 1}
    recipe = make_recipe(train={"skip_spikes": rule}, stages=[{"kind": "joint", "steps": 9}])
    model, processor = build(recipe)
    run = run_of(recipe, model, processor)
    batch = run.data[0]
    run.take(batch), run.take(batch)
    original = run.objective.loss
    run.objective.loss = lambda *args: original(*args)._replace(value=original(*args).value * 5)
    before = weights(model)
    assert run.take(batch)["skipped"]
    assert run.spikes.skipped == 1
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert not any(p.grad is not None and p.grad.any() for p in run.trained), "the next step would take it after all"
    resumed = run_of(recipe, model, processor)
    resumed.load_state_dict(copy.deepcopy(run.state_dict()))
    assert (list(resumed.spikes.recent), resumed.spikes.in_a_row) == (list(run.spikes.recent), 1)
    with pytest.raises(RuntimeError, match=r"the last 2 losses were all above 2 times the median"):
        run.take(batch)


@pytest.mark.parametrize(("unit", "amount", "steps"), [("steps", 3, 3), ("samples", 5, 3), ("tokens", 1, 1)])
def test_a_stage_lasts_as_long_as_it_says(make_recipe, unit, amount, steps):
    recipe = make_recipe(stages=[{"kind": "joint", unit: amount}])
    assert len(list(run_of(recipe, *build(recipe)).steps())) == steps


def test_a_stage_of_minutes_ends_by_the_clock(make_recipe):
    recipe = make_recipe(stages=[{"kind": "joint", "minutes": 1e-4}])
    run = run_of(recipe, *build(recipe))
    assert len(list(run.steps())) >= 1
    assert run.seconds >= 60 * 1e-4


def test_a_contrastive_stage_learns_to_name_regions(make_recipe):
    train = {"batch_size": 8, "lr": 3e-3}
    recipe = make_recipe(stages=[{"kind": "tower", "steps": 25, "train": train}])
    losses = [record["loss"] for record in run_of(recipe, *build(recipe)).steps()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_the_contrastive_loss_is_clips_over_regions_that_may_share_a_name(make_recipe):
    recipe = make_recipe(stages=[{"kind": "tower", "steps": 1}])
    run = run_of(recipe, *build(recipe))
    contrast = run.objective.contrast.eval()
    batch = {
        "pixel_values": torch.randn(2, 3, 32, 32),
        "region_image": torch.tensor([0, 0, 1]),
        "region_patches": torch.eye(16)[[0, 5, 7]],  # a region of one patch each
        "region_text": torch.tensor([0, 1, 0]),
        "text_ids": torch.tensor([[40, 41, 42], [50, run.data.processor.tokenizer.pad_token_id, 60]]),
        "text_length": torch.tensor([3, 1]),  # what is behind a name's end says nothing
    }
    with torch.no_grad():
        found = contrast(**batch)
        states = contrast.clip.vision_model(pixel_values=batch["pixel_values"], output_hidden_states=True)
        patches = contrast.clip.vision_model.post_layernorm(states.hidden_states[-1][:, 1:])
        regions = contrast.clip.visual_projection(torch.stack([patches[0, 0], patches[0, 5], patches[1, 7]]))
        ends = [contrast.clip.text_model(input_ids=torch.tensor([ids]))[0][0, -1] for ids in ([40, 41, 42], [50])]
        names = contrast.clip.text_projection(torch.stack(ends))
        cosines = torch.nn.functional.cosine_similarity(regions[:, None], names[None], dim=-1)
        logits = cosines * contrast.clip.logit_scale.exp()
    own, theirs = logits.log_softmax(dim=1), logits.log_softmax(dim=0)
    of_regions = -(own[0, 0] + own[1, 1] + own[2, 0]) / 3
    of_names = -((theirs[0, 0] + theirs[2, 0]) / 2 + theirs[1, 1]) / 2
    torch.testing.assert_close(found, (of_regions + of_names) / 2)


def test_a_contrastive_batch_names_each_region_as_the_world_does(make_recipe):
    recipe = make_recipe(stages=[{"kind": "tower", "steps": 1}], train={"batch_size": 4})
    run = run_of(recipe, *build(recipe))
    (batch,) = run.data[0]
    names = [
        run.data.processor.tokenizer.decode(row[:length])
        for row, length in zip(batch["text_ids"], batch["text_length"], strict=True)
    ]
    pictures = [run.data.worlds[0].regions(number) for number in range(4)]
    assert [names[row] for row in batch["region_text"]] == [text for one in pictures for text in one.texts]
    assert len(set(names)) == len(names) < len(batch["region_text"])


def test_a_captioning_stage_trains_the_tower_through_the_language_model(make_recipe):
    world = {"questions": 2, "exercises": 0.5, "mix": {"describe_short": 0.0}}
    stage = {"kind": "tower", "objective": "captioning", "steps": 1, "data": {"world": world}}
    model, processor = build(make_recipe(stages=[stage]))
    before = weights(model)
    run = run_of(make_recipe(stages=[stage]), model, processor)
    assert len(list(run.steps())) == 1
    moved = {part_of(name) for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"vision", "projector", "language"}
    asked = run.recipe.data_of(run.stage).world
    assert {kind for kind in KINDS if asked.mix[kind]} == {"list", "describe", "text_describe", "chart_describe"}
    assert (asked.exercises, asked.grid_share) == (0.0, 0.0)


def test_a_contrastive_stage_refuses_a_tower_that_is_not_clips(make_recipe):
    siglip = {"model_type": "siglip_vision_model"}
    recipe = make_recipe(model={"overrides": {"vision_config": siglip}}, stages=[{"kind": "tower", "steps": 1}])
    with pytest.raises(ValueError, match=r"trains CLIP towers, not siglip_vision_model: take objective: captioning"):
        run_of(recipe, *build(recipe))


def test_training_a_mixture_moves_its_selection_bias_and_logs_the_balance(make_recipe):
    sparse = {"use_moe": True, "n_routed_experts": 4, "scoring_func": "sigmoid", "use_router_bias": True}
    recipe = make_recipe(model={"overrides": sparse}, stages=[{"kind": "joint", "steps": 1}])
    model, processor = build(recipe)
    (record,) = run_of(recipe, model, processor).steps()
    biases = [value for name, value in model.state_dict().items() if name.endswith("e_score_correction_bias")]
    assert len(biases) == 2
    assert all(bias.abs().max() > 0 for bias in biases)
    assert len(record["text_entropy"]) == len(record["image_dead_experts"]) == 2


def bias_of(model):
    return torch.stack(
        [value for name, value in model.state_dict().items() if name.endswith("e_score_correction_bias")]
    )


def test_accumulated_micro_batches_move_the_selection_bias_once_and_a_skipped_step_does_not(make_recipe):
    sparse = {"use_moe": True, "n_routed_experts": 4, "scoring_func": "sigmoid", "use_router_bias": True}
    sparse |= {"router_bias_update_rate": 0.001, "dropout": 0.0}
    sections = {"model": {"overrides": sparse}, "train": {"batch_size": 4}}
    whole, cut = make_recipe(**sections), make_recipe(**merged(sections, {"train": {"accumulate": 4}}))
    model, processor = build(whole)
    other = copy.deepcopy(model)
    one, many = run_of(whole, model, processor), run_of(cut, other, processor)
    first, second = one.take(one.data[0]), many.take(many.data[0])
    assert bias_of(model).abs().max() == pytest.approx(0.001)
    assert torch.equal(bias_of(model), bias_of(other))
    assert first["image_entropy"] == second["image_entropy"]
    many.spikes.skips = lambda loss: True
    many.take(many.data[1])
    assert torch.equal(bias_of(model), bias_of(other))


def test_bfloat16_products_keep_float32_weights(make_recipe):
    recipe = make_recipe(stages=[{"kind": "joint", "steps": 1}])
    model, processor = build(recipe)
    run = StageRun(recipe, recipe.stages[0], model, processor, CPU, torch.bfloat16)
    seen = set()
    model.model.layers[0].mlp.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    assert len(list(run.steps())) == 1
    assert seen == {torch.bfloat16}
    assert {model.config._attn_implementation, model.config.vision_config._attn_implementation} == {NAME}
    assert {p.dtype for p in model.parameters()} == {torch.float32}
