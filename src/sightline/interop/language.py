"""A language model of transformers as a `CausalLM`: the same numbers from the same weights.

Which families, and how their configs read, is in `families.py`. Here weights are copied; a key left over or
missing is an error, so a converted model is the whole model.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any, TypeVar

import torch
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
    given = isinstance(source, PreTrainedModel)
    model: Any = source if given else whole(AutoModelForCausalLM, source)  # type: ignore[arg-type]
    return adopt(CausalLM, from_transformers_config(model.config), model, dict, take=not given)


def whole(kind: Any, source: str | Path) -> Any:
    """The model at `source`, of that class. Raises ValueError where a weight is missing, which it would make up."""
    model, report = kind.from_pretrained(source, dtype="auto", output_loading_info=True)
    if report["missing_keys"]:
        raise ValueError(f"{str(source)!r} lacks the weight {min(report['missing_keys'])}")
    return model


def adopt(
    model_class: type[Model],
    config: LLMConfig,
    source: PreTrainedModel,
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    take: bool = False,
) -> Model:
    """A model with the weights of `source` that behaves as it: dtype, device, kernels, generation.

    Args:
        rename: its weights under our names.
        take: use its tensors themselves, not copies, so that a large model lies in memory once; `source` is spent.
    """
    text_config = source.config.get_text_config()
    kernels = {
        "attn_implementation": text_config._attn_implementation,
        "experts_implementation": text_config._experts_implementation,
    }
    weights = rename(source.state_dict())
    with torch.device("meta") if take else nullcontext():
        model = model_class._from_config(config, dtype=source.dtype, **kernels)
    check_weights(model, weights)
    if take:
        model.load_state_dict(weights, assign=True)
        model.tie_weights()
        for name, buffer in rename(dict(source.named_buffers())).items():  # those that are not saved, too
            owner, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(owner), attribute, buffer)
    else:
        model.to(source.device).load_state_dict(weights)
    model.generation_config = deepcopy(source.generation_config)
    return model.train(source.training)


def rebuilt(model: Model, config: LLMConfig, weights: Mapping[str, Tensor]) -> Model:
    """A model of another `config` with these weights, and otherwise as `model`. Raises as `copy_weights`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the tower has fresh weights")  # for a moment
        other = type(model)._from_config(config, dtype=model.dtype)
    copy_weights(other, weights)
    other.generation_config = deepcopy(model.generation_config)
    return torch.nn.Module.to(other, model.device).train(model.training)


def copy_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Copy `weights` into `model`, whose keys and shapes they have. Raises as `check_weights`."""
    check_weights(model, weights)
    model.load_state_dict(weights)


def check_weights(model: PreTrainedModel, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError naming the keys of `weights` that are left over, missing, or of another shape than `model`'s."""
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
