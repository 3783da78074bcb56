"""Cross-validates a metadata forest by two protocols, an optimistic one (BEFORE) and an honest one (INSIDE)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from imblearn.pipeline import Pipeline
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from chex.data.tables import ImageTable
from chex.errors import InputError
from chex.forest.metadata_forest import certain, features, forest, positive, positive_probability
from chex.forest.resampling import NEIGHBOURS, VARIANTS
from chex.reporting.console import ProgressCallback
from chex.runtime.rng import rng_for
from chex.schema.labels import OBSERVATIONS
from chex.statistics.metrics import Scores, observation_scores

BEFORE, INSIDE = "resampled before the split", "resampled inside training folds, folds by patient"
PROTOCOLS = (BEFORE, INSIDE)
RATES = np.linspace(0, 1, 201)
"""The false positive rates at which a fold's ROC curve is recorded."""

Splits = list[tuple[np.ndarray, np.ndarray]]
"""For each fold the rows to train on and the rows to test on, int64."""


@dataclass(frozen=True)
class Cases:
    """The data of a forest for one target: the rows whose label of the target is certain."""

    target: str
    features: np.ndarray
    """float32 (n, 15), see `chex.forest.metadata_forest.features`."""
    positive: np.ndarray
    """bool (n,): whether the target is positive; blank counts as negative."""
    patients: np.ndarray
    """str (n,): the patient of each row."""
    uncertain: int
    """The number of rows left out because their label is uncertain."""


@dataclass(frozen=True)
class Fold:
    """One fit and its test."""

    protocol: str
    """One of PROTOCOLS."""
    variant: str
    """A key of VARIANTS."""
    number: int
    """The number of the fold, from 1."""
    trained: int
    """The number of training rows: before resampling under INSIDE, after it under BEFORE."""
    tested: int
    positives: int
    """The number of positive rows among those tested."""
    scores: Scores
    curve: np.ndarray
    """float (201,): the true positive rate at each of RATES; NaN where the tested rows have one class."""
    importances: np.ndarray
    """float (15,): each feature's share of the decrease in impurity."""


def cases(records: ImageTable, rows: np.ndarray, target: str) -> Cases:
    """Returns the data of the certain rows among `rows`."""
    certain_rows = certain(records, rows, target)
    chosen = records.take(certain_rows)
    return Cases(
        target,
        features(chosen, target),
        positive(records, certain_rows, target),
        chosen.patients,
        uncertain=len(rows) - len(certain_rows),
    )


def patient_splits(data: Cases, folds: int, seed: int) -> Splits:
    """Returns folds by patient with about equal prevalence.

    Raises InputError where a class has fewer patients than there are folds, or too few rows for SMOTE in a fold.
    """
    for name, members in (("positives", data.positive), ("negatives", ~data.positive)):
        patients = len(np.unique(data.patients[members]))
        if patients < folds:
            fewer = " or fewer --folds" if patients > 1 else ""
            raise InputError(
                f"--target {data.target}: train.csv has {name} of {patients} patients and {folds} folds by patient "
                f"need {folds} at least; choose another target{fewer}"
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_random_state(seed, "patients", data.target))
    splits = list(splitter.split(data.features, data.positive, data.patients))
    _check_smote(data, splits)
    return splits


def _check_smote(data: Cases, splits: Splits) -> None:
    for number, (train, _) in enumerate(splits, start=1):
        positives = int(data.positive[train].sum())
        rarer = min(positives, len(train) - positives)
        if rarer <= NEIGHBOURS:
            name = "positive" if rarer == positives else "negative"
            raise InputError(
                f"--target {data.target}: fold {number} trains on {rarer} {name} rows of train.csv, and SMOTE with "
                f"{NEIGHBOURS} neighbours needs {NEIGHBOURS + 1} at least; choose another target"
            )


def cross_validate(data: Cases, splits: Splits, seed: int, progress: ProgressCallback) -> list[Fold]:
    """Fits and tests every variant under both protocols. Calls `progress` with (fits done, fits in all)."""
    total = len(PROTOCOLS) * len(VARIANTS) * len(splits)
    folds = []
    for fold in _fit_folds(data, splits, seed):
        folds.append(fold)
        progress(len(folds), total)
    return folds


def _fit_folds(data: Cases, splits: Splits, seed: int) -> Iterator[Fold]:
    for variant in VARIANTS:
        yield from inside_training_folds(data, variant, splits, seed)
        yield from before_the_split(data, variant, len(splits), seed)


def before_the_split(data: Cases, variant: str, folds: int, seed: int) -> Iterator[Fold]:
    """Yields folds of the protocol BEFORE: resample all rows, then split them at random, stratified by class.

    The source work (see chex.forest.forest_report) does so. It is optimistic: copies and neighbours of a row, and other
    images of its patient, are on both sides of a split.
    """
    pipeline = forest(variant, len(data.positive), seed, OBSERVATIONS.index(data.target))
    table, is_positive = pipeline[:-1].fit_resample(data.features, data.positive)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=_random_state(seed, "rows", data.target))
    for number, (train, test) in enumerate(splitter.split(table, is_positive), start=1):
        model = forest("plain", len(data.positive), seed, OBSERVATIONS.index(data.target), number)
        model.fit(table[train], is_positive[train])
        yield _test_fold(BEFORE, variant, number, model, len(train), table[test], is_positive[test])


def inside_training_folds(data: Cases, variant: str, splits: Splits, seed: int) -> Iterator[Fold]:
    """Yields folds of the protocol INSIDE: no patient is on both sides, and test rows are not resampled."""
    for number, (train, test) in enumerate(splits, start=1):
        model = forest(variant, len(train), seed, OBSERVATIONS.index(data.target), number)
        model.fit(data.features[train], data.positive[train])
        yield _test_fold(INSIDE, variant, number, model, len(train), data.features[test], data.positive[test])


def _test_fold(
    protocol: str, variant: str, number: int, model: Pipeline, trained: int, table: np.ndarray, is_positive: np.ndarray
) -> Fold:
    truth, probability = is_positive.astype(np.float32), positive_probability(model, table)
    return Fold(
        protocol,
        variant,
        number,
        trained,
        tested=len(truth),
        positives=int(is_positive.sum()),
        scores=observation_scores(truth, probability),
        curve=_roc_curve(truth, probability),
        importances=model[-1].feature_importances_,
    )


def _roc_curve(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    if len(np.unique(truth)) < 2:
        return np.full(len(RATES), np.nan)
    false_positives, true_positives, _ = roc_curve(truth, probability)
    curve: np.ndarray = np.interp(RATES, false_positives, true_positives)
    return curve


def _random_state(seed: int, purpose: str, target: str) -> int:
    return int(rng_for(seed, f"folds {purpose}", OBSERVATIONS.index(target)).integers(2**31))
