"""Two ways to cross-validate a metadata forest: one that is optimistic, and one that is honest."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from imblearn.pipeline import Pipeline
from sklearn.metrics import roc_curve
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from chex.console import Advance
from chex.errors import InputError
from chex.forest import certain, features, forest, positive, positive_probability
from chex.labels import OBSERVATIONS
from chex.metrics import Scores, score
from chex.records import Records
from chex.resampling import NEIGHBOURS, VARIANTS
from chex.seeds import stream

BEFORE, INSIDE = "resampled before the split", "resampled inside training folds, folds by patient"
PROTOCOLS = (BEFORE, INSIDE)
RATES = np.linspace(0, 1, 201)
"""False positive rates at which a fold's ROC curve is kept."""

Splits = list[tuple[np.ndarray, np.ndarray]]
"""Per fold the rows to train on and those to test on, int64."""


@dataclass(frozen=True)
class Cases:
    """What a forest for one target learns from and is tested on: the rows whose label of it is certain."""

    target: str
    features: np.ndarray
    """float32 (n, 15), as `chex.forest.features`."""
    positive: np.ndarray
    """bool (n,)."""
    patients: np.ndarray
    """str (n,)."""
    uncertain: int
    """How many rows were left out because their label is uncertain."""


@dataclass(frozen=True)
class Fold:
    """One fit and its test."""

    protocol: str
    variant: str
    number: int
    """From 1."""
    trained: int
    """Rows of the training part; under INSIDE before they are resampled, under BEFORE after it."""
    tested: int
    positives: int
    """Positive rows among those tested."""
    scores: Scores
    curve: np.ndarray
    """float (201,): the true positive rate at each of RATES; NaN where the tested rows have one class."""
    importances: np.ndarray
    """float (15,): each feature's share of the decrease in impurity."""


def cases(records: Records, rows: np.ndarray, target: str) -> Cases:
    """The certain ones among `rows`."""
    known = certain(records, rows, target)
    chosen = records.take(known)
    return Cases(
        target,
        features(chosen, target),
        positive(records, known, target),
        chosen.patients,
        uncertain=len(rows) - len(known),
    )


def patient_splits(known: Cases, folds: int, seed: int) -> Splits:
    """Folds by patient of about equal prevalence.

    Raises InputError where a class has fewer patients than there are folds, or too few rows for SMOTE in a fold.
    """
    for name, members in (("positives", known.positive), ("negatives", ~known.positive)):
        patients = len(np.unique(known.patients[members]))
        if patients < folds:
            fewer = " or fewer --folds" if patients > 1 else ""
            raise InputError(
                f"--target {known.target}: train.csv has {name} of {patients} patients and {folds} folds by patient "
                f"need {folds} at least; choose another target{fewer}"
            )
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=_number(seed, "patients", known.target))
    splits = list(splitter.split(known.features, known.positive, known.patients))
    _check_neighbours(known, splits)
    return splits


def _check_neighbours(known: Cases, splits: Splits) -> None:
    for number, (train, _) in enumerate(splits, start=1):
        positives = int(known.positive[train].sum())
        rarer = min(positives, len(train) - positives)
        if rarer <= NEIGHBOURS:
            name = "positive" if rarer == positives else "negative"
            raise InputError(
                f"--target {known.target}: fold {number} trains on {rarer} {name} rows of train.csv, and SMOTE with "
                f"{NEIGHBOURS} neighbours needs {NEIGHBOURS + 1} at least; choose another target"
            )


def cross_validate(known: Cases, splits: Splits, seed: int, progress: Advance) -> list[Fold]:
    """Every variant under both protocols, `BEFORE` with as many folds as `splits`; progress: (fits done, in all)."""
    total = len(PROTOCOLS) * len(VARIANTS) * len(splits)
    folds = []
    for fold in _all_folds(known, splits, seed):
        folds.append(fold)
        progress(len(folds), total)
    return folds


def _all_folds(known: Cases, splits: Splits, seed: int) -> Iterator[Fold]:
    for variant in VARIANTS:
        yield from inside_training_folds(known, variant, splits, seed)
        yield from before_the_split(known, variant, len(splits), seed)


def before_the_split(known: Cases, variant: str, folds: int, seed: int) -> Iterator[Fold]:
    """The source work's protocol: resample all rows, then split them at random, stratified, patients regardless.

    Optimistic: copies and neighbours of a row, and other films of its patient, are on both sides of a split.
    """
    whole = forest(variant, len(known.positive), seed, OBSERVATIONS.index(known.target))
    table, is_positive = whole[:-1].fit_resample(known.features, known.positive)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=_number(seed, "rows", known.target))
    for number, (train, test) in enumerate(splitter.split(table, is_positive), start=1):
        model = forest("plain", len(known.positive), seed, OBSERVATIONS.index(known.target), number)
        model.fit(table[train], is_positive[train])
        yield _tested(BEFORE, variant, number, model, len(train), table[test], is_positive[test])


def inside_training_folds(known: Cases, variant: str, splits: Splits, seed: int) -> Iterator[Fold]:
    """The honest protocol: no patient on both sides, and test rows as they are in the table."""
    for number, (train, test) in enumerate(splits, start=1):
        model = forest(variant, len(train), seed, OBSERVATIONS.index(known.target), number)
        model.fit(known.features[train], known.positive[train])
        yield _tested(INSIDE, variant, number, model, len(train), known.features[test], known.positive[test])


def _tested(
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
        scores=score(truth, probability),
        curve=_curve(truth, probability),
        importances=model[-1].feature_importances_,
    )


def _curve(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    if len(np.unique(truth)) < 2:
        return np.full(len(RATES), np.nan)
    false_positives, true_positives, _ = roc_curve(truth, probability)
    curve: np.ndarray = np.interp(RATES, false_positives, true_positives)
    return curve


def _number(seed: int, purpose: str, target: str) -> int:
    return int(stream(seed, f"folds {purpose}", OBSERVATIONS.index(target)).integers(2**31))
