"""A dense model as a mixture of experts that starts where the dense one stands (Komatsuzaki et al., 2023).

Each expert is a copy of the dense feed-forward, blurred a little so that they can become different; the router
is fresh. Nothing is trained here, and nothing but the feed-forwards changes.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor

from sightline.config import VLMConfig
from sightline.interop.language import rebuilt
from sightline.nn.vlm import VLM

__all__ = ["upcycle", "upcycled"]


def upcycle(
    model: VLM, n_routed_experts: int = 4, num_experts_per_token: int = 2, noise: float = 0.01, seed: int = 0
) -> VLM:
    """A copy of `model` with `n_routed_experts` experts in the place of every feed-forward.

    The chosen experts' weights add up to one, so that without noise the outputs are the dense model's, whatever
    the router chooses.

    Args:
        noise: standard deviation of what is added to each expert's matrices, relative to the matrix's own.

    Raises:
        ValueError: the model has experts already, the noise is negative, or as `VLMConfig`.
    """
    if model.config.use_moe:
        raise ValueError(f"the model already has {model.config.n_routed_experts} experts: upcycle a dense one")
    if noise < 0:
        raise ValueError(f"noise is a standard deviation, not {noise}")
    config = upcycled(model.config, n_routed_experts, num_experts_per_token)
    generator = torch.Generator().manual_seed(seed)
    return rebuilt(model, config, _weights(model, config, noise, generator))


def upcycled(dense: VLMConfig, experts: int, chosen: int) -> VLMConfig:
    """The config of a dense model with `experts` in the place of every feed-forward, `chosen` of which a token has.

    Raises:
        ValueError: as `VLMConfig`.
    """
    config = deepcopy(dense)
    settings: dict[str, Any] = {
        "use_moe": True,
        "n_routed_experts": experts,
        "num_experts_per_token": chosen,
        "n_shared_experts": 0,
        "moe_intermediate_size": dense.intermediate_size,
        # Weights that add up to one, and every layer sparse.
        "norm_topk_prob": True,
        "routed_scaling_factor": 1.0,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 0,
        "decoder_sparse_step": 1,
        "mlp_only_layers": None,
    }
    for name, value in settings.items():
        setattr(config, name, value)
    config.check()
    return config


def _weights(model: VLM, config: VLMConfig, noise: float, generator: torch.Generator) -> dict[str, Tensor]:
    dense = model.state_dict()
    weights = {name: weight for name, weight in dense.items() if not _is_feed_forward(name)}
    for layer in range(config.num_hidden_layers):
        mlp = f"model.layers.{layer}.mlp"
        stacked = {
            projection: _copies(dense[f"{mlp}.{projection}.weight"], config.n_routed_experts, noise, generator)
            for projection in ("gate_proj", "up_proj", "down_proj")
        }
        router = torch.empty(config.n_routed_experts, config.hidden_size)
        weights[f"{mlp}.gate.weight"] = router.normal_(std=config.initializer_range, generator=generator)
        weights[f"{mlp}.experts.gate_up_proj"] = torch.cat([stacked["gate_proj"], stacked["up_proj"]], dim=1)
        weights[f"{mlp}.experts.down_proj"] = stacked["down_proj"]
        if config.use_router_bias:
            weights[f"{mlp}.gate.e_score_correction_bias"] = torch.zeros(config.n_routed_experts)
    return weights


def _is_feed_forward(name: str) -> bool:
    return name.startswith("model.layers.") and ".mlp." in name


def _copies(matrix: Tensor, count: int, noise: float, generator: torch.Generator) -> Tensor:
    """`[out, in]` as `[count, out, in]`, each with noise of its own."""
    drawn = torch.randn(count, *matrix.shape, generator=generator).to(matrix)
    return matrix + noise * matrix.std() * drawn
