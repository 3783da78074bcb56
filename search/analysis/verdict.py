"""The verdict on a search: what its trials prove."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from chex.errors import InputError
from chex.runtime.rng import rng_for
from chex.statistics.bootstrap import BootstrapScores, bootstrap_scores, draw_bootstrap
from chex.statistics.delong import auroc_influences
from chex.statistics.intervals import Estimate
from chex.statistics.metrics import has_both_classes
from search.analysis.best_set import BestSet, best_set, cheapest
from search.analysis.ensemble import Ensemble, Reports, ensemble
from search.analysis.importance import Importances, importances
from search.analysis.selection import best_report, candidates
from search.analysis.selection_bootstrap import debiased_auroc
from search.analysis.strategies import Strategies, search_strategies
from search.analysis.trial_aurocs import TrialAurocs, trial_aurocs
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder, load_trials
from search.space.param_paths import get_path
from search.space.space import Space
from search.trials.layout import STUDY
from search.trials.predictions import Predictions, load_predictions
from search.trials.trial import TrialRecord, winner

BACKBONE = "model.backbone"
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Verdict:
    """What a search proves. AUROCs are in [0, 1]; intervals are 95 % intervals unless stated otherwise."""

    observations: tuple[str, ...]
    positives: tuple[int, ...]
    """For each observation, the number of scored units that are positive."""
    units: int
    """The number of images or studies that were scored."""
    patients: int
    finished: int
    pruned: int
    failed: int
    unfinished: int
    """The number of trials that have started but not ended; none of them can be the winner yet."""
    reports: int
    """The number of reports from which the winner was chosen."""
    winner: int
    """The number of the winning trial."""
    naive_auroc: Estimate
    """The winner's AUROC on the images by which it was chosen, as in `trials`."""
    debiased_auroc: Estimate
    """The winner's expected AUROC on new patients, corrected for the selection."""
    trials: tuple[TrialAurocs, ...]
    """The trials that ended and did not fail, by number."""
    best_set: BestSet
    """The trials that may be the best, and the cheapest of them."""
    strategies: Strategies
    """What the trials prove about each parameter."""
    importances: Importances | None = None
    """None if not computed."""
    ensemble: Ensemble | None = None
    """None if not computed."""


def analyze(
    rows: Sequence[TrialRecord],
    predictions: Predictions,
    space: Space,
    base: Mapping[str, Any],
    seed: int,
    sizes: Mapping[str, int],
    tell: Tell = lambda _: None,
) -> Verdict | None:
    """Returns the verdict on `rows`, without importances and ensemble.

    `base`: the base run's value of each parameter of the space; `sizes`: how many weights each backbone has. Calls
    `tell` with what is being computed, in words. Returns None if no ended trial has a result, or if no observation has
    both positive and negative units.
    """
    places = candidates(rows, predictions.trials)
    columns = np.flatnonzero(has_both_classes(predictions.truth)).tolist()
    if len(places) == 0 or not columns:
        return None
    names = predictions.observations
    probability, trials = _select(predictions.probability, places), predictions.trials[places]
    draws = draw_bootstrap(len(np.unique(predictions.patients)), rng_for(seed, "bags"))

    tell(f"AUROC of {len(trials)} reports")
    areas = auroc_influences(predictions.truth, probability, predictions.patients, columns)
    metric = bootstrap_scores("mean", areas, draws)
    numbers = np.unique(trials).tolist()
    records = [row for row in rows if row.number in numbers]
    kept = np.array([best_report(row, trials, predictions.images[places]) for row in records])
    best_trial = winner(records)
    assert best_trial is not None  # `records` has only trials that may win
    tell(f"effects of {len(space)} parameters")
    influences = [
        auroc_influences(predictions.truth, probability[kept], predictions.patients, [column]).influence
        for column in columns
    ]
    table = search_strategies(records, space, [names[column] for column in columns], base, influences, seed)
    images = {row.number: row.images_seen for row in rows}
    tell(f"intervals of {len(numbers)} trials")
    aurocs = trial_aurocs(
        [(number, images[number]) for number in numbers],
        predictions.truth,
        probability[kept],
        predictions.patients,
    )
    naive_auroc = aurocs[numbers.index(best_trial.number)].auroc
    states = [row.state for row in rows]
    return Verdict(
        observations=names,
        positives=tuple((predictions.truth == 1).sum(axis=0).tolist()),
        units=len(predictions.truth),
        patients=draws.shape[1],
        finished=states.count("finished"),
        pruned=states.count("pruned"),
        failed=states.count("failed"),
        unfinished=states.count("pending") + states.count("running"),
        reports=len(places),
        winner=best_trial.number,
        naive_auroc=naive_auroc,
        debiased_auroc=debiased_auroc(metric, trials, naive_auroc),
        trials=aurocs,
        best_set=_ties(metric, kept, numbers, rows, sizes, seed),
        strategies=table,
    )


def analyze_search(
    search: SearchConfig, rows: Sequence[TrialRecord], folder: Path, tell: Tell = lambda _: None
) -> Verdict | None:
    """Returns `analyze`'s verdict on the trials `rows` of the search in `folder`."""
    space, run = search.search_space(), search.base.model_dump(mode="json")
    base = {path: get_path(run, path) for path in space}
    return analyze(rows, load_predictions(folder), space, base, search.base.seed, backbone_sizes(rows), tell)


def load_analyzed(folder: Path, tell: Tell = lambda _: None) -> Verdict:
    """Returns `analyze_search`'s verdict on the search in `folder`, complete or not, from the folder's files.

    Raises InputError if `folder` has no search, or if no trial has ended with a result.
    """
    search = load_search_folder(folder)
    if not (folder / STUDY).is_file():
        raise InputError(f"{folder}: no trial has started yet; continue it: chex-search resume {folder}")
    verdict = analyze_search(search, load_trials(search, folder), folder, tell)
    if verdict is None:
        raise InputError(
            f"{folder}: no trial has ended with a result; wait for the first, or continue it: "
            f"chex-search resume {folder}"
        )
    return verdict


def load_verdict(folder: Path, tell: Tell = lambda _: None) -> Verdict:
    """Returns the verdict of `load_analyzed` plus importances and ensemble. Raises the same errors."""
    verdict, search, predictions = load_analyzed(folder, tell), load_search_folder(folder), load_predictions(folder)
    rows, seed = load_trials(search, folder), search.base.seed
    tell("importances of parameters")
    params = {row.number: row.params for row in rows}
    shares = importances(params, verdict.strategies.final_aurocs, search.search_space(), seed)
    places, columns = candidates(rows, predictions.trials), has_both_classes(predictions.truth)
    reports = Reports(
        predictions.truth[:, columns],
        predictions.probability[places][:, :, columns],
        predictions.trials[places],
        predictions.images[places],
        predictions.patients,
    )
    chosen = ensemble(reports, rng_for(seed, "ensemble"), lambda bag, of: tell(f"ensembles: bag {bag + 1} of {of}"))
    return replace(verdict, importances=shares, ensemble=chosen)


def backbone_sizes(rows: Sequence[TrialRecord]) -> dict[str, int]:
    """Returns how many weights each backbone of a trial with a report has; timm may not know the other names."""
    names = {str(row.params[BACKBONE]) for row in rows if BACKBONE in row.params and row.reports}
    return {name: _count_parameters(name) for name in sorted(names)}


def _count_parameters(backbone: str) -> int:
    import timm  # slow, and only searches over backbones need it
    import torch

    with torch.device("meta"):  # no memory, no weights
        model = timm.create_model(backbone, pretrained=False, num_classes=0)
    return sum(weights.numel() for weights in model.parameters())


def _select(probability: np.ndarray, places: np.ndarray, columns: np.ndarray | None = None) -> np.ndarray:
    """Returns `probability` (R, U, K) of the reports `places` and the observations `columns` (None: all).

    Makes no copy if these are all, since the array may have gigabytes.
    """
    units = np.arange(probability.shape[1])
    selected = np.arange(probability.shape[2]) if columns is None else columns
    whole = (len(places), len(selected)) == probability.shape[::2]
    return probability if whole else probability[np.ix_(places, units, selected)]


def _ties(
    metric: BootstrapScores,
    kept: np.ndarray,
    numbers: Sequence[int],
    rows: Sequence[TrialRecord],
    sizes: Mapping[str, int],
    seed: int,
) -> BestSet:
    may_be_best = best_set(metric.areas.select(kept), rng_for(seed, "ties"))
    order = np.argsort(-metric.areas.auroc[kept], kind="stable")
    tied = tuple(numbers[place] for place in order if may_be_best[place])
    backbones = {row.number: str(row.params.get(BACKBONE, "")) for row in rows}
    images = {row.number: row.images_seen for row in rows}
    fewest = cheapest(tied, images, {number: sizes.get(backbones[number], 0) for number in tied})
    return BestSet(tied, len(numbers), fewest, images[fewest], backbones[fewest])
