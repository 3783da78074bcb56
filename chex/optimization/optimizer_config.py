"""The section `optimizer` of a run's config."""

from typing import Literal

from pydantic import Field, model_validator

from chex.schema.strict_model import Strict


class OptimizerConfig(Strict):
    """The optimizer. Its learning rates are the highest that the schedule reaches."""

    name: Literal["adamw", "adam", "sgd"] = "adamw"
    lr: float = Field(2e-3, gt=0, le=10)
    """The learning rate of the head, and of all layers where `lr_stem` is blank."""
    lr_stem: float | None = Field(None, gt=0, le=10)
    """The learning rate of the first layer group; the groups up to the head follow at equal ratios."""
    weight_decay: float = Field(0.01, ge=0, le=10)
    momentum: float | None = Field(None, ge=0, lt=1)
    """The momentum of `name: sgd`, which replaces that of the schedule; blank: as in `lr_and_momentum`."""

    @model_validator(mode="after")
    def _check_lrs(self) -> "OptimizerConfig":
        check_lrs(self.lr_stem, self.lr)
        return self

    @model_validator(mode="after")
    def _check_momentum(self) -> "OptimizerConfig":
        if self.momentum is not None and self.name != "sgd":
            raise ValueError(
                f"momentum is {self.momentum:g}, but '{self.name}' has betas instead of a momentum; use name: sgd, or "
                "leave momentum blank"
            )
        return self


def check_lrs(low: float | None, high: float) -> None:
    """Raises ValueError where the learning rate of the first layer group is above that of the head."""
    if low is not None and low > high:
        raise ValueError(
            f"lr_stem {low:g} is above lr {high:g}; the first layers (lr_stem) may not learn faster than the head (lr)"
        )
