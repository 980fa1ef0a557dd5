"""One small recipe for all training tests: a picture of 32 pixels, 16 image tokens, seconds a run."""

import copy

import pytest

from sightline.training.recipe import Recipe

TINY = {
    "name": "test",
    "model": {
        "preset": "sightline-tiny",
        "overrides": {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "max_position_embeddings": 384,
            "dropout": 0.1,  # so that a resumed run must also take up the random numbers
            "vision_config": {
                "hidden_size": 16,
                "intermediate_size": 32,
                "num_hidden_layers": 2,
                "num_attention_heads": 2,
                "image_size": 32,
                "patch_size": 8,
            },
        },
    },
    "tokenizer": {"vocab_size": 600, "texts": 300},
    "data": {"world": {"things": 4, "questions": 3}, "held_out": 0},
    "train": {"batch_size": 2, "workers": 0, "checkpoint_every": 2, "warmup_steps": 1, "eval_per_kind": 0},
    "stages": [{"kind": "joint", "steps": 6}],
}


def merged(base, changes):
    """A deep copy of `base` with `changes` put into it."""
    result = copy.deepcopy(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


@pytest.fixture(scope="session")
def make_recipe():
    """A recipe as `TINY`, with sections merged in."""
    return lambda **sections: Recipe.model_validate(merged(TINY, sections))


@pytest.fixture(scope="session")
def recipe(make_recipe) -> Recipe:
    return make_recipe()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing that a test keeps lands in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
