"""The optimizer and how the schedule moves it."""

from collections.abc import Iterable
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, Field


class OptimizerConfig(BaseModel):
    """What steps the weights; `lr` is the peak of the schedule."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0, le=10)
    weight_decay: float = Field(0.01, ge=0, le=10)


def build_optimizer(parameters: Iterable[torch.nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    """The optimizer, at its peak rate; `set_rate` moves it."""
    weights = list(parameters)
    if config.name == "sgd":
        return torch.optim.SGD(weights, lr=config.lr, momentum=0.9, weight_decay=config.weight_decay, nesterov=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(weights, lr=config.lr, weight_decay=config.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, lr: float, momentum: float) -> None:
    """Sets every group's rate, and its momentum (SGD) or first beta (Adam)."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
