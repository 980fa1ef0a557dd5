"""A run is reproducible, goes on where it stopped, overwrites nothing, and leaves a folder that loads."""

import io
import json
import shutil
import signal

import pytest
import torch
from rich.console import Console

import sightline
from sightline.training import loop
from sightline.training.batches import SceneBatches
from sightline.training.checkpoint import checkpoints
from sightline.training.loop import build, supervised_loss, train


def quiet():
    return Console(file=io.StringIO())


def weights(folder):
    model, _ = sightline.load(folder, device="cpu", dtype="float32")
    return model.state_dict()


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.fixture(scope="module")
def finished(recipe, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "whole"
    return recipe, out, train(recipe, out, console=quiet())


def stop_after(monkeypatch, steps, number=signal.SIGINT):
    """Send the process a signal during the `steps`-th step."""
    original = loop.Trainer._train_step

    def step_and_signal(self, batch):
        record = original(self, batch)
        if record["step"] == steps:
            signal.raise_signal(number)
        return record

    monkeypatch.setattr(loop.Trainer, "_train_step", step_and_signal)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_that_goes_on_ends_with_the_same_bits(finished, tmp_path, monkeypatch, number):
    recipe, _, model = finished
    with monkeypatch.context() as patch:
        stop_after(patch, 3, number)
        assert train(recipe, tmp_path / "run", console=quiet()) is None
    assert checkpoints(tmp_path / "run" / "checkpoints")[-1].name == "step-000003"
    resumed = train(recipe, tmp_path / "run", resume=True, console=quiet())
    assert_same_bits(weights(resumed), weights(model))


def test_every_step_is_logged(finished):
    recipe, out, _ = finished
    records = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, recipe.train.steps + 1))
    assert all(record["loss"] > 0 and record["tokens"] > 0 for record in records)


def test_only_the_newest_checkpoints_are_kept(finished):
    _, out, _ = finished
    assert [path.name for path in checkpoints(out / "checkpoints")] == ["step-000004", "step-000006"]


def test_a_checkpoint_is_a_model_that_answers(finished):
    _, out, _ = finished
    model, processor = sightline.load(checkpoints(out / "checkpoints")[0], device="cpu", dtype="float32")
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    assert model.generate(**inputs, max_new_tokens=2).shape[1] > inputs["input_ids"].shape[1]


def test_a_folder_with_a_run_is_never_overwritten(finished):
    recipe, out, _ = finished
    with pytest.raises(FileExistsError, match=r"--resume"):
        train(recipe, out, console=quiet())


def test_resuming_nothing_is_an_error(recipe, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint to resume"):
        train(recipe, tmp_path / "empty", resume=True, console=quiet())


def test_a_checkpoint_that_was_not_finished_is_not_found(finished, tmp_path):
    (tmp_path / ".writing-step-000009").mkdir()
    (tmp_path / "step-000008").mkdir()
    assert checkpoints(tmp_path) == []


# At 1e30 the loss is finite and its gradient is not.
@pytest.mark.parametrize("factor", [float("inf"), float("nan"), 1e30])
def test_a_loss_or_gradient_that_is_not_finite_stops_before_the_weights_change(recipe, tmp_path, monkeypatch, factor):
    seen = {}

    def broken(model, config, batch):
        seen["before"] = {name: p.detach().clone() for name, p in model.named_parameters()}
        seen["model"] = model
        parameter = next(model.parameters())
        return (parameter * 0 + 1e-30).sqrt().sum() * factor, 1, None

    monkeypatch.setattr(loop, "supervised_loss", broken)
    with pytest.raises(FloatingPointError, match=r"batch of step 0; the weights are untouched"):
        train(recipe, tmp_path / "run", console=quiet())
    assert_same_bits(seen["before"], dict(seen["model"].named_parameters()))


def test_the_loss_is_the_models_own(recipe):
    model, processor = build(recipe)
    batch = SceneBatches(recipe, processor, 32)[0]
    model.eval()
    loss, tokens, _ = supervised_loss(model, model.config, batch)
    torch.testing.assert_close(loss, model(**batch).loss)
    assert tokens == int((batch["labels"] != -100).sum())


def test_a_batch_is_a_function_of_its_step(recipe):
    _, processor = build(recipe)
    one, other = (SceneBatches(recipe, processor, 32) for _ in range(2))
    other[0]
    assert_same_bits(one[3], other[3])


def test_a_few_steps_lower_the_loss(recipe, tmp_path):
    longer = recipe.model_copy(
        update={"train": recipe.train.model_copy(update={"pictures": 240, "batch_size": 8, "checkpoint_every": 100})}
    )
    train(longer, tmp_path / "run", console=quiet())
    losses = [json.loads(line)["loss"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert sum(losses[-3:]) / 3 < 0.85 * losses[0]


def with_experts(recipe, **fields):
    overrides = recipe.model.overrides | {"use_moe": True, "n_routed_experts": 4} | fields
    return recipe.model_copy(update={"model": recipe.model.model_copy(update={"overrides": overrides})})


def test_the_loss_of_a_mixture_of_experts_holds_the_routers_losses(recipe):
    sparse = with_experts(recipe, aux_loss_alpha=0.5)
    model, processor = build(sparse)
    batch = SceneBatches(sparse, processor, 32)[0]
    loss, _, router = supervised_loss(model.eval(), model.config, batch)
    assert len(router) == 2
    model.config.output_router_logits = True
    loss, _, _ = supervised_loss(model, model.config, batch)
    outputs = model(**batch)
    torch.testing.assert_close(loss, outputs.loss)
    assert outputs.aux_loss > 0


def test_training_a_mixture_moves_its_selection_bias_and_logs_the_balance(recipe, tmp_path):
    sparse = with_experts(recipe, scoring_func="sigmoid", use_router_bias=True)
    folder = train(sparse, tmp_path / "run", console=quiet())
    biases = [value for name, value in weights(folder).items() if name.endswith("e_score_correction_bias")]
    assert len(biases) == 2
    assert all(bias.abs().max() > 0 for bias in biases)
    record = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[0])
    assert len(record["text_entropy"]) == len(record["image_dead_experts"]) == 2


def test_resuming_another_run_is_refused_and_a_longer_one_is_not(finished, tmp_path):
    recipe, out, _ = finished
    shutil.copytree(out, tmp_path / "run")
    other = recipe.model_copy(update={"data": recipe.data.model_copy(update={"things": 3})})
    with pytest.raises(ValueError, match=r"the run to resume has another data: give another --out"):
        train(other, tmp_path / "run", resume=True, console=quiet())
    longer = recipe.model_copy(update={"train": recipe.train.model_copy(update={"pictures": 16})})
    assert train(longer, tmp_path / "run", resume=True, console=quiet()) is not None
    steps = [json.loads(line)["step"] for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert steps == list(range(1, 9))


def test_a_run_that_ended_before_its_first_checkpoint_can_begin_anew(recipe, tmp_path):
    (tmp_path / "log.jsonl").write_text('{"step": 1}\n')
    (tmp_path / "recipe.yaml").write_text("name: x")
    assert train(recipe, tmp_path, console=quiet()) is not None
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"is not empty"):
        train(recipe, tmp_path / "elsewhere", console=quiet())


def test_checkpoints_are_ordered_by_number(tmp_path):
    for step in (999_999, 1_000_000):
        (tmp_path / f"step-{step}").mkdir()
        (tmp_path / f"step-{step}" / "trainer.pt").touch()
    assert [path.name for path in checkpoints(tmp_path)] == ["step-999999", "step-1000000"]
