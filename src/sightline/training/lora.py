"""Low-rank adapters (Hu et al., 2021) on the language model's projections, through PEFT.

The base weights never change, so a run keeps them once and its checkpoints hold the adapters exactly, beside a
plain folder in which W + scale * BA is multiplied out. What trains when is `parts.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn

from sightline.nn.moe import Experts
from sightline.nn.vlm import VLM
from sightline.processor import VLMProcessor
from sightline.training.checkpoint import save_model
from sightline.training.parts import is_adapter, part_of
from sightline.training.recipe import LoraSection

__all__ = ["adapter_state", "attach", "load_adapter_state", "merged", "without_adapters", "write_merged"]

_ADAPTER = "default"
# Where stacked experts keep what a dense feed-forward has as layers of its own.
_STACKED = {"gate_up_proj": ("gate_proj", "up_proj"), "down_proj": ("down_proj",)}


def attach(model: VLM, lora: LoraSection) -> VLM:
    """Add adapters to `model` in place, on the projections that `lora.targets` names; the tower gets none.

    They start as no change at all. Stacked experts get one for each expert.

    Raises:
        ImportError: PEFT is not installed.
        ValueError: the model has adapters already, lacks a target, or has experts that cannot take `lora`.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError:
        raise ImportError("LoRA needs peft, which is not installed: pip install 'sightline[train]'") from None
    if any(is_adapter(name) for name, _ in model.named_parameters()):
        raise ValueError("the model has adapters already: attach them to a plain one")
    stacked = _stacked_targets(model, lora)
    _check_targets(model, lora, stacked)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=rf"model\.layers\..*\.({'|'.join(map(re.escape, lora.targets))})",
        target_parameters=[f"mlp.experts.{name}" for name in stacked],
    )
    inject_adapter_in_model(config, model, _ADAPTER)
    return model


def _stacked_targets(model: VLM, lora: LoraSection) -> list[str]:
    """Which of the experts' stacks get adapters."""
    if not any(isinstance(module, Experts) for module in model.modules()):
        return []
    wanted = {stack: [part in lora.targets for part in parts] for stack, parts in _STACKED.items()}
    if any(wanted["gate_up_proj"]) and not all(wanted["gate_up_proj"]):
        raise ValueError("the experts hold gate_proj and up_proj as one: put both into lora.targets, or neither")
    stacked = [stack for stack, parts in wanted.items() if all(parts)]
    if stacked and lora.dropout:
        raise ValueError("adapters of experts take no dropout: set lora.dropout to 0, or target attention alone")
    return stacked


def _check_targets(model: VLM, lora: LoraSection, stacked: list[str]) -> None:
    layers = [name for name, module in model.model.layers.named_modules() if isinstance(module, nn.Linear)]
    there = {name.rpartition(".")[2] for name in layers} | {part for name in stacked for part in _STACKED[name]}
    missing = [target for target in lora.targets if target not in there]
    if missing:
        raise ValueError(f"lora.targets: the model has no {missing[0]!r}; it has {', '.join(sorted(there))}")


def merged(model: VLM) -> VLM:
    """`model` without adapters, their effect in its weights; a model that has none as it is.

    What no adapter touches is shared with `model`, which stays as it was.
    """
    return _plain(model, _deltas(model))


def without_adapters(model: VLM) -> VLM:
    """The base model, which shares its weights with `model`."""
    return _plain(model, ())


def write_merged(model: VLM, folder: Path, processor: VLMProcessor) -> None:
    """Write `merged(model)` with its processor, as `sightline ask` takes it."""
    save_model(folder, merged(model), processor)


def adapter_state(model: VLM) -> dict[str, Tensor]:
    """Copies of everything that a run with LoRA can change: adapters, projector, selection biases."""
    return {name: tensor.detach().clone() for name, tensor in _changing(model)}


@torch.no_grad()
def load_adapter_state(model: VLM, state: Mapping[str, Tensor]) -> None:
    """Take up what `adapter_state` gave, in a base model with adapters.

    Raises:
        ValueError: the state is of other adapters.
    """
    own = dict(_changing(model))
    differing = sorted(own.keys() ^ state.keys())
    differing += [name for name in own.keys() & state.keys() if own[name].shape != state[name].shape]
    if differing:
        raise ValueError(f"the saved adapters are others than the model's: {differing[0]} does not fit")
    for name, tensor in own.items():
        tensor.copy_(state[name])


def _changing(model: VLM) -> Iterator[tuple[str, Tensor]]:
    for name, tensor in model.state_dict().items():
        if is_adapter(name) or part_of(name) == "projector" or name.endswith("e_score_correction_bias"):
            yield name, tensor


def _deltas(model: VLM) -> Iterator[tuple[str, Tensor]]:
    """What the adapters add, by the name of the plain model's weight."""
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            weight = getattr(module, "parameter_name", "weight")
            yield f"{_plain_name(name)}.{weight}", module.get_delta_weight(_ADAPTER).detach()


def _plain_name(name: str) -> str:
    return name.replace(".base_layer", "")


def _plain(model: VLM, deltas: Iterable[tuple[str, Tensor]]) -> VLM:
    if not any(is_adapter(name) for name, _ in model.named_parameters()):
        return model
    # In the machine's own memory: a GPU that holds the model once need not hold it twice.
    weights = {_plain_name(name): weight.cpu() for name, weight in model.state_dict().items() if not is_adapter(name)}
    for name, delta in deltas:  # one at a time: each is as large as its weight
        weights[name] = weights[name] + delta.cpu()
    with torch.device("meta"):
        plain = VLM(deepcopy(model.config))
    plain.load_state_dict(weights, assign=True)
    plain.tie_weights()
    _share_buffers(model, plain)
    plain.generation_config = deepcopy(model.generation_config)
    return plain.eval()


def _share_buffers(model: VLM, plain: VLM) -> None:
    """Those that are not saved, such as the rotary frequencies."""
    for name, buffer in model.named_buffers():
        owner, _, attribute = _plain_name(name).rpartition(".")
        setattr(plain.get_submodule(owner), attribute, buffer)
