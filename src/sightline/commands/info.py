"""`sightline info`: what a model is made of, and what this machine offers it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from sightline.commands.options import Device, Dtype, Quantize
from sightline.commands.printing import print_json

EXAMPLE = "Example: sightline info sightline-tiny"


def info(
    model: Annotated[str, typer.Argument(help="sightline-tiny, a folder or a hub id.")] = "sightline-tiny",
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show a model's parts, sizes and memory."""
    from sightline.interop.load import load

    loaded, processor = load(model, device, dtype, quantize)
    facts = _facts(model, loaded, processor)
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{part} {count:,}" for part, count in value.items())
        print(f"{name.replace('_', ' '):<24} {value}")


# The parts of a `VLM`, by the prefix of their weights' names; what is left is the language model.
_PARTS = {"vision tower": "vision_encoder.", "projector": "vision_proj."}


def count_parameters(model: Any) -> dict[str, int]:
    """Parameters by part; tied weights count once."""
    counts = dict.fromkeys([*_PARTS, "language model"], 0)
    for name, parameter in model.named_parameters():
        part = next((part for part, prefix in _PARTS.items() if name.startswith(prefix)), "language model")
        counts[part] += parameter.numel()
    return counts


def _facts(name: str, model: Any, processor: Any) -> dict[str, Any]:
    import torch

    from sightline.engine.compiling import compiler_status

    config = model.config
    weights = sum(weight.numel() * weight.element_size() for weight in model.parameters())  # tied ones once
    per_token = 2 * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * model.dtype.itemsize
    parts = count_parameters(model)
    return {
        "model": name,
        "parameters": {"total": sum(parts.values()), **parts},
        "language_model": f"{config.num_hidden_layers} layers, hidden size {config.hidden_size}, "
        f"{config.num_attention_heads} query and {config.num_key_value_heads} key/value heads"
        + (f", {config.n_routed_experts} experts of which {config.num_experts_per_token} a token" * config.use_moe),
        "vision_tower": f"{config.vision_config.num_hidden_layers} layers, hidden size {config.ve_hidden_size}, "
        f"{config.vision_config.image_size} pixels, patches of {config.vision_config.patch_size}",
        "image_tokens": config.num_image_tokens,
        "context": config.max_position_embeddings,
        "vocabulary": len(processor.tokenizer),
        "weights_mb": round(weights / 1e6, 1),
        "kv_cache_kb_per_token": round(per_token / 1e3, 2),
        "device": str(model.device),
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
        "attention": config._attn_implementation,
        "compiler": compiler_status(model.device),
    }
