"""What the trials of a search prove, and what they do not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chex.figures import Estimate
from search.ensemble import Ensemble
from search.importance import Importances
from search.ledger import TrialRow
from search.predictions import Predictions
from search.rivals import Rivalry
from search.ties import Ties


@dataclass(frozen=True)
class TrialFigures:
    """How good the weights are that one trial keeps, on the films that the search chose by."""

    trial: int
    images: int
    """Training images that the trial saw, to its end."""
    auroc: Estimate
    """Mean AUROC over the observations where it is defined; DeLong's interval, with patients as clusters."""
    bootstrap: Estimate
    """The same AUROC with a percentile interval of a bootstrap over patients."""
    observations: tuple[Estimate, ...]
    """Each observation's AUROC with DeLong's interval, in the order of Verdict.observations; NaN where undefined."""
    bootstraps: tuple[Estimate, ...]
    """The same with the bootstrap's intervals."""


@dataclass(frozen=True)
class Verdict:
    """What a search proved. AUROCs are in [0, 1]; all intervals are 95 % intervals unless they say otherwise."""

    observations: tuple[str, ...]
    positives: tuple[int, ...]
    """Scored units with each observation."""
    units: int
    """Films or studies that were scored."""
    patients: int
    finished: int
    stopped: int
    failed: int
    unfinished: int
    """Trials that have begun and not ended: nothing is chosen from them yet."""
    reports: int
    """Reports that the winner was chosen from."""
    winner: int
    """The trial whose weights win."""
    naive: Estimate
    """The winner's AUROC on the films that it was chosen by, and DeLong's interval around it."""
    corrected: Estimate
    """The winner's expected AUROC on new patients: corrected for its having been chosen."""
    trials: tuple[TrialFigures, ...]
    """Trials that ended and did not fail, by number."""
    ties: Ties
    """The trials that are not distinguishable from the best, and the cheapest of them."""
    rivals: tuple[Rivalry, ...]
    """Value against value, for each pair of values of each categorical knob, in the order of the space."""
    importances: Importances
    ensemble: Ensemble | None
    """None where one report alone was made."""


def judge(
    rows: Sequence[TrialRow],
    predictions: Predictions,
    knobs: Sequence[str],
    importances: Importances,
    seed: int,
    tell: Callable[[str], None] = lambda _: None,
) -> Verdict | None:
    """The verdict on the trials of `rows`; None where no trial that ended has a result.

    `knobs`: the paths of the categorical knobs whose values are compared; `tell` hears what is being computed.
    """
    raise NotImplementedError


def load_verdict(folder: Path, tell: Callable[[str], None] = lambda _: None) -> Verdict:
    """The verdict on the search in `folder`, at its end or as far as it has come, from the folder's files alone.

    Raises InputError where `folder` holds no search, or one of which no trial has ended with a result.
    """
    raise NotImplementedError
