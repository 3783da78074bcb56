"""Builds the optimizer with a learning rate per layer group, and sets its learning rates and momentum."""

from collections.abc import Sequence

import numpy as np
import torch

from chex.optimization.optimizer_config import OptimizerConfig


def layer_lrs(low: float, high: float, groups: int) -> list[float]:
    """Returns a peak learning rate per layer group, at equal ratios from `low` (stem) to `high` (head).

    A single group gets `high`.
    """
    return np.geomspace(low, high, groups).tolist() if groups > 1 else [high]


def build_optimizer(
    groups: Sequence[Sequence[torch.nn.Parameter]], lrs: Sequence[float], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """Returns the optimizer of the weights that are not frozen; `lrs` has a peak learning rate per layer group."""
    trained = [
        ([weight for weight in group if weight.requires_grad], lr) for group, lr in zip(groups, lrs, strict=True)
    ]
    param_groups = [{"params": weights, "lr": lr, "peak": lr} for weights, lr in trained if weights]
    if config.name == "sgd":
        return torch.optim.SGD(param_groups, momentum=0.9, weight_decay=config.weight_decay, nesterov=True)
    optimizer = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return optimizer(param_groups, weight_decay=config.weight_decay)


def set_lr(optimizer: torch.optim.Optimizer, factor: float, momentum: float) -> None:
    """Sets each group's learning rate to `factor` times its peak, and its momentum (SGD) or first beta (Adam)."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
