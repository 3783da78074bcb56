"""The loss that training minimizes."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from chex.models.heads import HeadLayout


def masked_loss(
    raw: torch.Tensor,
    outputs: HeadLayout,
    values: torch.Tensor,
    weights: torch.Tensor,
    uncertain_class: torch.Tensor,
    total: torch.Tensor | None = None,
) -> torch.Tensor:
    """Returns the weighted mean of the cells' cross-entropy, a scalar: over two classes, or three for `multiclass`.

    `raw` (B, outputs.count) are the outputs of the model; `values`, `weights` and `uncertain_class` (B, K) are the
    fields of Targets. A cell of weight 0 has no part in the loss and a gradient of exactly zero, even where its outputs
    or its target are infinite or NaN. If all weights are 0, the loss is 0. For a micro-batch, `total` is the sum of the
    weights of the whole batch. A sum of weights below 1 counts as 1.
    """
    counted = weights > 0
    raw = torch.where(outputs.spread(counted), raw, 0.0)  # before the loss: 0 times infinity is NaN, in gradients too
    values, uncertain_class = torch.where(counted, values, 0.0), torch.where(counted, uncertain_class, 0.0)
    cells = binary_cross_entropy_with_logits(raw[:, : outputs.observations], values, reduction="none")
    if outputs.multiclass:
        columns = list(outputs.multiclass)
        class_targets = torch.stack([uncertain_class, 1 - values - uncertain_class, values], dim=-1)[:, columns]
        cells[:, columns] = -(class_targets * log_softmax(outputs.classes(raw), dim=-1)).sum(dim=-1)
    total = weights.sum() if total is None else total
    return (cells * weights).sum() / total.clamp(min=1.0)
