"""What averaging the probabilities of several reports would gain over the winner."""

from dataclasses import dataclass

from chex.figures import Estimate


@dataclass(frozen=True)
class Member:
    """A report in an ensemble."""

    trial: int
    images: int
    """Training images at the report."""
    weight: float
    """Its share of the average; the shares sum to 1."""


@dataclass(frozen=True)
class Ensemble:
    """Greedy selection with replacement (Caruana et al. 2004), and the plain average of the best trials' reports."""

    members: tuple[Member, ...]
    """Heaviest first."""
    auroc: float
    """On the films that it was chosen by: optimistic."""
    gain: Estimate
    """Its AUROC minus the winner's, both chosen in each bag of patients and scored on the patients out of it."""
    top: int
    """How many trials' kept reports the plain average takes: the best 10, or all where there are fewer."""
    top_auroc: float
    top_gain: Estimate
    """As `gain`."""
