"""The section `sampling` of a run's config."""

from typing import Literal

from pydantic import Field

from chex.schema.strict_model import Strict


class SamplingConfig(Strict):
    """How much of the training split a run trains on, and whether classes are balanced."""

    fraction: float = Field(1.0, gt=0, le=1)
    """The share of the rows that is used, after balancing."""
    by: Literal["image", "patient"] = "image"
    """What the fraction counts: rows, or patients with all of their rows."""
    balance: Literal["none", "oversample", "undersample"] = "none"
    """`oversample` repeats rows of the smaller class, `undersample` drops rows of the larger one."""
