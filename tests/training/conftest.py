"""One small recipe for all training tests: a picture of 32 pixels, 16 image tokens, seconds a run."""

import pytest

from sightline.training.recipe import Recipe

TINY = {
    "name": "test",
    "model": {
        "overrides": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 256,
            "dropout": 0.1,  # so that a resumed run must also take up the random numbers
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 32,
                "patch_size": 8,
            },
        }
    },
    "tokenizer": {"vocab_size": 600, "texts": 300},
    "data": {"things": 4},
    "train": {"pictures": 12, "batch_size": 2, "workers": 0, "checkpoint_every": 2, "warmup_steps": 1},
}


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return Recipe.model_validate(TINY)
