"""The projector: from the tower's feature space into the language model's embedding space.

It maps every patch alone; which patches, and where they go in the sequence, is not its business.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.activations import ACT2FN


class VisionEncoder(nn.Module):
    """SPEC's projector C -> H: one linear layer, or LLaVA-1.5's two with an activation between (`mlp`).

    With `pixel_shuffle_factor` f, each f x f square of patches first becomes one feature of f^2 x C.

    Args:
        ve_hidden_size: C, the tower's width.
        hidden_size: H, the language model's width.
    """

    def __init__(
        self,
        ve_hidden_size: int = 768,
        hidden_size: int = 512,
        *,
        projector_type: str = "linear",
        bias: bool = True,
        hidden_act: str = "gelu",
        pixel_shuffle_factor: int = 1,
    ):
        super().__init__()
        self.ve_hidden_size = ve_hidden_size
        self.hidden_size = hidden_size
        self.pixel_shuffle_factor = pixel_shuffle_factor
        width = ve_hidden_size * pixel_shuffle_factor**2
        layers: list[nn.Module] = [nn.Linear(width, hidden_size, bias=bias)]
        if projector_type == "mlp":
            layers += [ACT2FN[hidden_act], nn.Linear(hidden_size, hidden_size, bias=bias)]
        self.vision_proj = nn.Sequential(*layers)

    def forward(
        self, image_encoders: Float[Tensor, "*images all_patches vision"]
    ) -> Float[Tensor, "*images patches hidden"]:
        """Project the tower's patch features (in reading order, a square number of them)."""
        if self.pixel_shuffle_factor > 1:
            image_encoders = pixel_shuffle(image_encoders, self.pixel_shuffle_factor)
        return self.vision_proj(image_encoders)


def pixel_shuffle(
    features: Float[Tensor, "*images all_patches vision"], factor: int
) -> Float[Tensor, "*images patches folded"]:
    """Fold each factor x factor square of patches into one feature (space to depth, as in Idefics3).

    Raises:
        ValueError: the patches are no square whose side `factor` divides.
    """
    side = int(features.shape[-2] ** 0.5)
    if side * side != features.shape[-2] or side % factor:
        raise ValueError(f"{features.shape[-2]} patches are no square whose side is divisible by {factor}")
    *images, _, vision = features.shape
    rows = side // factor
    squares = features.reshape(*images, rows, factor, rows, factor, vision)
    return torch.transpose(squares, -4, -3).reshape(*images, rows * rows, factor * factor * vision)
