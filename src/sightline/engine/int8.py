"""Linear layers and experts whose weights are eight-bit integers, with one scale for each output channel.

Weights alone are quantised: activations stay what they are. Which layers of a model become these, and how they are
saved, is `quantize.py`'s.
"""

from __future__ import annotations

import platform
from typing import NoReturn

import torch
from jaxtyping import Float, Int8, Int64
from torch import Tensor, nn
from torch.nn import functional as F

from sightline.nn.moe import Experts, one_at_a_time

__all__ = ["Int8Experts", "Int8Linear", "int8_product", "quantize_weight"]

FEW_ROWS = 8  # up to so many the kernel is faster than dequantising (benchmarks/int8.py)
DECODED_ROWS = 64  # up to so many tokens are taken for a step of decoding, whose products wait for memory anyway
BLOCK = 2**19  # weights dequantised at a time on a CPU: 2 MB of float32, which its cache still holds when it multiplies


def _vectorised_dtypes() -> frozenset[torch.dtype]:
    """What PyTorch's int8 kernel has vector code for; in other dtypes it is several times slower than float32."""
    if platform.machine() in ("aarch64", "arm64"):
        return frozenset({torch.float32, torch.bfloat16, torch.float16})
    return frozenset({torch.bfloat16}) if platform.machine() in ("x86_64", "AMD64") else frozenset()


KERNEL_DTYPES = _vectorised_dtypes()


def quantize_weight(
    weight: Float[Tensor, "*experts out in"],
) -> tuple[Int8[Tensor, "*experts out in"], Float[Tensor, "*experts out"]]:
    """The nearest integers in [-127, 127] and the scales that turn them back: weight ~ integers * scale.

    A scale is its channel's largest magnitude / 127, rounded up to a bfloat16: so it is the same number in every
    dtype that the model is later loaded in.
    """
    largest = weight.detach().abs().amax(-1).float()
    scale = _round_up_to_bfloat16(largest / 127).clamp(min=torch.finfo(torch.bfloat16).tiny)
    integers = (weight.detach().float() / scale[..., None]).round().to(torch.int8)
    return integers.contiguous(), scale.to(weight.dtype)


def _round_up_to_bfloat16(positive: Tensor) -> Tensor:
    # A bfloat16 is the upper half of a float32's bits, which for positive numbers are ordered as the numbers are.
    return ((positive.view(torch.int32) + 0xFFFF) & -0x10000).view(torch.float32)


def int8_product(
    x: Float[Tensor, "*batch in"],
    weight: Int8[Tensor, "out in"],
    scale: Float[Tensor, " out"],
    kernel_dtype: torch.dtype | None = None,
) -> Float[Tensor, "*batch out"]:
    """x @ (weight * scale)^T, in x's dtype.

    Few rows on a CPU go through PyTorch's int8 kernel where it has vector code for `kernel_dtype` (None: x's);
    everything else is multiplied with dequantised weights. Both give the same up to rounding.
    """
    dtype = kernel_dtype or x.dtype
    if not _fits_kernel(x, weight, dtype):
        return _dequantised_product(x, weight, scale)
    # A fresh copy, because the kernel's aligned loads crash on a view that starts in the middle of a vector.
    rows = x.reshape(-1, x.shape[-1]).to(dtype, copy=True, memory_format=torch.contiguous_format)
    return torch._weight_int8pack_mm(rows, weight, scale.to(dtype)).view(*x.shape[:-1], -1).to(x.dtype)


def _fits_kernel(x: Tensor, weight: Tensor, dtype: torch.dtype) -> bool:
    if x.device.type != "cpu" or dtype not in KERNEL_DTYPES or (x.requires_grad and torch.is_grad_enabled()):
        return False
    # Its loops read whole vectors of up to 16 and end behind the last row of any other width.
    return weight.shape[1] % 16 == 0 and 0 < x.numel() <= FEW_ROWS * x.shape[-1]


def _dequantised_product(x: Tensor, weight: Tensor, scale: Tensor) -> Tensor:
    if x.dtype == torch.float16:  # whose range unscaled products can leave
        return F.linear(x, weight.to(x.dtype) * scale[:, None])
    channels = max(1, BLOCK // weight.shape[1])
    if x.device.type != "cpu" or weight.shape[0] <= channels:
        return F.linear(x, weight.to(x.dtype)) * scale
    return torch.cat([F.linear(x, block.to(x.dtype)) for block in weight.split(channels)], dim=-1) * scale


class Int8Linear(nn.Module):
    """`nn.Linear` with int8 weights `[out, in]` and `weight_scale [out]`. It does not train."""

    bias: nn.Parameter | None

    def __init__(
        self,
        weight: Int8[Tensor, "out in"],
        scale: Float[Tensor, " out"],
        bias: Float[Tensor, " out"] | None = None,
        kernel_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self.weight = _constant(weight)
        self.weight_scale = _constant(scale)
        self.register_parameter("bias", None if bias is None else _constant(bias))
        self.kernel_dtype = kernel_dtype

    def forward(self, x: Float[Tensor, "*batch in"]) -> Float[Tensor, "*batch out"]:
        out = int8_product(x, self.weight, self.weight_scale, self.kernel_dtype)
        return out if self.bias is None else out + self.bias

    def train(self, mode: bool = True) -> Int8Linear:
        """Raises ValueError for `mode=True`."""
        return _refuse_training() if mode else super().train(False)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Experts(nn.Module):
    """`Experts` with int8 weights, stacked the same way, and a scale for each expert's output channels."""

    def __init__(
        self,
        gate_up: tuple[Int8[Tensor, "experts inner2 hidden"], Float[Tensor, "experts inner2"]],
        down: tuple[Int8[Tensor, "experts hidden inner"], Float[Tensor, "experts hidden"]],
        act_fn: nn.Module,
        kernel_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        self.gate_up_proj, self.gate_up_proj_scale = map(_constant, gate_up)
        self.down_proj, self.down_proj_scale = map(_constant, down)
        self.act_fn = act_fn
        self.kernel_dtype = kernel_dtype

    def forward(
        self,
        hidden_states: Float[Tensor, "tokens hidden"],
        experts: Int64[Tensor, "tokens top_k"],
        weights: Float[Tensor, "tokens top_k"],
    ) -> Float[Tensor, "tokens hidden"]:
        """As `Experts.forward`. What is compiled, and a step of decoding on a GPU, never waits to learn the choice."""
        on_gpu = hidden_states.device.type != "cpu"
        if not torch.compiler.is_compiling() and not (on_gpu and len(experts) <= DECODED_ROWS):
            return one_at_a_time(hidden_states, experts, weights, self._run)
        run = self._run_chosen if experts.numel() < len(self.gate_up_proj) else self._run_all
        return run(hidden_states, experts, weights.to(hidden_states.dtype))

    def _run_chosen(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """With each token's own copy of its experts: reads the least where tokens are few."""
        gate_up = self.gate_up_proj[experts].to(x.dtype) * self.gate_up_proj_scale[experts, :, None]
        down = self.down_proj[experts].to(x.dtype) * self.down_proj_scale[experts, :, None]
        gate, up = torch.einsum("th,tkih->tki", x, gate_up).chunk(2, dim=-1)
        return torch.einsum("tki,tkhi,tk->th", self.act_fn(gate) * up, down, weights)

    def _run_all(self, x: Tensor, experts: Tensor, weights: Tensor) -> Tensor:
        """With every expert for every token, most of them weighed zero: each is read once, and nothing is copied."""
        shares = weights.new_zeros(len(x), len(self.gate_up_proj)).scatter_add(1, experts, weights)
        outs = (self._run(expert, x) * share[:, None] for expert, share in enumerate(shares.unbind(1)))
        return sum(outs, torch.zeros_like(x))

    def _run(self, expert: int, x: Tensor) -> Tensor:
        gate_up = int8_product(x, self.gate_up_proj[expert], self.gate_up_proj_scale[expert], self.kernel_dtype)
        gate, up = gate_up.chunk(2, dim=-1)
        return int8_product(
            self.act_fn(gate) * up, self.down_proj[expert], self.down_proj_scale[expert], self.kernel_dtype
        )

    def train(self, mode: bool = True) -> Int8Experts:
        """Raises ValueError for `mode=True`."""
        return _refuse_training() if mode else super().train(False)


def to_int8(module: nn.Linear | Experts, kernel_dtype: torch.dtype | None = None) -> Int8Linear | Int8Experts:
    """The int8 twin of `module`."""
    if isinstance(module, nn.Linear):
        return Int8Linear(*quantize_weight(module.weight), module.bias, kernel_dtype)
    gate_up, down = quantize_weight(module.gate_up_proj), quantize_weight(module.down_proj)
    return Int8Experts(gate_up, down, module.act_fn, kernel_dtype)


def _constant(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


def _refuse_training() -> NoReturn:
    raise ValueError("an int8 model does not train: train the model that it was quantised from, then quantise again")
