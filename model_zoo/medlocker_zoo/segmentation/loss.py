"""What training minimises: a loss for lesions that cover a thousandth of the pixels."""

from __future__ import annotations

import torch
from segmentation_models_pytorch.losses import MULTILABEL_MODE, FocalLoss, TverskyLoss

from medlocker_zoo.segmentation.description import SegmentationRecipe


class LesionLoss(torch.nn.Module):
    """Focal Tversky loss of every lesion type in the batch, plus a weighted focal loss.

    Source: Abraham and Khan 2019 (focal Tversky), Lin et al. 2017 (focal), as segmentation-models-pytorch has them.
    The Tversky part looks at overlap and so does not drown in background; it says nothing of a type without a pixel in
    the batch, which the focal part does.

    Args:
        recipe: the weights.
    """

    def __init__(self, recipe: SegmentationRecipe) -> None:
        super().__init__()
        missed = recipe.tversky_missed
        self.overlap = TverskyLoss(MULTILABEL_MODE, alpha=1 - missed, beta=missed, gamma=recipe.tversky_gamma)
        self.pixels = FocalLoss(MULTILABEL_MODE)
        self.weight = recipe.focal_weight

    def forward(self, logits: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
        """A scalar.

        Args:
            logits: (B, K, P, P) float32.
            masks: (B, K, P, P) float32, 0 or 1.
        """
        loss: torch.Tensor = self.overlap(logits, masks) + self.weight * self.pixels(logits, masks)
        return loss
