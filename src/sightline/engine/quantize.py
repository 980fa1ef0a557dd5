"""Int8 weights for the language blocks of a model, and their checkpoints by transformers' own loader and saver.

The blocks' linear layers and experts, and the head where it is not the embedding, become int8 in place; embeddings,
norms, routers, tower and projector stay. The arithmetic is `int8.py`'s. On a GPU, torchao's layers take their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from transformers.conversion_mapping import get_model_conversion_mapping
from transformers.quantizers import HfQuantizer
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from sightline.engine.int8 import Int8Experts, Int8Linear, to_int8
from sightline.nn.language import CausalLM
from sightline.nn.moe import Experts

__all__ = ["Int8Config", "quantize"]

_METHOD = "sightline_int8"  # in config.json
_KERNEL_DTYPES = {None: None, "float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}

Model = TypeVar("Model", bound=CausalLM)


def quantize(model: Model, backend: str = "native", kernel_dtype: str | None = None) -> Model:
    """Make the language blocks' weights int8, in place; `save_pretrained` then saves them so.

    It takes a quarter of the memory of float32. Time it saves from widths of about 1000 on; narrower layers get slower.

    Args:
        backend: `native`: our layers, made for a CPU (elsewhere they save memory, not time). `torchao`: torchao's, for
            a GPU.
        kernel_dtype: in what `native` multiplies few rows on a CPU; None is the model's own dtype. Few and many rows
            are multiplied in two ways, which round differently, so that an answer depends on what else is in the
            batch, but for float32 on x86. `bfloat16` makes a float32 model decode faster there, and rounds those rows
            to 8 bits as a bfloat16 model does.

    Returns:
        The same model, in eval mode.

    Raises:
        ImportError: torchao is asked for and not installed.
        ValueError: the model is quantised already, has adapters, or holds weights that are no finite numbers; there is
            no such backend or dtype; torchao is asked for on a CPU or for a mixture of experts.
    """
    if is_quantized(model):
        raise ValueError("the model is quantised already")
    if backend not in ("native", "torchao"):
        raise ValueError(f"there is no backend {backend!r}: give native or torchao")
    if backend == "torchao" and kernel_dtype is not None:
        raise ValueError("kernel_dtype is for backend='native': torchao multiplies in the model's own dtype")
    _check(model)
    if backend == "torchao":
        _quantize_with_torchao(model)
    else:
        Int8Quantizer(Int8Config(kernel_dtype), pre_quantized=False).apply(model)
    return cast(Model, model.eval())


def is_quantized(model: nn.Module) -> bool:
    """Whether `quantize`, or a quantised checkpoint, made `model`."""
    return getattr(model, "hf_quantizer", None) is not None


@register_quantization_config(_METHOD)
class Int8Config(QuantizationConfigMixin):
    """What config.json says of an int8 checkpoint; also `from_pretrained(..., quantization_config=Int8Config())`."""

    def __init__(self, kernel_dtype: str | None = None, quant_method: str = _METHOD):
        if kernel_dtype not in _KERNEL_DTYPES:
            raise ValueError(f"kernel_dtype must be float32, bfloat16 or float16, but is {kernel_dtype!r}")
        self.quant_method = quant_method  # type: ignore[assignment]
        self.kernel_dtype = kernel_dtype


@register_quantizer(_METHOD)
class Int8Quantizer(HfQuantizer):
    """transformers' hooks: build int8 layers before a checkpoint's weights come, or make them of what came."""

    quantization_config: Int8Config
    # On disk a scale stands beside its weight, an expert's beside the expert's.
    serialized_names = {"weight": ["weight", "weight_scale"]}

    def apply(self, model: Any) -> None:
        """Quantise a model that stands in memory."""
        model.hf_quantizer = self
        self.postprocess_model(model)

    def get_new_dtype(self, converter: Any, param: Any, dtype: torch.dtype | None) -> torch.dtype | None:
        """As the base class; floating-point numbers where int8 ones belong would silently become zeros."""
        new = super().get_new_dtype(converter, param, dtype)
        if new == torch.int8:
            raise ValueError("config.json says int8, but the checkpoint holds floating-point weights for an int8 layer")
        return new

    def _process_model_before_weight_loading(self, model: Any, **kwargs: Any) -> None:
        if self.pre_quantized:
            for name, module in list(_targets(model)):
                model.set_submodule(name, _empty_int8(module, self._kernel_dtype))

    def _process_model_after_weight_loading(self, model: Any, **kwargs: Any) -> None:
        if self.pre_quantized:
            _settle(model)
            return
        for name, module in list(_targets(model)):
            model.set_submodule(name, to_int8(module, self._kernel_dtype))
        # How stacked experts part into single ones on disk, now with their scales.
        model._weight_conversions = get_model_conversion_mapping(model, hf_quantizer=self, add_legacy=False)

    @property
    def _kernel_dtype(self) -> torch.dtype | None:
        return _KERNEL_DTYPES[self.quantization_config.kernel_dtype]

    def is_serializable(self) -> bool:
        return True

    @property
    def is_trainable(self) -> bool:
        return False

    @property
    def is_compileable(self) -> bool:
        return True


def _targets(model: CausalLM) -> Iterator[tuple[str, nn.Linear | Experts]]:
    for name, module in model.model.layers.named_modules(prefix="model.layers"):
        if isinstance(module, nn.Linear | Experts):
            yield name, module
    if not model.config.tie_word_embeddings:
        yield "lm_head", model.lm_head


def _check(model: CausalLM) -> None:
    if any(hasattr(module, "base_layer") for module in model.modules()):
        raise ValueError("the model has LoRA adapters: merge them first, then quantise")
    for name, module in _targets(model):
        if not all(parameter.isfinite().all() for parameter in module.parameters()):
            raise ValueError(f"{name} holds weights that are no finite numbers: they have no int8 form")


def _empty_int8(module: nn.Linear | Experts, kernel_dtype: torch.dtype | None) -> Int8Linear | Int8Experts:
    """The int8 twin with nothing in it yet."""
    if isinstance(module, nn.Linear):
        return Int8Linear(*_empty_pair(module.weight), module.bias, kernel_dtype)
    gate_up, down = _empty_pair(module.gate_up_proj), _empty_pair(module.down_proj)
    return Int8Experts(gate_up, down, module.act_fn, kernel_dtype)


def _empty_pair(weight: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(weight, dtype=torch.int8), torch.empty_like(weight[..., 0])


def _settle(model: CausalLM) -> None:
    """After loading: every integer and scale must have come, and integers must stand where vectors can start.

    Raises:
        ValueError: the checkpoint lacks one.
    """
    for name, module in model.named_modules():
        if not isinstance(module, Int8Linear | Int8Experts):
            continue
        for kind, parameter in module.named_parameters():
            if not getattr(parameter, "_is_hf_initialized", False):
                raise ValueError(f"the checkpoint is int8, but lacks {name}.{kind}: it was not saved whole")
            if parameter.data_ptr() % 64:  # a safetensors file is mapped as it is, and packed without gaps
                parameter.data = parameter.data.clone()
            parameter.requires_grad_(False)


def _quantize_with_torchao(model: CausalLM) -> None:
    if model.device.type == "cpu":
        raise ValueError("backend='torchao' is for a GPU, but the model is on the CPU: move it first, or take 'native'")
    if any(isinstance(module, Experts) for module in model.modules()):
        raise ValueError("backend='torchao' has no int8 form for stacked experts: take backend='native'")
    try:
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
    except ImportError:
        raise ImportError("torchao is not installed: pip install 'sightline[gpu]'") from None
    from transformers import TorchAoConfig
    from transformers.quantizers.quantizer_torchao import TorchAoHfQuantizer

    chosen = {name for name, _ in _targets(model)}
    others = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and name not in chosen]
    quantize_(model, Int8WeightOnlyConfig(), filter_fn=lambda module, name: name in chosen)
    config = TorchAoConfig(Int8WeightOnlyConfig(), modules_to_not_convert=others)
    quantizer = TorchAoHfQuantizer(config, pre_quantized=False)
    model.hf_quantizer = quantizer  # type: ignore[assignment]
    quantizer.postprocess_model(model)
