"""The language model: `LLM` (embedding -> blocks -> norm) and `CausalLM` (`LLM` -> logits, loss, generation).

Weights are named as in transformers' Llama, Qwen3 and Qwen3-MoE, so a checkpoint of those loads key by key.
Nothing here knows images: `VLM` hands it embeddings in which patches already stand where placeholders stood.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import initialization as init
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationConfig, GenerationMixin
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_utils import PreTrainedModel, slice_logits_to_keep
from transformers.utils.generic import ModelOutput, can_return_tuple, merge_with_config_defaults
from transformers.utils.output_capturing import capture_outputs

from sightline.config import LLMConfig
from sightline.nn.attention import Attention, RMSNorm, branch_positions, causal_mask, positions
from sightline.nn.balance import balance_loss, router_z_loss
from sightline.nn.feed_forward import FeedForward
from sightline.nn.loss import chunked_cross_entropy
from sightline.nn.moe import Experts, MixtureOfExperts, Router, Routing
from sightline.nn.rope import RotaryEmbedding


@dataclass
class LLMOutput(ModelOutput):
    """What the blocks give: states `[batch, seq, hidden]`, the cache, and each sparse layer's routing."""

    last_hidden_state: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    router: tuple[Routing, ...] | None = None


@dataclass
class CausalLMOutput(ModelOutput):
    """Logits `[batch, kept, vocab]`; `loss` holds the weighted `aux_loss` and `z_loss` where labels were given."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    aux_loss: Tensor | None = None
    z_loss: Tensor | None = None
    router: tuple[Routing, ...] | None = None


class TransformerBlock(GradientCheckpointingLayer):
    """x + attention(norm(x)), then x + ffn(norm(x)) (pre-norm); the ffn is dense or a mixture of experts."""

    def __init__(self, config: LLMConfig, layer_idx: int):
        super().__init__()
        self.self_attn = Attention(config, layer_idx)
        self.mlp = MixtureOfExperts(config) if config.is_sparse(layer_idx) else FeedForward(config)
        self.input_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, hidden_states: Float[Tensor, "batch seq hidden"], **kwargs: Any
    ) -> tuple[Float[Tensor, "batch seq hidden"], Routing | None]:
        attended, _ = self.self_attn(self.input_layernorm(hidden_states), **kwargs)
        hidden_states = hidden_states + self.dropout(attended)
        update = self.mlp(self.post_attention_layernorm(hidden_states))
        update, routing = update if isinstance(update, tuple) else (update, None)
        return hidden_states + self.dropout(update), routing


class LanguagePreTrainedModel(PreTrainedModel):
    """What transformers needs to know of every model here: initial weights, and what it may switch."""

    config_class = LLMConfig
    config: LLMConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["TransformerBlock"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, *more: Any, **options: Any
    ) -> None:
        """As transformers' method. Raises ValueError for a way that would keep gradients from the routers."""
        asked = getattr(gradient_checkpointing_func, "keywords", {})
        if enable and self.config.use_moe and asked.get("use_reentrant"):
            raise ValueError("use_reentrant=True would leave the routers' losses without gradients: leave it out")
        super()._set_gradient_checkpointing(enable, gradient_checkpointing_func, *more, **options)

    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": TransformerBlock, "attentions": Attention}

    @classmethod
    def _can_set_experts_implementation(cls) -> bool:
        # transformers greps the model's own file for the decorator, which stands in nn/moe.py.
        return True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        std = self.config.initializer_range
        if isinstance(module, Experts):
            init.normal_(module.gate_up_proj, mean=0.0, std=std)
            init.normal_(module.down_proj, mean=0.0, std=std)
        elif isinstance(module, Router):
            init.normal_(module.weight, mean=0.0, std=std)
            if module.e_score_correction_bias is not None:
                init.zeros_(module.e_score_correction_bias)
        elif isinstance(module, RMSNorm):
            init.ones_(module.weight)


class LLM(LanguagePreTrainedModel):
    """Token embedding, `num_hidden_layers` blocks, final RMSNorm."""

    def __init__(self, config: LLMConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        self.layers = nn.ModuleList(TransformerBlock(config, i) for i in range(config.num_hidden_layers))
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = RotaryEmbedding(config)
        self.dropout = nn.Dropout(config.dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Any = None,
        position_ids: Int[Tensor, "#batch seq"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Float[Tensor, "batch seq hidden"] | None = None,
        use_cache: bool | None = None,
        branch_ids: Int[Tensor, "batch seq"] | None = None,
        **kwargs: Any,
    ) -> LLMOutput:
        """Encode `input_ids` or `inputs_embeds` (exactly one) after whatever `past_key_values` holds.

        Args:
            branch_ids: 0 in the trunk, k in the k-th of several continuations of it, each of which sees the
                trunk and itself (`causal_mask`); -1 in padding. For training: it goes with no cache.

        Raises:
            ValueError: both or neither of `input_ids` and `inputs_embeds` are given, or `branch_ids` with a cache
                or an `attn_implementation` that takes no mask.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        given_cache = past_key_values
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if branch_ids is not None and past_key_values is not None:
            raise ValueError("branch_ids go with no cache: set use_cache=False")
        packed = position_ids
        if position_ids is None and branch_ids is not None:
            position_ids = branch_positions(branch_ids)
        elif position_ids is None:
            past = 0 if past_key_values is None else past_key_values.get_seq_length()
            position_ids = positions(attention_mask, past, inputs_embeds)
        # A cache that begins here holds nothing to look at, and transformers takes none for packed documents.
        mask = causal_mask(self.config, inputs_embeds, attention_mask, given_cache, packed, branch_ids)
        return self._run_blocks(self.dropout(inputs_embeds), mask, position_ids, past_key_values, **kwargs)

    def _run_blocks(
        self,
        hidden_states: Tensor,
        mask: Any,
        position_ids: Tensor,
        past_key_values: Cache | None,
        **kwargs: Any,
    ) -> LLMOutput:
        position_embeddings = self.rotary_emb(hidden_states, position_ids)
        router = []
        for block in self.layers:
            hidden_states, routing = block(
                hidden_states,
                position_embeddings=position_embeddings,
                attention_mask=mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
                **kwargs,
            )
            if routing is not None:
                router.append(routing)
        return LLMOutput(
            last_hidden_state=self.norm(hidden_states),
            past_key_values=past_key_values,
            router=tuple(router) or None,
        )


class CausalLM(LanguagePreTrainedModel, GenerationMixin):
    """`LLM` with a head that turns each state into logits over the vocabulary."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}
    accepts_loss_kwargs = True

    def __init__(self, config: LLMConfig):
        super().__init__(config)
        self.model = LLM(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.loss_type = "ForCausalLM"  # transformers derives it from the class name, where it knows the class
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: Int[Tensor, "batch seq"] | None = None,
        attention_mask: Any = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor | None = None,
        position_ids: Int[Tensor, "#batch seq"] | None = None,
        inputs_embeds: Float[Tensor, "batch seq hidden"] | None = None,
        labels: Int[Tensor, "batch seq"] | None = None,
        skip_logits: bool = False,
        **kwargs: Any,
    ) -> CausalLMOutput:
        """Next-token logits, and the loss where `labels` are given.

        Args:
            logits_to_keep: the last n positions (0: all), or an index tensor; only their logits are computed.
                None takes the config's, or all where labels are given.
            labels: as `input_ids`, -100 where a token carries no loss; the shift by one happens here.
            skip_logits: give the loss alone; logits are then computed for supervised tokens only, in chunks.
            kwargs: `num_items_in_batch` (labels in all accumulated micro-batches) makes the loss a sum over
                that many; the rest goes to the blocks.

        Raises:
            ValueError: `labels` together with `logits_to_keep`, `skip_logits` without labels, or as `LLM.forward`.
        """
        if logits_to_keep is None:
            logits_to_keep = 0 if labels is not None else self.config.logits_to_keep
        if labels is not None and (isinstance(logits_to_keep, Tensor) or logits_to_keep):
            raise ValueError("labels need the logits of every position: leave logits_to_keep at 0")
        if skip_logits and labels is None:
            raise ValueError("skip_logits gives the loss alone, which needs labels")
        num_items = kwargs.pop("num_items_in_batch", None)
        outputs: LLMOutput = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        assert outputs.last_hidden_state is not None
        states = outputs.last_hidden_state
        logits = None if skip_logits else self.lm_head(slice_logits_to_keep(states, logits_to_keep))
        # Not while generating; otherwise in evaluation too, so that its loss is the one that training lowers.
        wanted = self.training or labels is not None or self.config.output_router_logits
        router = outputs.router if wanted else None
        aux_loss, z_loss = self._router_losses(router, attention_mask, states.shape[0])
        return CausalLMOutput(
            loss=None if labels is None else self._loss(states, logits, labels, num_items, aux_loss, z_loss),
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            aux_loss=aux_loss,
            z_loss=z_loss,
            router=outputs.router,
        )

    def _router_losses(
        self, router: tuple[Routing, ...] | None, attention_mask: Any, batch: int
    ) -> tuple[Tensor | None, Tensor | None]:
        if router is None:
            return None, None
        real = attention_mask if isinstance(attention_mask, Tensor) and attention_mask.ndim == 2 else None
        return balance_loss(router, self.config, real, batch_size=batch), router_z_loss(router, real)

    def _loss(
        self,
        states: Tensor,
        logits: Tensor | None,
        labels: Tensor,
        num_items: Tensor | int | None,
        aux_loss: Tensor | None,
        z_loss: Tensor | None,
    ) -> Tensor:
        if logits is None:
            targets = F.pad(labels[:, 1:], (0, 1), value=-100)
            kept = targets != -100
            total = chunked_cross_entropy(states[kept], self.lm_head.weight, targets[kept])
            loss = total / (kept.sum() if num_items is None else num_items)
        else:
            loss = self.loss_function(logits, labels, self.config.vocab_size, num_items_in_batch=num_items)
        if aux_loss is None or z_loss is None:
            return loss
        # Accumulated micro-batches add up to one batch: each brings its share of the router's losses too.
        share = 1.0 if num_items is None else (labels[:, 1:] != -100).sum() / num_items
        return loss + share * (self.config.aux_loss_alpha * aux_loss + self.config.router_z_loss_alpha * z_loss)

    def generate(
        self, inputs: Any = None, generation_config: GenerationConfig | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """transformers' `generate`, which ends at `max_position_embeddings` at the latest.

        Without `max_new_tokens` and `max_length` it goes on to an end-of-sequence token, or to that limit.

        Raises:
            ValueError: the prompt already has `max_position_embeddings` tokens or more.
        """
        prompt = next(
            (p for p in (inputs, kwargs.get("input_ids"), kwargs.get("inputs_embeds")) if p is not None), None
        )
        if prompt is not None:
            limits = self._length_limits(prompt.shape[1], generation_config or self.generation_config, kwargs)
            if generation_config is None:
                kwargs |= limits
            else:  # transformers wants all of them in one place
                generation_config = copy.deepcopy(generation_config)
                generation_config.update(**limits)
                kwargs = {name: value for name, value in kwargs.items() if name not in limits}
        mixin: Any = super()
        return mixin.generate(inputs, generation_config, *args, **kwargs)

    def _length_limits(self, given: int, config: GenerationConfig, kwargs: dict[str, Any]) -> dict[str, int]:
        """`max_new_tokens` or `max_length`, whichever was asked for, as far as the positions reach."""
        mask = kwargs.get("attention_mask")
        # A turn that continues a cache may give its new tokens alone, and a mask over all of them.
        prompt = max(given, mask.shape[-1]) if mask is not None and kwargs.get("past_key_values") else given
        limit = self.config.max_position_embeddings
        if (assistant := kwargs.get("assistant_model")) is not None:  # which reads all that is drafted on
            limit = min(limit, getattr(assistant.config, "max_position_embeddings", limit))
        if prompt >= limit:
            whose = "the model's" if assistant is None else "the model's or its assistant's"
            raise ValueError(
                f"the prompt has {prompt} tokens, but {whose} max_position_embeddings is {limit}: "
                "shorten it or send fewer images"
            )
        asked = {name: kwargs.get(name, getattr(config, name, None)) for name in ("max_new_tokens", "max_length")}
        if asked["max_new_tokens"] is not None:
            return {"max_new_tokens": min(asked["max_new_tokens"], limit - prompt)}
        return {"max_length": min(asked["max_length"] or limit, given + limit - prompt)}
