"""The optimizer, a rate per layer group, and how the schedule moves them."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator

from chex.strict import Strict


class OptimizerConfig(Strict):
    """What steps the weights; rates are the peak of the schedule."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0, le=10)
    """Of the head, and of all layers where `lr_low` is blank."""
    lr_low: float | None = Field(None, gt=0, le=10)
    """Of the first layer group; those between it and the head are at equal ratios."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    momentum: float | None = Field(None, ge=0, lt=1)
    """Of sgd, which alone has one; blank: the schedule's (see `rate_and_momentum`)."""

    @model_validator(mode="after")
    def _rates(self) -> "OptimizerConfig":
        check_rates(self.lr_low, self.lr)
        return self

    @model_validator(mode="after")
    def _momentum(self) -> "OptimizerConfig":
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(
                f"momentum is {self.momentum:g} and '{self.name}' has none, its betas take that part; "
                "use name: sgd, or leave momentum blank"
            )
        return self


def check_rates(low: float | None, high: float) -> None:
    """Raises ValueError where the first layer group would learn faster than the head."""
    if low is not None and low > high:
        raise ValueError(
            f"lr_low {low:g} is above lr {high:g}, and it is the rate of the first layers; write the smaller as lr_low"
        )


def group_rates(low: float, high: float, groups: int) -> list[float]:
    """A peak rate per layer group, from the stem's to the head's, at equal ratios; one group gets the head's."""
    return np.geomspace(low, high, groups).tolist() if groups > 1 else [high]


def build_optimizer(
    groups: Sequence[Sequence[torch.nn.Parameter]], rates: Sequence[float], config: OptimizerConfig
) -> torch.optim.Optimizer:
    """The optimizer of those weights that are not frozen, each group at its peak rate; `set_rate` moves them.

    `rates` has a peak per group of `groups`.
    """
    pairs = [
        ([weight for weight in group if weight.requires_grad], rate) for group, rate in zip(groups, rates, strict=True)
    ]
    parts = [{"params": weights, "lr": rate, "peak": rate} for weights, rate in pairs if weights]
    if config.name == "sgd":
        return torch.optim.SGD(parts, momentum=0.9, weight_decay=config.weight_decay, nesterov=True)
    kind = torch.optim.AdamW if config.name == "adamw" else torch.optim.Adam
    return kind(parts, weight_decay=config.weight_decay)


def set_rate(optimizer: torch.optim.Optimizer, factor: float, momentum: float) -> None:
    """Sets every group's rate to `factor` times its peak, and its momentum (SGD) or first beta (Adam)."""
    for group in optimizer.param_groups:
        group["lr"] = factor * group["peak"]
        if "betas" in group:
            group["betas"] = (momentum, group["betas"][1])
        else:
            group["momentum"] = momentum
