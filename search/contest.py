"""The choice of a search, made again in each bag of patients, and what it is worth on patients that did not make it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chex.figures import Estimate
from search.bags import Bags, scores, shares
from search.delong import Areas, bounded, standard_errors
from search.ledger import TrialRow
from search.selection import choose


@dataclass(frozen=True)
class Contest:
    """T trials with R reports, and what they reached in B bags."""

    trials: np.ndarray
    """int (T,): numbers, ascending."""
    knobs: tuple[Mapping[str, Any], ...]
    """(T,): each trial's."""
    finished: np.ndarray
    """bool (T,)."""
    bags: Bags
    kept: np.ndarray
    """int (B, T): the report that each trial keeps in each bag, a place among the R."""
    inside: np.ndarray
    """float (B, T): the metric of what is kept, in the bag."""
    winner: np.ndarray
    """int (B,): the report that wins in each bag."""


def contest(metric: Areas, trials: np.ndarray, rows: Sequence[TrialRow], bags: Bags) -> Contest:
    """The choice among reports with these AUROCs (R,) of these `trials` (R,), in each bag; `rows` has their trials."""
    inside = scores(metric, bags.inside)
    choice = choose(inside, trials)
    known = {row.number: row for row in rows}
    own = [known[number] for number in choice.trials.tolist()]
    return Contest(
        choice.trials,
        tuple(row.knobs for row in own),
        np.array([row.state == "finished" for row in own]),
        bags,
        choice.kept,
        np.take_along_axis(inside, choice.kept, axis=1),
        choice.winner,
    )


def scored_apart(outcome: Areas, chosen: np.ndarray, bags: Bags) -> np.ndarray:
    """float (B,): the AUROC of the report that is chosen in each bag (B,), by the bag's weights to score by."""
    apart: np.ndarray = outcome.auroc[chosen] + (bags.outside * outcome.influence[:, chosen].T).sum(axis=1)
    return apart


def corrected(held: Contest, metric: Areas) -> Estimate:
    """The AUROC to expect of the winner on new patients: the mean of what is chosen in a bag and scored apart from it.

    Its interval is DeLong's around that, with the influences of all that the bags chose, as often as they did.
    """
    mix = shares(held.winner, len(metric.auroc))
    error = standard_errors(metric.mixed(mix[:, None]))[0]
    return bounded(float(scored_apart(metric, held.winner, held.bags).mean()), float(error))
