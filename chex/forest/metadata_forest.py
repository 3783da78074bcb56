"""The metadata forest: predicts the label of an observation from sex, age and the other 13 labels, without pixels."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from imblearn.pipeline import Pipeline
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer

from chex.data.tables import ImageTable
from chex.errors import InputError
from chex.forest.resampling import VARIANTS
from chex.reporting.console import ProgressCallback
from chex.runtime.cpu_count import usable_cpus
from chex.runtime.rng import rng_for
from chex.schema.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

# Measured for Cardiomegaly on a phantom table of the published size, trained on 80 % of the patients and scored on the
# others. 50 trees of leaves of 1, 5 and 20 rows reach ROC-AUC .772, .832 and .838, and 100 trees of 20 rows .838. Trees
# that each draw 30 % of the rows, with leaves of 10, reach .838 too, in 1.1 s against 1.9 s; and with random
# oversampling .837 in 1.6 s, where leaves of 20 and all rows reach .836 in 3.4 s. Small tables need all their rows.
TREES, LEAF = 50, 10

ROWS_A_TREE = 60_000
"""The largest bootstrap sample of a tree. If a table has more rows before resampling, each tree draws the fraction
ROWS_A_TREE / rows of the rows after resampling."""

# A label's code is its position here, by rising suspicion. One-hot codes reach .838 as well, in 1.3 s.
SUSPICION = (NEGATIVE, BLANK, UNCERTAIN, POSITIVE)
SEXES = {"Female": 0.0, "Male": 2.0}
OTHER_SEX = 1.0


def feature_names(target: str) -> tuple[str, ...]:
    """Returns the names of the columns of `features`: the other observations, Sex, Age."""
    return (*(name for name in OBSERVATIONS if name != target), "Sex", "Age")


def features(records: ImageTable, target: str) -> np.ndarray:
    """Returns the features of each row, float32 (N, 15).

    They are the other labels (0 negative, 1 blank, 2 uncertain, 3 positive), sex (0 female, 1 other, 2 male), and age
    in years, NaN where missing.
    """
    others = np.delete(records.labels, OBSERVATIONS.index(target), axis=1)
    codes = np.select([others == label for label in SUSPICION], list(range(len(SUSPICION))))
    sexes = np.select([records.sexes == sex for sex in SEXES], list(SEXES.values()), default=OTHER_SEX)
    return np.column_stack([codes, sexes, records.ages]).astype(np.float32)


def certain(records: ImageTable, rows: np.ndarray, target: str) -> np.ndarray:
    """Returns the `rows` whose label of `target` is not uncertain, int64."""
    return rows[records.labels[rows, OBSERVATIONS.index(target)] != UNCERTAIN]


def positive(records: ImageTable, rows: np.ndarray, target: str) -> np.ndarray:
    """Returns whether `target` is positive in each of `rows`; blank counts as negative."""
    return np.asarray(records.labels[rows, OBSERVATIONS.index(target)] == POSITIVE)


def forest(variant: str, rows: int, seed: int, *keys: int) -> Pipeline:
    """Returns an unfitted pipeline for `rows` rows, which imputes missing ages, resamples, and fits a forest.

    A missing age becomes the median of the rows that the pipeline is fitted on. Resampling is part of fitting only.
    """
    categorical = list(range(len(OBSERVATIONS)))  # 13 labels and sex; age is the last column
    resampling, growing = (int(rng_for(seed, purpose, *keys).integers(2**31)) for purpose in ("resample", "forest"))
    share = min(1.0, ROWS_A_TREE / rows)
    trees = RandomForestClassifier(TREES, min_samples_leaf=LEAF, max_samples=share, n_jobs=-1, random_state=growing)
    return Pipeline(
        [
            ("ages", SimpleImputer(strategy="median", keep_empty_features=True)),
            ("sampler", VARIANTS[variant](categorical, resampling)),
            ("forest", trees),
        ]
    )


def positive_probability(model: Pipeline, table: np.ndarray) -> np.ndarray:
    """Returns the probability that each row of `table` is positive, float32 (N,); `model` is a fitted pipeline.

    Each thread takes a part of the rows. The threads of scikit-learn each take a part of the trees and add votes in the
    order in which they finish, so their sums differ in the last bits from run to run.
    """
    model[-1].set_params(n_jobs=1)
    column = list(model.classes_).index(True)
    threads = usable_cpus()
    parts = [part for part in np.array_split(table, threads) if len(part)]
    with ThreadPoolExecutor(threads) as pool:
        probabilities = list(pool.map(lambda part: model.predict_proba(part)[:, column], parts))
    return np.concatenate([*probabilities, np.zeros(0)]).astype(np.float32)


def forest_probabilities(
    records: ImageTable, rows: np.ndarray, observations: tuple[str, ...], seed: int, progress: ProgressCallback
) -> np.ndarray:
    """Returns the probability of each uncertain cell of `rows`, float32 (N, K), NaN in all other cells.

    N is len(records), and `rows` are int64 training rows. One forest per observation is fitted on its certain cells in
    these rows. It is the plain variant, because resampling inflates probabilities. Calls `progress` with (fits done,
    fits in all). Raises InputError where an observation has uncertain cells and certain cells of a single class.
    """
    for name in observations:
        _check_classes(records, rows, name)
    probabilities = np.full((len(records), len(observations)), np.nan, np.float32)
    for column, name in enumerate(observations):
        uncertain = np.setdiff1d(rows, certain(records, rows, name))
        if len(uncertain):
            probabilities[uncertain, column] = _predict(records, certain(records, rows, name), uncertain, name, seed)
        progress(column + 1, len(observations))
    return probabilities


def _predict(records: ImageTable, known: np.ndarray, uncertain: np.ndarray, name: str, seed: int) -> np.ndarray:
    model = forest("plain", len(known), seed, OBSERVATIONS.index(name))
    model.fit(features(records.take(known), name), positive(records, known, name))
    return positive_probability(model, features(records.take(uncertain), name))


def _check_classes(records: ImageTable, rows: np.ndarray, name: str) -> None:
    known = certain(records, rows, name)
    is_positive = positive(records, known, name)
    if len(known) < len(rows) and (is_positive.all() or not is_positive.any()):
        lacking = "positive" if not is_positive.any() else "negative"
        raise InputError(
            f"metadata forest: of the {len(known)} training rows whose label of {name} is certain none is {lacking}, "
            "and a forest learns from both; leave this observation out or give more training rows"
        )
