"""The vision-language model: pixels -> tower -> projector -> fusion with the text -> language model -> logits.

`VLM` is `CausalLM` with eyes. It knows token ids and pixel tensors, neither text nor templates: those are
`VLMProcessor`'s.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache
from transformers.generation import GenerationConfig, LogitsProcessor, LogitsProcessorList

from sightline.config import VLMConfig
from sightline.image_processing import default_image_processor
from sightline.nn import vision
from sightline.nn.fusion import check_runs, find_runs, fuse
from sightline.nn.language import CausalLM, CausalLMOutput
from sightline.nn.projector import VisionEncoder

_OF_ONE = {"pixel_values": 3, "image_features": 2}  # dimensions of one image


class VLM(CausalLM):
    """A causal language model that also reads images.

    `VLM(config)` builds the tower from `config.vision_config`, with fresh weights, and warns where the config has a
    `vision_model_path`, at which it does not look; `VLM(config, path)` loads the tower from a folder or hub id and
    makes the config describe it. The tower is frozen and in eval mode, also through `train()`, unless
    `config.freeze_vision` is False. Its text half is dropped unless `config.vision_text_config` is set.

    Raises:
        ValueError: the tower at `vision_model_path` does not fit the config.
    """

    config_class = VLMConfig
    config: VLMConfig
    input_modalities = ["image", "text"]

    def __init__(self, params: VLMConfig, vision_model_path: str | Path | None = None):
        tower, processor = None, None
        if vision_model_path is not None:
            tower, processor = self.get_vision_model(vision_model_path)
            _adopt_tower(params, tower, processor)
            params.vision_model_path = str(vision_model_path)
        super().__init__(params)
        self.params = params
        self._processor = processor
        if tower is None:
            _warn_of_fresh(params)
            tower = vision.build_tower(params.vision_config, params.vision_text_config)
        self.vision_encoder = tower if params.vision_text_config is not None else vision.drop_text_half(tower)
        self.vision_proj = VisionEncoder(
            params.ve_hidden_size,
            params.hidden_size,
            projector_type=params.projector_type,
            bias=params.projector_bias,
            hidden_act=params.projector_hidden_act,
            pixel_shuffle_factor=params.pixel_shuffle_factor,
        )
        self.post_init()
        if params.freeze_vision:
            vision.freeze(self.vision_encoder)

    get_vision_model = staticmethod(vision.get_vision_model)
    image2tensor = staticmethod(vision.image2tensor)
    get_image_embeddings = staticmethod(vision.get_image_embeddings)

    @property
    def processor(self) -> Any:
        """What prepares pictures for `image2tensor`: the tower's own, or rebuilt from the config after a reload."""
        if self._processor is None:
            self._processor = default_image_processor(self.config)
        return self._processor

    def train(self, mode: bool = True) -> VLM:
        """As `nn.Module.train`, but a frozen tower stays frozen and in eval mode."""
        super().train(mode)
        if self.config.freeze_vision:
            # Gradients too: from_pretrained makes every loaded weight trainable, then calls eval(), which is this.
            vision.freeze(self.vision_encoder)
        return self

    def encode_images(
        self, pixel_values: Float[Tensor, "*images 3 height width"]
    ) -> Float[Tensor, "*images all_patches vision"]:
        """The tower's patch features from the configured layer."""
        return self.get_image_embeddings(pixel_values, self.vision_encoder, self.config.vision_feature_layer)

    def count_vision_proj(
        self,
        tokens: Int[Tensor, "batch seq"],
        h: Float[Tensor, "batch seq hidden"],
        vision_tensors: Float[Tensor, "*images all_patches vision"] | None = None,
        seqlen: int | None = None,
        *,
        check: bool = True,
    ) -> Float[Tensor, "batch cut hidden"]:
        """Project the features and put each image's where its placeholder run stands (SPEC, section 4).

        Args:
            tokens: ids, in which runs of `image_ids` stand for images.
            h: the tokens' embeddings.
            vision_tensors: `[B, N, patches, C]`, or flat `[images, patches, C]` in reading order, in any float
                dtype.
            seqlen: the result is cut to so many positions; a run that the cut goes through is filled up to it.
            check: False skips the comparison of runs and images, and with it the only wait for the device.

        Raises:
            ValueError: a sample has more or fewer runs than images, or an image more or fewer features than a run has
                tokens.
        """
        if vision_tensors is not None and vision_tensors.ndim not in (3, 4):
            raise ValueError(
                f"vision_tensors are [batch, N, patches, C] or [images, patches, C], not {list(vision_tensors.shape)}"
            )
        images = (0,) if vision_tensors is None else tuple(vision_tensors.shape[:-2])
        placement = find_runs(tokens, self.config.image_token_id, self.config.num_image_tokens)
        if check:
            check_runs(placement.runs, images)
        if vision_tensors is not None and 0 not in images:
            dtype = next(self.vision_proj.parameters()).dtype
            features = self.vision_proj(vision_tensors.to(dtype)).flatten(0, -3)
            if features.shape[1] != self.config.num_image_tokens:
                raise ValueError(
                    f"an image has {features.shape[1]} features behind the projector, but its run "
                    f"{self.config.num_image_tokens} tokens: give the patches' alone, without [CLS]"
                )
            h = fuse(h, placement, features)
        return h[:, :seqlen]

    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Any = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor | None = None,
        pixel_values: Float[Tensor, "*images 3 height width"] | None = None,
        inputs_embeds: Float[Tensor, "batch seq hidden"] | None = None,
        check_images: bool = True,
        image_features: Float[Tensor, "*images all_patches vision"] | None = None,
        position_ids: Int[Tensor, "#batch seq"] | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """`CausalLM.forward` over the fused sequence.

        Args:
            pixel_values: `[B, N, 3, H, W]`, N images in every sample, or flat `[images, 3, H, W]` in reading
                order. With a filled cache: the images of the new tokens alone.
            check_images: False where the caller has already matched runs and images; saves a device sync.
            image_features: what `encode_images` gave for the pictures, in the place of `pixel_values`.
            position_ids, labels: as of `CausalLM.forward`, whose `kwargs` the rest are; named, for Trainer and
                `generate` look at the names.

        Raises:
            ValueError: a sample has more or fewer placeholder runs than images; `pixel_values` of another shape;
                `pixel_values` or `image_features` without `input_ids`, or both; or as `CausalLM.forward`.
        """
        if pixel_values is not None and pixel_values.ndim not in (4, 5):
            raise ValueError(
                f"pixel_values are [B, N, 3, H, W] or [images, 3, H, W], but have the shape {[*pixel_values.shape]}"
            )
        if input_ids is not None and inputs_embeds is None:
            if pixel_values is not None and image_features is not None:
                raise ValueError("pixel_values and image_features are the same pictures: give one of them")
            if pixel_values is not None and pixel_values.shape[:-3].numel():
                image_features = self.encode_images(pixel_values)
            inputs_embeds = self._embed(input_ids, image_features, check_images)
            input_ids = None
        elif pixel_values is not None or image_features is not None:
            raise ValueError("pixel_values need input_ids: the placeholder runs say where the images go")
        return super().forward(
            input_ids=input_ids,
            attention_mask=attention_mask,
            past_key_values=past_key_values,
            use_cache=use_cache,
            logits_to_keep=logits_to_keep,
            position_ids=position_ids,
            inputs_embeds=inputs_embeds,
            labels=labels,
            **kwargs,
        )

    def _embed(self, input_ids: Tensor, features: Tensor | None, check: bool) -> Tensor:
        embeddings = self.model.embed_tokens(input_ids)
        if features is not None:
            return self.count_vision_proj(input_ids, embeddings, features, check=check)
        # A decoding step has one token: no run fits, so there is nothing to look for.
        if check and input_ids.shape[1] >= self.config.num_image_tokens:
            return self.count_vision_proj(input_ids, embeddings)
        return embeddings

    def generate(
        self,
        inputs: Any = None,
        generation_config: GenerationConfig | None = None,
        logits_processor: Any = None,
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """transformers' `generate`; the placeholder is never generated. Raises as `CausalLM.generate`."""
        # Behind the caller's processors, which could raise the placeholder again.
        processors = LogitsProcessorList([*(logits_processor or []), _NeverGenerate(self.config.image_token_id)])
        return super().generate(inputs, generation_config, processors, *args, **kwargs)

    def prepare_inputs_for_generation(
        self,
        input_ids: Any,
        *args: Any,
        inputs_embeds: Any = None,
        is_first_iteration: bool | None = False,
        pixel_values: Any = None,
        image_features: Any = None,
        **kwargs: Any,
    ) -> Any:
        """Images go into the prefill alone, and those whose runs the cache already holds are left out of it."""
        mixin: Any = super()
        inputs = mixin.prepare_inputs_for_generation(
            input_ids, *args, inputs_embeds=inputs_embeds, is_first_iteration=is_first_iteration, **kwargs
        )
        new = inputs["input_ids"]
        for name, images in {"pixel_values": pixel_values, "image_features": image_features}.items():
            # An assistant's prefill is no first iteration to transformers; fewer tokens than one image hold none.
            if images is not None and (is_first_iteration or new.shape[1] >= self.config.num_image_tokens):
                cached = 0 if new is None else input_ids.shape[1] - new.shape[1]
                flat = images.flatten(0, -1 - _OF_ONE[name])
                inputs[name] = self._new_images(input_ids, images, flat, cached, bool(is_first_iteration))
        return inputs

    def _new_images(
        self, input_ids: Tensor, images: Tensor, flat: Tensor, cached: int, is_first: bool
    ) -> Tensor | None:
        """The images whose runs stand behind the `cached` positions, of all or of the new ones alone."""
        if cached == 0:
            return images
        runs, old = self._runs(input_ids), self._runs(input_ids[:, :cached])
        if flat.shape[0] != sum(runs):
            # Only the new ones were given, and are for the first pass; fusion checks their number.
            return images if is_first else None
        groups = flat.split(runs)
        new = [image for group, seen in zip(groups, old, strict=True) for image in group[seen:]]
        return torch.stack(new) if new else None

    def _runs(self, input_ids: Tensor) -> list[int]:
        return find_runs(input_ids, self.config.image_token_id, self.config.num_image_tokens).runs.tolist()

    def _expand_inputs_for_generation(
        self, expand_size: int = 1, is_encoder_decoder: bool = False, input_ids: Any = None, **model_kwargs: Any
    ) -> tuple[Any, dict[str, Any]]:
        # transformers would repeat each image of a flat [images, ...] in place, and so bind images to the wrong
        # beams: here whole samples repeat.
        given = {name: model_kwargs.pop(name) for name in _OF_ONE if model_kwargs.get(name) is not None}
        if expand_size > 1:
            given = {name: self._repeat_samples(name, one, expand_size, input_ids) for name, one in given.items()}
        mixin: Any = super()
        input_ids, model_kwargs = mixin._expand_inputs_for_generation(
            expand_size, is_encoder_decoder, input_ids, **model_kwargs
        )
        return input_ids, {**model_kwargs, **given}

    def _repeat_samples(self, name: str, images: Tensor, times: int, input_ids: Tensor) -> Tensor:
        if images.ndim == _OF_ONE[name] + 2:
            return images.repeat_interleave(times, dim=0)
        placement = find_runs(input_ids, self.config.image_token_id, self.config.num_image_tokens)
        check_runs(placement.runs, (len(images),))
        groups = images.split(placement.runs.tolist())
        return torch.cat([group for group in groups for _ in range(times)])


class _NeverGenerate(LogitsProcessor):
    """Takes one token out of the choice. Its own class: transformers lets a caller's processor replace its own of
    the same class, and with it what the caller's `suppress_tokens` asks for."""

    def __init__(self, token: int):
        self.token = token

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        forbidden = torch.arange(scores.shape[-1], device=scores.device) == self.token
        return scores.masked_fill(forbidden, -float("inf"))


def _warn_of_fresh(params: VLMConfig) -> None:
    """Say that a tower gets fresh weights although the config names one, unless a checkpoint's are about to fill it."""
    if params.vision_model_path and torch.empty(0).device.type != "meta":
        warnings.warn(
            f"the tower has fresh weights: vision_model_path={params.vision_model_path!r} of a config only says where "
            "one came from; VLM(config, path) loads it",
            stacklevel=3,
        )


def _adopt_tower(params: VLMConfig, tower: PreTrainedModel, processor: Any) -> None:
    """Make the config describe the loaded tower, and keep its preprocessing, so that a saved folder is whole."""
    loaded: Any = tower.config
    if loaded.vision_config.hidden_size != params.ve_hidden_size:
        raise ValueError(
            f"the tower's hidden_size is {loaded.vision_config.hidden_size}, "
            f"but ve_hidden_size is {params.ve_hidden_size}"
        )
    attention = params.vision_config._attn_implementation
    params.vision_config = loaded.vision_config
    params.vision_config._attn_implementation = attention
    if params.vision_text_config is not None:
        if not hasattr(tower, "text_model"):
            raise ValueError("vision_text_config asks for the tower's text half, but the checkpoint has none")
        params.vision_text_config = loaded.text_config
        if hasattr(loaded, "projection_dim"):
            params.vision_config.projection_dim = loaded.projection_dim
    params.image_processor = getattr(processor, "image_processor", processor).to_dict()
    params.check()
