"""A language model of transformers as a `CausalLM`: the same numbers from the same weights.

Which families, and how their configs read, is in `families.py`. Here weights are copied; a key left over or
missing is an error, so a converted model is the whole model.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TypeVar

from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from sightline.config import LLMConfig
from sightline.interop.families import from_transformers_config
from sightline.nn.language import CausalLM

Model = TypeVar("Model", bound=CausalLM)


def causal_lm_from_transformers(source: PreTrainedModel | str | Path) -> CausalLM:
    """`source`, a transformers model or its folder or hub id, as a `CausalLM` with its own copy of the weights.

    Raises:
        ValueError: the model is of no known family, or has a part that ours lacks.
        OSError: there is no checkpoint at `source`.
    """
    if not isinstance(source, PreTrainedModel):
        source = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    return adopt(CausalLM, from_transformers_config(source.config), source, source.state_dict())


def adopt(model_class: type[Model], config: LLMConfig, source: PreTrainedModel, weights: Mapping[str, Tensor]) -> Model:
    """A model that holds copies of `weights` and behaves as `source`: dtype, device, kernels, generation."""
    text_config = source.config.get_text_config()
    model = model_class._from_config(
        config,
        dtype=source.dtype,
        attn_implementation=text_config._attn_implementation,
        experts_implementation=text_config._experts_implementation,
    )
    copy_weights(model.to(source.device), weights)
    model.generation_config = deepcopy(source.generation_config)
    return model.train(source.training)


def copy_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `model`, whose keys and shapes they have.

    Raises:
        ValueError: naming the keys that are left over, missing, or of another shape.
    """
    own = model.state_dict()
    problems = [f"{key} is left over" for key in sorted(weights.keys() - own.keys())]
    problems += [f"{key} is missing" for key in sorted(own.keys() - weights.keys())]
    problems += [
        f"{key} is {list(weights[key].shape)} instead of {list(own[key].shape)}"
        for key in sorted(own.keys() & weights.keys())
        if weights[key].shape != own[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        raise ValueError(f"the weights do not fit: {', '.join(problems[:5])}{more}")
    model.load_state_dict(weights)
