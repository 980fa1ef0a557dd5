"""The language model's weights as inference reads them: query, key and value as one matrix, gate and up as another.

The model's own parameters become views of the fused matrices. So nothing is held twice, `state_dict` and saving are
as before, and what training changes in place is seen here. Nothing is computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sightline.nn.attention import RMSNorm
from sightline.nn.feed_forward import FeedForward

__all__ = ["FusedWeights", "LayerWeights", "is_plain"]


@dataclass(frozen=True)
class LayerWeights:
    """One block's. What is None is not fused: the module in `block` is called instead.

    `out` and `down` are transposed, `[in, out]`, for they are added to the residual stream by one `addmm`.
    """

    block: Any
    input_norm: Tensor
    post_norm: Tensor
    q_norm: Tensor | None
    k_norm: Tensor | None
    qkv: Tensor | None
    qkv_bias: Tensor | None
    out: Tensor | None
    out_bias: Tensor | None
    gate_up: Tensor | None
    down: Tensor | None


def is_plain(module: Any) -> bool:
    """Whether `module` is x W^T + b and nothing else: no adapter, no quantised or sharded weight, no hook."""
    return (
        type(module) is nn.Linear
        and type(module.weight.data) is Tensor
        and module.weight.is_floating_point()
        and not _is_changed(module)
    )


def _is_changed(module: Any) -> bool:
    """Whether calling it does more than its class says: it has hooks, or another `forward`, as accelerate gives it."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _weight_of(parent: Any, name: str, kind: type[nn.Module]) -> Tensor:
    """The weight of a module that is read instead of called."""
    module = getattr(parent, name)
    if type(module) is not kind or _is_changed(module):
        raise ValueError(
            f"the engine reads {name} as {kind.__name__}, but it is a {type(module).__name__}, or has a hook: "
            "merge its adapter (merge_and_unload), or use the model's generate"
        )
    weight: Any = module.weight
    return weight.detach()


class FusedWeights:
    """The weights of `model` (a `CausalLM` or `VLM`), fused at once; `refresh` again where they were replaced.

    A block's projections are fused where all of them are plain linear layers of one dtype and device; adapters and
    quantised layers are left alone. Experts are stacked already. `head` is None where `lm_head` is not plain.

    Raises:
        ValueError: the weights lie on several devices, or on none; or embeddings or a norm have an adapter or a hook.
    """

    layers: list[LayerWeights]
    embedding: Tensor
    norm: Tensor
    head: Tensor | None

    def __init__(self, model: Any):
        self.model = model
        self._fused_times = 0
        self._seen: list[tuple[Any, str, Any, tuple[int, ...]]] = []
        self.refresh()

    @property
    def version(self) -> tuple[int, int]:
        """Another one after any change of the model's weights, tower and projector included, that can be seen: by
        PyTorch's own counters, and by where weights lie.

        What was computed before, such as a picture's features or a prefix's keys and values, is stale then.
        """
        counted: list[Any] = []
        for module in self.model.modules():
            weights = (*module._parameters.values(), *module._buffers.values())
            counted += [
                (one.data_ptr(), 0 if one.is_inference() else one._version) for one in weights if one is not None
            ]
            if "base_layer" in module._modules:  # PEFT's: switching adapters moves no weight
                counted.append((tuple(module.active_adapters), module.disable_adapters))
        return self._fused_times, hash(tuple(counted))

    def tensors(self) -> list[Tensor]:
        """All that is held here, for what asks where they lie."""
        own = [self.embedding, self.norm, *([] if self.head is None else [self.head])]
        fields = (value for layer in self.layers for value in vars(layer).values())
        return own + [value for value in fields if isinstance(value, Tensor)]

    def refresh(self) -> bool:
        """Fuse again if any weight was moved, cast or replaced since; whether that was so."""
        if self._seen and all(_is_same(*seen) for seen in self._seen):
            return False
        decoder = self.model.model
        _check_place(self.model)
        # Not under inference_mode: its tensors could never be trained again.
        with torch.inference_mode(False), torch.no_grad():
            self.layers = [_fuse_block(block) for block in decoder.layers]
            self.embedding = _weight_of(decoder, "embed_tokens", nn.Embedding)
            self.norm = _weight_of(decoder, "norm", RMSNorm)
        head = self.model.lm_head
        self.head = head.weight.detach() if is_plain(head) and head.bias is None else None
        self._fused_times += 1
        self._seen = [_see(parent, name) for parent, name in _used(self.model)]
        return True


def _check_place(model: Any) -> None:
    places = {str(weight.device) for weight in model.parameters()}
    if len(places) > 1 or "meta" in places:
        raise ValueError(
            f"the engine needs a model that lies on one device as a whole, not on {', '.join(sorted(places))}: "
            "load it without device_map"
        )


def _fuse_block(block: Any) -> LayerWeights:
    attention, mlp = block.self_attn, block.mlp
    projections = [attention.q_proj, attention.k_proj, attention.v_proj]
    qkv, bias = _fuse(projections)
    gate_up, down = None, None
    if type(mlp) is FeedForward:
        gate_up, _ = _fuse([mlp.gate_proj, mlp.up_proj])
        down = _transposed(mlp.down_proj)
    out = _transposed(attention.o_proj)
    normed = hasattr(attention, "q_norm")
    return LayerWeights(
        block=block,
        input_norm=_weight_of(block, "input_layernorm", RMSNorm),
        post_norm=_weight_of(block, "post_attention_layernorm", RMSNorm),
        q_norm=_weight_of(attention, "q_norm", RMSNorm) if normed else None,
        k_norm=_weight_of(attention, "k_norm", RMSNorm) if normed else None,
        qkv=qkv,
        qkv_bias=bias,
        out=out,
        out_bias=attention.o_proj.bias.detach() if out is not None and attention.o_proj.bias is not None else None,
        gate_up=gate_up,
        down=down,
    )


def _fuse(modules: list[Any]) -> tuple[Tensor | None, Tensor | None]:
    """One weight and one bias for all `modules`, of which theirs are views from now on; None where that cannot be."""
    if not all(map(is_plain, modules)):
        return None, None
    weights, biases = [module.weight for module in modules], [module.bias for module in modules]
    if len({(weight.dtype, weight.device) for weight in weights}) > 1 or len({bias is None for bias in biases}) > 1:
        return None, None
    return _join(weights), None if biases[0] is None else _join(biases)


def _join(parameters: list[nn.Parameter]) -> Tensor:
    if (joined := _side_by_side(parameters)) is not None:
        return joined
    fused = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, fused.split([len(parameter) for parameter in parameters]), strict=True):
        parameter.data = part
    return fused


def _side_by_side(parameters: list[nn.Parameter]) -> Tensor | None:
    """What they are views of already, where another engine has fused them."""
    first = parameters[0].data
    place, storage = first.data_ptr(), first.untyped_storage().data_ptr()
    for parameter in parameters:
        data = parameter.data
        if not data.is_contiguous() or data.data_ptr() != place or data.untyped_storage().data_ptr() != storage:
            return None
        place += data.nbytes
    return first.as_strided((sum(map(len, parameters)), *first.shape[1:]), first.stride())


def _transposed(module: Any) -> Tensor | None:
    return module.weight.detach().t() if is_plain(module) else None


def _used(model: Any) -> list[tuple[Any, str]]:
    """The modules whose weights stand in `FusedWeights`, as (parent, name)."""
    decoder = model.model
    used = [(decoder, "embed_tokens"), (decoder, "norm"), (model, "lm_head")]
    for block in decoder.layers:
        used += [(block.self_attn, name) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
        used += [(block, name) for name in ("input_layernorm", "post_attention_layernorm", "mlp")]
        if hasattr(block.self_attn, "q_norm"):
            used += [(block.self_attn, name) for name in ("q_norm", "k_norm")]
        if type(block.mlp) is FeedForward:
            used += [(block.mlp, name) for name in ("gate_proj", "up_proj", "down_proj")]
    return used


def _see(parent: Any, name: str) -> tuple[Any, str, Any, tuple[int, ...]]:
    module = getattr(parent, name)
    return parent, name, module, _addresses(module)


def _is_same(parent: Any, name: str, module: Any, addresses: tuple[int, ...]) -> bool:
    return getattr(parent, name) is module and _addresses(module) == addresses


def _addresses(module: Any) -> tuple[int, ...]:
    """Where weight and bias lie. The old ones are still held, so nothing else can have come to lie there since."""
    parts = (getattr(module, name, None) for name in ("weight", "bias"))
    return tuple(part.data_ptr() if type(part) is nn.Parameter else 0 for part in parts)
