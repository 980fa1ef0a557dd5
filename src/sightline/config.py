"""The numbers that define a model: `LLMConfig` (language) and `VLMConfig` (language + vision).

Both are Hugging Face configs, so they save to and load from `config.json`. They differ from most in two
ways: a field that does not exist is an error that names the nearest one, and values that contradict each
other are an error that names both. This file knows no tensors and builds no modules.
"""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable, Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from transformers.configuration_utils import PreTrainedConfig

from sightline.checks import require_at_most, require_multiple, require_positive
from sightline.tower_config import sub_config, tower_config

__all__ = ["PRESETS", "LLMConfig", "VLLMconfig", "VLMConfig", "llmconfig"]

# What `PreTrainedConfig` itself takes beside the declared fields.
_BASE_KEYWORDS = frozenset(
    {
        *("attn_implementation", "experts_implementation", "output_attentions", "name_or_path", "_name_or_path"),
        *("_commit_hash", "torch_dtype", "num_labels", "per_layer_config", "quantization_config", "auto_map"),
        *("rope_theta", "rope_scaling", "partial_rotary_factor", "model_type"),
    }
)


class LLMConfig(PreTrainedConfig):
    """Configuration of the decoder-only language model.

    `num_key_value_heads` below `num_attention_heads` is grouped-query attention (Ainslie et al., 2023).
    `use_moe` replaces the feed-forward of the sparse layers (see `is_sparse`) by a mixture of
    `n_routed_experts`, of which each token uses `num_experts_per_token`, plus `n_shared_experts` that every
    token uses. `rope_parameters` (or `rope_theta` with `rope_scaling`) follows transformers' rope utilities:
    `{"rope_type": "default" | "linear" | "dynamic" | "yarn" | "llama3", ...}`.

    Raises:
        ValueError: a field is unknown (the nearest name is given), or two values contradict each other.
    """

    model_type = "sightline_llm"
    keys_to_ignore_at_inference = ["past_key_values", "router", "aux_loss", "z_loss"]
    attribute_map: ClassVar[dict[str, str]] = {
        "num_experts_per_tok": "num_experts_per_token",
        "num_experts": "n_routed_experts",
        "num_local_experts": "n_routed_experts",
        "router_aux_loss_coef": "aux_loss_alpha",
        "attention_dropout": "dropout",
        "num_layers": "num_hidden_layers",
    }

    if TYPE_CHECKING:  # None asks for the value that `_fill_in_sizes` derives, so no one who reads meets it
        intermediate_size: int = 0
        num_key_value_heads: int = 0
        head_dim: int = 0
        moe_intermediate_size: int = 0
        rope_parameters: dict[str, Any] = {}
    else:
        intermediate_size: int | None = None  # 8/3 x hidden_size, rounded up to a multiple of 64
        num_key_value_heads: int | None = None  # num_attention_heads
        head_dim: int | None = None  # hidden_size / num_attention_heads
        moe_intermediate_size: int | None = None  # intermediate_size
        rope_parameters: dict | None = None  # rope_type "default", rope_theta 10000

    vocab_size: int = 32000
    hidden_size: int = 512
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    max_position_embeddings: int = 2048
    hidden_act: str = "silu"
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    sliding_window: int | None = None
    attention_bias: bool = False  # on the query, key and value projections (Qwen2)
    attention_output_bias: bool = False
    qk_norm: bool = False  # RMSNorm on each head's queries and keys (Qwen3)
    dropout: float = 0.0
    tie_word_embeddings: bool = True
    use_cache: bool = True
    flash_attn: bool = True  # SDPA's fused kernels; False: the eager formula, unless attn_implementation is given
    logits_to_keep: int = 0  # 0: logits of every position
    pad_token_id: int | None = None
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None

    use_moe: bool = False
    n_routed_experts: int = 8
    num_experts_per_token: int = 2
    n_shared_experts: int = 0
    scoring_func: Literal["softmax", "sigmoid"] = "softmax"
    softmax_after_topk: bool = False  # softmax over the chosen logits only
    use_router_bias: bool = False  # a bias that steers selection alone (DeepSeek-V3, 2.1.2)
    router_bias_update_rate: float = 1e-3
    n_group: int = 1
    topk_group: int = 1
    norm_topk_prob: bool = True
    routed_scaling_factor: float = 1.0
    aux_loss_alpha: float = 0.001
    seq_aux: bool = False  # True: the balance loss of each sequence (DeepSeek); False: of the batch (Switch)
    router_z_loss_alpha: float = 0.0
    first_k_dense_replace: int = 0
    decoder_sparse_step: int = 1
    mlp_only_layers: list[int] | None = None
    output_router_logits: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        declared = {field.name: field.default for field in fields(self)}
        for name in self.attribute_map.keys() & kwargs.keys():
            self._take(name, self.attribute_map[name], kwargs.pop(name), declared)
        self._reject_unknown(kwargs, declared)
        kwargs.pop("model_type", None)
        self.rope_parameters = dict(self.rope_parameters or {})
        if kwargs.get("rope_scaling"):
            kwargs["rope_scaling"] = dict(kwargs["rope_scaling"])
        if not self.flash_attn and kwargs.get("attn_implementation") is None:
            kwargs["attn_implementation"] = "eager"
        self._fill_in_sizes()
        self.check()
        super().__post_init__(**kwargs)

    @property
    def rope_theta(self) -> float:
        """Base of the rotary frequencies (RoFormer, section 3.2.2), kept in `rope_parameters`."""
        return (self.rope_parameters or {}).get("rope_theta", self.default_theta)

    @rope_theta.setter
    def rope_theta(self, value: float) -> None:
        self.rope_parameters = {**(self.rope_parameters or {}), "rope_theta": value}

    def is_sparse(self, layer: int) -> bool:
        """Whether block `layer` (from 0) holds a mixture of experts instead of one feed-forward."""
        return (
            self.use_moe
            and layer >= self.first_k_dense_replace
            and layer not in (self.mlp_only_layers or [])
            and (layer + 1) % self.decoder_sparse_step == 0
        )

    def _take(self, other_name: str, name: str, value: Any, defaults: dict[str, Any]) -> None:
        """Set a field given by its other name, unless it was also given another value by its own."""
        if getattr(self, name) not in (defaults[name], value):
            raise ValueError(f"{other_name}={value} contradicts {name}={getattr(self, name)}: they are one field")
        setattr(self, name, value)

    def _reject_unknown(self, given: dict[str, Any], declared: Collection[str]) -> None:
        known = {*declared, *self.attribute_map, *_BASE_KEYWORDS}
        for name in given:
            if name in known:
                continue
            nearest = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else ""
            raise ValueError(f"{type(self).__name__} has no field {name!r}{hint}")

    def _fill_in_sizes(self) -> None:
        require_positive(self, "vocab_size hidden_size num_hidden_layers num_attention_heads")
        require_positive(self, "max_position_embeddings")
        if self.head_dim is None:
            require_multiple(self, "hidden_size", "num_attention_heads")
            self.head_dim = self.hidden_size // self.num_attention_heads
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.intermediate_size is None:
            self.intermediate_size = 64 * math.ceil(self.hidden_size * 8 / 3 / 64)
        if self.moe_intermediate_size is None:
            self.moe_intermediate_size = self.intermediate_size

    def check(self) -> None:
        """Raise a ValueError that names the two values that contradict each other, if any do."""
        require_positive(self, "head_dim num_key_value_heads intermediate_size moe_intermediate_size")
        require_multiple(self, "num_attention_heads", "num_key_value_heads")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even for rotary embeddings, but is {self.head_dim}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), but is {self.dropout}")
        if self.sliding_window is not None:
            require_positive(self, "sliding_window")
        if self.logits_to_keep < 0:
            raise ValueError(f"logits_to_keep must be 0 or positive, but is {self.logits_to_keep}")
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"pad_token_id={self.pad_token_id} is outside vocab_size={self.vocab_size}")
        for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
            for token in _as_list(getattr(self, name)):
                if not 0 <= token < self.vocab_size:
                    raise ValueError(f"{name}={token} is outside vocab_size={self.vocab_size}")
        if self.use_moe:
            self._check_experts()

    def _check_experts(self) -> None:
        require_positive(self, "n_routed_experts num_experts_per_token n_group topk_group decoder_sparse_step")
        require_at_most(self, "num_experts_per_token", "n_routed_experts")
        require_at_most(self, "topk_group", "n_group")
        require_multiple(self, "n_routed_experts", "n_group")
        reachable = self.n_routed_experts // self.n_group * self.topk_group
        if self.num_experts_per_token > reachable:
            raise ValueError(
                f"num_experts_per_token={self.num_experts_per_token} is more than the {reachable} experts that "
                f"topk_group={self.topk_group} of n_group={self.n_group} groups hold"
            )
        if not any(map(self.is_sparse, range(self.num_hidden_layers))):
            raise ValueError(
                f"use_moe=True, but none of the {self.num_hidden_layers} layers is sparse: first_k_dense_replace="
                f"{self.first_k_dense_replace}, decoder_sparse_step={self.decoder_sparse_step}, "
                f"mlp_only_layers={self.mlp_only_layers}"
            )
        if self.scoring_func not in ("softmax", "sigmoid"):
            raise ValueError(f"scoring_func must be 'softmax' or 'sigmoid', but is {self.scoring_func!r}")
        if self.scoring_func == "sigmoid" and self.softmax_after_topk:
            raise ValueError("softmax_after_topk=True contradicts scoring_func='sigmoid'")


def _accept_positional(*names: str) -> Callable[[type], type]:
    """Let a keyword-only config class also take its first `names` by position, as SPEC section 6 writes it."""

    def decorate(cls: type) -> type:
        keyword_init = cls.__init__  # type: ignore[misc]

        @functools.wraps(keyword_init)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            if len(args) > len(names):
                raise TypeError(f"{cls.__name__} takes at most {len(names)} positional arguments: {', '.join(names)}")
            for name, value in zip(names, args, strict=False):
                if name in kwargs:
                    raise TypeError(f"{cls.__name__} got {name!r} twice")
                kwargs[name] = value
            keyword_init(self, **kwargs)

        cls.__init__ = init  # type: ignore[misc]
        return cls

    return decorate


@_accept_positional("image_special_token", "image_ids")
class VLMConfig(LLMConfig):
    """Configuration of the vision-language model: `LLMConfig` plus a tower, a projector and a placeholder.

    `VLMConfig(image_special_token, image_ids, **fields)`: the placeholder as text and as ids, one character
    and one id for each of the image's `num_image_tokens`. Both default to what the tower's geometry asks for.
    The tower's geometry comes from `vision_config` (a CLIP or SigLIP vision config, or its dict); without one
    it is CLIP ViT-B/16 with width `ve_hidden_size`. `pixel_shuffle_factor` f folds f x f neighbouring patches
    into one token (Shi et al., 2016), f squared fewer tokens of f squared the width.

    Raises:
        ValueError: as `LLMConfig`; also where placeholder, tower and vocabulary do not fit together.
    """

    model_type = "sightline_vlm"

    if TYPE_CHECKING:
        image_special_token: str = ""
        image_ids: list[int] = []
        ve_hidden_size: int = 0
    else:
        image_special_token: str | None = None
        image_ids: list[int] | None = None
        ve_hidden_size: int | None = None
    vision_model_path: str | None = None
    vision_config: Any = None  # a CLIP or SigLIP vision config, or its dict
    vision_text_config: Any = None  # a text config, or its dict: the tower keeps its text half
    vision_feature_layer: int = -1
    projector_type: Literal["linear", "mlp"] = "linear"
    projector_bias: bool = True
    projector_hidden_act: str = "gelu"
    pixel_shuffle_factor: int = 1
    freeze_vision: bool = True
    image_processor: dict | None = None  # of the tower's checkpoint; None: the whole picture, resized

    def __post_init__(self, **kwargs: Any) -> None:
        self.vision_config = tower_config(self.vision_config, self.ve_hidden_size, self._patches_a_side())
        if isinstance(self.vision_text_config, dict):
            self.vision_text_config = sub_config(self.vision_text_config, "clip_text_model")
        self._check_tower()
        if self.ve_hidden_size is None:
            self.ve_hidden_size = self.vision_config.hidden_size
        if self.image_ids is None:
            self.image_ids = [34] * self.num_image_tokens
        if self.image_special_token is None:
            self.image_special_token = "@" * len(self.image_ids)
        super().__post_init__(**kwargs)

    def _patches_a_side(self) -> int:
        """Of a tower that nothing else describes: as many as the placeholder stands for, or 14."""
        patches = len(self.image_ids or ()) * self.pixel_shuffle_factor**2
        side = math.isqrt(patches)
        return side if side and side**2 == patches else 14

    @property
    def sub_configs(self) -> dict[str, type]:
        """The nested configs, by field: transformers passes attention settings down through it."""
        nested = {name: getattr(self, name, None) for name in ("vision_config", "vision_text_config")}
        return {name: type(value) for name, value in nested.items() if isinstance(value, PreTrainedConfig)}

    @property
    def image_token_id(self) -> int:
        """The id that stands once for each image token in `input_ids`."""
        return self.image_ids[0]

    @property
    def image_token(self) -> str:
        """The placeholder that stands once for each image token in text."""
        return self.image_special_token[: len(self.image_special_token) // len(self.image_ids)]

    @property
    def num_image_tokens(self) -> int:
        """Image tokens per image: patches / pixel_shuffle_factor squared."""
        side = self.vision_config.image_size // self.vision_config.patch_size
        return (side // self.pixel_shuffle_factor) ** 2

    def check(self) -> None:
        """As `LLMConfig.check`, and for placeholder, tower and projector."""
        super().check()
        self._check_tower()
        if self.vision_config.hidden_size != self.ve_hidden_size:
            raise ValueError(
                f"ve_hidden_size={self.ve_hidden_size} contradicts "
                f"vision_config.hidden_size={self.vision_config.hidden_size}"
            )
        self._check_placeholder()
        if self.projector_type not in ("linear", "mlp"):
            raise ValueError(f"projector_type must be 'linear' or 'mlp', but is {self.projector_type!r}")

    def _check_placeholder(self) -> None:
        if len(self.image_ids) != self.num_image_tokens:
            raise ValueError(
                f"image_ids has {len(self.image_ids)} ids, but the tower gives {self.num_image_tokens} image tokens "
                f"(pixel_shuffle_factor={self.pixel_shuffle_factor}): "
                f"give image_ids=[34] * {self.num_image_tokens} and as long an image_special_token"
            )
        if len(set(self.image_ids)) != 1:
            raise ValueError(f"image_ids must repeat one id, but holds {sorted(set(self.image_ids))}")
        if self.image_special_token != self.image_token * len(self.image_ids) or not self.image_token:
            raise ValueError(
                f"image_special_token has {len(self.image_special_token)} characters, but image_ids has "
                f"{len(self.image_ids)} ids: it is the placeholder once for each"
            )
        if not 0 <= self.image_token_id < self.vocab_size:
            raise ValueError(f"image id {self.image_token_id} is outside vocab_size={self.vocab_size}")

    def _check_tower(self) -> None:
        tower = self.vision_config
        # What is left of a side that is no multiple of a patch (SigLIP's 384 of 14) no patch sees.
        if tower.image_size < tower.patch_size:
            raise ValueError(f"image_size={tower.image_size} is less than patch_size={tower.patch_size}")
        side = tower.image_size // tower.patch_size
        if self.pixel_shuffle_factor < 1 or side % self.pixel_shuffle_factor:
            raise ValueError(
                f"pixel_shuffle_factor={self.pixel_shuffle_factor} does not divide the {side} x {side} patches"
            )
        layers = tower.num_hidden_layers
        if not -layers - 1 <= self.vision_feature_layer <= layers:
            raise ValueError(
                f"vision_feature_layer={self.vision_feature_layer} is not among the tower's {layers} layers"
            )


llmconfig = LLMConfig
VLLMconfig = VLMConfig

# A variant is what it changes. `sightline-tiny` is the default that ships; its text is twice as wide as its
# vision, so that its linear projector also fits exactly into a two-layer one (see docs/decisions/0001).
PRESETS: dict[str, dict[str, Any]] = {
    "sightline-tiny": {
        "hidden_size": 384,
        "intermediate_size": 512,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "head_dim": 32,
        "max_position_embeddings": 1024,
        "qk_norm": True,
        "vision_config": {
            "model_type": "clip_vision_model",
            "hidden_size": 192,
            "intermediate_size": 768,
            "num_hidden_layers": 10,
            "num_attention_heads": 6,
            "image_size": 224,
            "patch_size": 16,
        },
    },
}


def _as_list(value: int | list[int] | None) -> list[int]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
