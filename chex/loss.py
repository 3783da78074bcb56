"""What training minimises."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits


def masked_loss(logits: torch.Tensor, values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy averaged over the weight of the cells, a scalar.

    All arguments have shape (B, K). A cell of weight 0 has a gradient of exactly zero; with no weight at all the loss
    is zero and finite.
    """
    cells = binary_cross_entropy_with_logits(logits, values, weight=weights, reduction="sum")
    return cells / weights.sum().clamp(min=1.0)
