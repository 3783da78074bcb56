"""What the trials of a search prove, and what they do not."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import timm
import torch
from optuna.distributions import CategoricalDistribution

from chex.bags import Outcome, draw, outcome
from chex.delong import areas
from chex.errors import InputError
from chex.intervals import Estimate
from chex.metrics import defined
from chex.seeds import stream
from search.book import BOOK, read_book
from search.contest import contest, corrected
from search.ensemble import Ensemble, Reports, ensemble
from search.importance import Importances, importances
from search.ledger import TrialRow, winner
from search.predictions import Predictions, load_predictions
from search.rivals import Rivalry, pairs_tested, rivalries
from search.selection import candidates, kept_report
from search.space import Space
from search.study import load_begun, rows_of
from search.ties import Ties, cheapest, maybe_best
from search.trial_figures import TrialFigures, trial_figures

BACKBONE, POLICY = "model.backbone", "policy."
Tell = Callable[[str], None]


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
    """The winner's AUROC on the films that it was chosen by: that of its own entry in `trials`."""
    corrected: Estimate
    """The winner's expected AUROC on new patients: corrected for its having been chosen."""
    trials: tuple[TrialFigures, ...]
    """Trials that ended and did not fail, by number."""
    ties: Ties
    """The trials that are not distinguishable from the best, and the cheapest of them."""
    rivals: tuple[Rivalry, ...]
    """Value against value, for each pair of values of each categorical knob, in the order of the space."""
    importances: Importances | None = None
    """None where they were not asked for."""
    ensemble: Ensemble | None = None
    """None where it was not asked for."""


def judge(
    rows: Sequence[TrialRow],
    predictions: Predictions,
    knobs: Sequence[str],
    seed: int,
    sizes: Mapping[str, int],
    tell: Tell = lambda _: None,
) -> Verdict | None:
    """The verdict on the trials of `rows`, without importances and ensemble; None where none that ended has a result.

    `knobs`: the paths of the categorical knobs whose values are compared; `sizes`: the parameters of each backbone;
    `tell` hears what is being computed.
    """
    places = candidates(rows, predictions.trials)
    columns = np.flatnonzero(defined(predictions.truth)).tolist()
    if len(places) == 0 or not columns:
        return None
    names = predictions.observations
    given, trials = _part(predictions.probability, places), predictions.trials[places]
    drawn = draw(len(np.unique(predictions.patients)), stream(seed, "bags"))

    def compared(name: str, those: Sequence[int]) -> Outcome:
        tell(f"AUROC of {len(trials)} reports, {name}")
        return outcome(name, areas(predictions.truth, given, predictions.patients, those), drawn)

    metric = compared("mean", columns)
    numbers = np.unique(trials).tolist()
    chosen_from = [row for row in rows if row.number in numbers]
    kept = np.array([kept_report(row, trials, predictions.images[places]) for row in chosen_from])
    leader = winner(chosen_from)
    assert leader is not None  # each of them may win
    held = contest(metric, trials, rows)
    rivals: list[Rivalry] = []
    tests = sum(pairs_tested(held, knob) for knob in knobs)
    for knob in knobs:
        tell(f"values of {knob}")
        about = names.index(own) if (own := knob.removeprefix(POLICY)) in names else -1
        rivals += rivalries(held, knob, compared(own, [about]) if about in columns else metric, tests)
    images = {row.number: row.images for row in rows}
    tell(f"intervals of {len(numbers)} trials")
    figures = trial_figures(
        [(number, images[number]) for number in numbers],
        predictions.truth,
        given[kept],
        predictions.patients,
    )
    naive = figures[numbers.index(leader.number)].auroc
    states = [row.state for row in rows]
    return Verdict(
        observations=names,
        positives=tuple((predictions.truth == 1).sum(axis=0).tolist()),
        units=len(predictions.truth),
        patients=drawn.shape[1],
        finished=states.count("finished"),
        stopped=states.count("stopped"),
        failed=states.count("failed"),
        unfinished=states.count("waiting") + states.count("running"),
        reports=len(places),
        winner=leader.number,
        naive=naive,
        corrected=corrected(held, metric, naive),
        trials=figures,
        ties=_ties(metric, kept, numbers, rows, sizes, seed),
        rivals=tuple(rivals),
    )


def load_judged(folder: Path, tell: Tell = lambda _: None) -> Verdict:
    """The verdict on the search in `folder`, at its end or as far as it has come, from the folder's files alone.

    It is `judge`'s. Raises InputError where `folder` holds no search, or one of which no trial has ended with a result.
    """
    search = load_begun(folder)
    if not (folder / BOOK).is_file():
        raise InputError(f"{folder}: no trial has begun yet; go on with it: chex-search resume {folder}")
    rows = rows_of(search, folder)
    predictions, sizes = load_predictions(folder), backbone_sizes(rows)
    verdict = judge(rows, predictions, categorical(search.knobs()), search.base.seed, sizes, tell)
    if verdict is None:
        raise InputError(
            f"{folder}: no trial has ended with a result; wait for the first, or go on with it: "
            f"chex-search resume {folder}"
        )
    return verdict


def load_verdict(folder: Path, tell: Tell = lambda _: None) -> Verdict:
    """As `load_judged`, with importances and ensemble."""
    verdict, search, predictions = load_judged(folder, tell), load_begun(folder), load_predictions(folder)
    with read_book(folder, search.knobs()) as book:
        rows, history = book.rows(), book.history()
    seed = search.base.seed
    tell("importances of knobs")
    shares = importances(history, seed)
    places, columns = candidates(rows, predictions.trials), defined(predictions.truth)
    reports = Reports(
        predictions.truth[:, columns],
        predictions.probability[places][:, :, columns],
        predictions.trials[places],
        predictions.images[places],
        predictions.patients,
    )
    chosen = ensemble(reports, stream(seed, "ensemble"), lambda bag, of: tell(f"ensembles: bag {bag + 1} of {of}"))
    return replace(verdict, importances=shares, ensemble=chosen)


def categorical(space: Space) -> list[str]:
    """The paths of knobs with values to compare."""
    domains = {path: knob.domain for path, knob in space.items()}
    return [
        path
        for path, domain in domains.items()
        if isinstance(domain, CategoricalDistribution) and len(domain.choices) > 1
    ]


def backbone_sizes(rows: Sequence[TrialRow]) -> dict[str, int]:
    """The number of parameters of each backbone that the trials with a report vary; others may not exist."""
    names = {str(row.knobs[BACKBONE]) for row in rows if BACKBONE in row.knobs and row.reports}
    return {name: _size(name) for name in sorted(names)}


def _size(backbone: str) -> int:
    with torch.device("meta"):  # no memory, no weights
        model = timm.create_model(backbone, pretrained=False, num_classes=0)
    return sum(weights.numel() for weights in model.parameters())


def _part(probability: np.ndarray, places: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Some reports and observations; what is all of them is not copied, since there may be gigabytes."""
    units = np.arange(probability.shape[1])
    own = np.arange(probability.shape[2]) if columns is None else columns
    whole = (len(places), len(own)) == probability.shape[::2]
    return probability if whole else probability[np.ix_(places, units, own)]


def _ties(
    metric: Outcome,
    kept: np.ndarray,
    numbers: Sequence[int],
    rows: Sequence[TrialRow],
    sizes: Mapping[str, int],
    seed: int,
) -> Ties:
    there = maybe_best(metric.areas.of(kept), stream(seed, "ties"))
    order = np.argsort(-metric.areas.auroc[kept], kind="stable")
    tied = tuple(numbers[place] for place in order if there[place])
    backbones = {row.number: str(row.knobs.get(BACKBONE, "")) for row in rows}
    images = {row.number: row.images for row in rows}
    least = cheapest(tied, images, {number: sizes.get(backbones[number], 0) for number in tied})
    return Ties(tied, len(numbers), least, images[least], backbones[least])
