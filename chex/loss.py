"""What training minimises."""

import torch
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax

from chex.outputs import Outputs


def masked_loss(
    raw: torch.Tensor,
    outputs: Outputs,
    values: torch.Tensor,
    weights: torch.Tensor,
    doubt: torch.Tensor,
    total: torch.Tensor | None = None,
) -> torch.Tensor:
    """Cross-entropy averaged over the weight of the cells, a scalar; of three classes where `outputs` has them.

    `raw` (B, outputs.count) is what the model gave; `values`, `weights` and `doubt` are Targets, (B, K). A cell of
    weight 0 has no part in the loss and a gradient of exactly zero, even where its outputs or its target are infinite
    or NaN; with no weight at all the loss is zero and finite. `total` is the weight to divide by, where this is a part
    of a batch; blank: that of these cells.
    """
    counted = weights > 0
    raw = torch.where(outputs.spread(counted), raw, 0.0)  # before the loss: 0 times infinity is NaN, in gradients too
    values, doubt = torch.where(counted, values, 0.0), torch.where(counted, doubt, 0.0)
    cells = binary_cross_entropy_with_logits(raw[:, : outputs.observations], values, reduction="none")
    if outputs.multiclass:
        columns = list(outputs.multiclass)
        wanted = torch.stack([doubt, 1 - values - doubt, values], dim=-1)[:, columns]
        cells[:, columns] = -(wanted * log_softmax(outputs.classes(raw), dim=-1)).sum(dim=-1)
    whole = weights.sum() if total is None else total
    return (cells * weights).sum() / whole.clamp(min=1.0)
