"""One small recipe for all training tests: a picture of 32 pixels, 16 image tokens, seconds a run."""

import copy
import pickle

import pytest

from sightline.training import build
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
            "head_dim": 16,
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


_tokenizers: dict[tuple, bytes] = {}
_learn = build._learned


def learned_once(world, section):
    """As `build._learned`, which gives the same tokenizer whenever the same world is read (test_build)."""
    key = (
        world.seed,
        world.things,
        world.languages,
        str(world.mix),
        str(world._shares),
        world.grid_share,
        str(section),
    )
    if key not in _tokenizers:
        _tokenizers[key] = pickle.dumps(_learn(world, section))
    return pickle.loads(_tokenizers[key])


@pytest.fixture(scope="module", autouse=True)
def cheap_runs(request):
    """What costs a run most and says nothing: models that never end an answer, pictures measured before a step, and the
    same tokenizer learned again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sightline.evaluation.answering.LEAST", 8)
        patch.setattr("sightline.evaluation.answering.MOST", 16)
        patch.setattr("sightline.training.rows.WORLD_SAMPLE", 8)
        if not request.module.__name__.endswith("test_build"):
            patch.setattr(build, "_learned", learned_once)
        yield


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    """Nothing that a test keeps lands in the user's cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
