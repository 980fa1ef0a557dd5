"""Which patches a word attended to: attention weights, by layer and head or rolled out.

The weights come from a twin of the language model: the same parameters behind modules and a config of its own, which
compute attention eagerly. The shared model is never switched, so other threads may go on using it. What the weights
are the cause of, they do not say: see `occlusion`.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import DynamicCache

from sightline.explain.forced import Forced
from sightline.nn.attention import Attention
from sightline.nn.language import LLM
from sightline.nn.vlm import VLM

__all__ = ["attend", "eager_twin", "roll_out"]


def attend(model: VLM, forced: Forced, layer: int | None = None, head: int | None = None) -> tuple[Tensor, Tensor]:
    """What each token of the answer was predicted from, in one pass that computes attention eagerly.

    The prompt goes through the model's own attention first, so that only the answer's rows of weights ever exist.

    Args:
        layer: one block, from 0; None: the mean over all.
        head: one query head, from 0; None: the mean over all.

    Returns:
        the log probability of each token [answer], and the weights on each picture's tokens [answer, images,
        patches], fp32 on the model's device. Weights on pictures and text together sum to 1.
    """
    rows: list[Tensor] = []

    def keep(index: int, weights: Tensor) -> None:
        if layer in (None, index):
            rows.append(weights[0].mean(0) if head is None else weights[0, head])

    embeddings, begin = forced.embeddings, forced.prompt - 1
    cache = DynamicCache()  # not the config's: a sliding layer would drop keys, and with them places
    if begin:
        model.model(inputs_embeds=embeddings[:, :begin], past_key_values=cache)
    twin = eager_twin(model.model, keep)
    states = twin(inputs_embeds=embeddings[:, begin:-1], past_key_values=cache).last_hidden_state
    weights = torch.stack(rows).float().mean(0)
    return forced.log_probabilities(model, states)[0], weights[:, forced.places]


def roll_out(model: VLM, forced: Forced) -> tuple[Tensor, Tensor]:
    """As `attend`, with the weights followed through all layers (Abnar and Zuidema, 2020, section 3).

    Each layer passes on half of what it attended to, averaged over heads, and half of what stood there (the residual
    connection); the layers multiply. It ends at the language model's input: the tower's own mixing is not in it.
    """
    flow = torch.eye(forced.ids.shape[1] - 1, device=forced.ids.device)

    def through(_: int, weights: Tensor) -> None:
        nonlocal flow
        flow = (weights[0].float().mean(0) @ flow + flow) / 2

    twin = eager_twin(model.model, through)
    states = twin(inputs_embeds=forced.embeddings[:, :-1], use_cache=False).last_hidden_state
    begin = forced.prompt - 1
    return forced.log_probabilities(model, states[:, begin:])[0], flow[begin:, forced.places]


def eager_twin(language: LLM, on_weights: Callable[[int, Tensor], None]) -> LLM:
    """A copy of the modules around the same weights, with attention computed eagerly.

    `on_weights` is given each layer's index and weights [batch, heads, seq, keys] as they come, layer by layer.
    """
    config = copy.deepcopy(language.config)
    config._attn_implementation = "eager"
    twin = _twin(language, config)
    for module in twin.modules():
        if isinstance(module, Attention):
            module.register_forward_hook(lambda block, _, output: on_weights(block.layer_idx, output[1]))
    return twin


def _twin(module: Any, config: Any) -> Any:
    twin = copy.copy(module)
    twin._modules = {name: child if child is None else _twin(child, config) for name, child in module._modules.items()}
    twin._forward_hooks = module._forward_hooks.copy()
    if isinstance(getattr(module, "config", None), type(config)):
        twin.config = config
    assert isinstance(twin, nn.Module)
    return twin
