"""transformers' Trainer trains the model and evaluates it: it knows a model by the names that `forward` takes."""

import pytest
import torch
from tiny import IMAGE, tiny_vlm

pytest.importorskip("accelerate", reason="the extra [train] is not installed")


@pytest.mark.parametrize("fields", [{}, {"use_moe": True, "n_routed_experts": 4, "num_experts_per_token": 2}])
def test_trainer_trains_evaluates_and_predicts(pictures, tmp_path, fields):
    from transformers import Trainer, TrainingArguments

    model = tiny_vlm(**fields)
    ids = torch.tensor([5, *IMAGE, 6, 7])
    rows = [{"input_ids": ids, "pixel_values": picture[None], "labels": ids} for picture in pictures[:4]]
    given = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=2,
        eval_strategy="steps",
        eval_steps=1,
        save_steps=1,
        load_best_model_at_end=True,
        use_cpu=True,
        report_to=[],
    )
    trainer = Trainer(model=model, args=given, train_dataset=rows, eval_dataset=rows)
    trainer.train()
    with torch.no_grad():
        batch = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
        expected = float(trainer.model.eval()(**batch).loss)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)
    assert trainer.predict(rows).predictions.shape == (4, len(ids), model.config.vocab_size)
