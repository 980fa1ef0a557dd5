"""The words of a region as a tower's target: what stands on a patch, said in the language model's own vocabulary.

A bag of words predicted from a picture (Joulin et al., 2016), here from each region by the language model's last norm
and head, as though its blocks had changed nothing. Tower, projector and embeddings learn together, so that a patch
comes to lie among the embeddings of the words that are true of it: the blocks, which a later stage trains, need only
find and copy. Nothing here knows where regions come from.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from sightline.nn.vlm import VLM

__all__ = ["RegionWords", "rarity"]


class RegionWords(nn.Module):
    """A VLM without its language blocks."""

    def __init__(self, model: VLM):
        super().__init__()
        self.model = model

    def forward(
        self,
        pixel_values: Float[Tensor, "images 3 height width"],
        region_image: Int[Tensor, " regions"],
        region_patches: Float[Tensor, "regions patches"],
        region_words: Int[Tensor, "regions words"],
    ) -> Float[Tensor, ""]:
        """The cross-entropy of the regions' words, each weighted by how rare it is among them: in float32.

        A word that n of the R regions share weighs log((R + 1) / n): what tells regions apart is a word or two
        of ten, and would otherwise be a tenth of what is learned.

        Args:
            region_image: the image of each region.
            region_patches: rows that sum to 1.
            region_words: token ids, all different in a row, -100 behind the last.
        """
        patches = self.model.vision_proj(self.model.encode_images(pixel_values))
        regions = torch.einsum("rp,rph->rh", region_patches.to(patches.dtype), patches[region_image])
        logits = self.model.lm_head(self.model.model.norm(regions)).float()
        weights = rarity(region_words, logits.shape[-1])
        losses = -logits.log_softmax(dim=-1).gather(1, region_words.clamp(min=0))
        return (losses * weights).sum() / weights.sum()


def rarity(region_words: Int[Tensor, "regions words"], vocab_size: int) -> Float[Tensor, "regions words"]:
    """log((regions + 1) / regions that have the word), 0 where there is no word.

    >>> rarity(torch.tensor([[5, 6], [5, -100]]), 8).exp()  # of 2 regions, both have word 5
    tensor([[1.5000, 3.0000],
            [1.5000, 1.0000]])
    """
    word = region_words >= 0
    having = torch.bincount(region_words[word], minlength=vocab_size)[region_words.clamp(min=0)]
    return ((len(region_words) + 1) / having.clamp(min=1)).log() * word
