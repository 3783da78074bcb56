"""The policies: what the loss sees in place of an uncertain label (-1).

To add a policy, write a function from UncertainCells to UncertainTarget and add one `Policy` record to POLICIES.
Configs, searches and pages read POLICIES, so nothing else has to change. A policy that reads a probability table also
needs a field of its name in RelabelConfig, and a maker of its table in `chex relabel`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line reads POLICIES before anything heavy is imported
    import numpy as np

IRVIN = "Irvin et al. 2019, section 3"
PHAM = "Pham et al. 2021 (arXiv:1911.06475)"


@dataclass(frozen=True)
class UncertainCells:
    """The n uncertain labels of one observation, and what a policy may use to replace them."""

    count: int
    """The number n of these labels."""
    rng: "np.random.Generator"
    """A generator that depends only on the run's seed and the observation."""
    low: float
    high: float
    """The bounds that a smoothed policy draws between; 0 for the other policies."""
    probability: "np.ndarray"
    """float (n,): the probability in the policy's table that each is positive; empty for a policy without a table."""


@dataclass(frozen=True)
class UncertainTarget:
    """The targets of n uncertain cells. The fields mean what they do in Targets; float (n,), or one number for all."""

    value: "float | np.ndarray" = 0.0
    weight: float = 1.0
    uncertain_class: float = 0.0


@dataclass(frozen=True)
class Policy:
    """One policy. It replaces only uncertain labels: the targets of all other labels do not depend on it."""

    name: str
    """Its name in configs, searches and tables."""
    target: Callable[[UncertainCells], UncertainTarget]
    description: str
    """What an uncertain label becomes, in a few words for tables and pages."""
    source: str
    """Where the policy is described."""
    bounds: tuple[float, float] | None = None
    """The default bounds, in [0, 1], between which the policy draws targets; None: it draws none."""
    table_maker: str | None = None
    """The argument of `chex relabel` that makes the policy's probability table; None: the policy reads no table."""
    third_class: bool = False
    """Whether the network has outputs for the class uncertain (see chex.models.heads)."""
    drops_cells: bool = False
    """Whether uncertain cells have weight 0, so that an image with no other label trains nothing."""


def zeros(cells: UncertainCells) -> UncertainTarget:
    """Counts uncertain as negative."""
    return UncertainTarget(value=0)


def ones(cells: UncertainCells) -> UncertainTarget:
    """Counts uncertain as positive."""
    return UncertainTarget(value=1)


def ignore(cells: UncertainCells) -> UncertainTarget:
    """Leaves uncertain cells out of the loss; the image still trains its other observations."""
    return UncertainTarget(weight=0)


def multiclass(cells: UncertainCells) -> UncertainTarget:
    """Makes uncertain a third class beside positive and negative."""
    return UncertainTarget(uncertain_class=1)


def smoothed(cells: UncertainCells) -> UncertainTarget:
    """Draws the target of each uncertain cell uniformly between the bounds (label smoothing)."""
    return UncertainTarget(value=cells.rng.uniform(cells.low, cells.high, cells.count))


def from_table(cells: UncertainCells) -> UncertainTarget:
    """Takes the probability in the table as the target of each uncertain cell."""
    return UncertainTarget(value=cells.probability)


POLICIES: dict[str, Policy] = {
    policy.name: policy
    for policy in (
        Policy("zeros", zeros, "negative", f"U-Zeros of {IRVIN}"),
        Policy("ones", ones, "positive", f"U-Ones of {IRVIN}"),
        Policy("ignore", ignore, "left out of the loss", f"U-Ignore of {IRVIN}", drops_cells=True),
        Policy("multiclass", multiclass, "a third class", f"U-MultiClass of {IRVIN}", third_class=True),
        Policy("smoothed_zeros", smoothed, "a random value near negative", f"U-Zeros+LSR of {PHAM}", bounds=(0.0, 0.3)),
        Policy("smoothed_ones", smoothed, "a random value near positive", f"U-Ones+LSR of {PHAM}", bounds=(0.55, 0.85)),
        Policy(
            "self_trained",
            from_table,
            "the probability that a network trained on certain labels gives",
            f"U-SelfTrained of {IRVIN}",
            table_maker="teacher",
        ),
        Policy(
            "forest",
            from_table,
            "the probability that a random forest on sex, age and the other labels gives",
            "this project (chex.forest)",
            table_maker="forest",
        ),
    )
}
"""The policies by name. This table is the only list of policies."""

TABLE_POLICIES = tuple(policy.name for policy in POLICIES.values() if policy.table_maker)
"""The names of the policies that read a probability table."""
