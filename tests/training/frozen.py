"""What a stage must leave alone, for comparison."""

import hashlib

import torch


def frozen_digest(model):
    """The SHA-256 of each frozen parameter's bytes, by name: equal before and after a stage that left it alone."""
    return {name: _sha256(p) for name, p in model.named_parameters() if not p.requires_grad}


def _sha256(tensor):
    flat = tensor.detach().contiguous().reshape(-1)
    return hashlib.sha256(flat.view(torch.uint8).numpy().data).hexdigest()
