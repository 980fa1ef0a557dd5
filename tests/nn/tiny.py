"""A whole vision-language model of a few thousand weights, and samples for it.

Vocabulary 300, width 32, 2 layers; pictures of 32 x 32 in patches of 8: 16 image tokens each.
"""

import torch

from sightline.config import VLMConfig
from sightline.nn.vlm import VLM

PATCHES = 16
IMAGE = [34] * PATCHES


def tower_fields(**fields):
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    return {"model_type": "clip_vision_model", **sizes, "image_size": 32, "patch_size": 8, **fields}


def tiny_config(**fields):
    sizes = {"vocab_size": 300, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 128}
    special = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": 2}
    return VLMConfig(**{**sizes, **heads, **special, "vision_config": tower_fields(), **fields})


def tiny_vlm(seed=0, spread=0.3, **fields):
    """Weights wide enough that what stands in the context shows in the logits."""
    torch.manual_seed(seed)
    model = VLM(tiny_config(initializer_range=spread, **fields)).eval()
    for parameter in model.vision_encoder.parameters():
        parameter.data.mul_(3.0 if parameter.ndim > 1 else 1.0)
    return model


def left_padded(rows, pad=0):
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    return {"input_ids": ids, "attention_mask": mask}
