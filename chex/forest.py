"""The metadata forest: an observation's label from sex, age and the other 13 observations' labels, without pixels."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from imblearn.pipeline import Pipeline
from sklearn.ensemble import RandomForestClassifier
from sklearn.impute import SimpleImputer

from chex.console import Advance
from chex.errors import InputError
from chex.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.processors import usable_cpus
from chex.records import Records
from chex.resampling import VARIANTS
from chex.seeds import stream

# Measured for Cardiomegaly on a phantom table of the published size, trained on 80 % of the patients and scored on the
# others. 50 trees of leaves of 1, 5 and 20 rows reach ROC-AUC .772, .832 and .838, and 100 trees of 20 rows .838. Trees
# that each draw 30 % of the rows, with leaves of 10, reach .838 too, in 1.1 s against 1.9 s; and with random
# oversampling .837 in 1.6 s, where leaves of 20 and all rows reach .836 in 3.4 s. Small tables need all their rows.
TREES, LEAF = 50, 10

ROWS_A_TREE = 60_000
"""A tree's bootstrap sample has as many rows as there are to learn from; of a table of more than this, before
resampling, it has the same share that this is of the table."""

# Codes 0 to 3 in this order, because more of it means more suspicion. One-hot codes reach .838 as well, in 1.3 s.
SUSPICION = (NEGATIVE, BLANK, UNCERTAIN, POSITIVE)
SEXES = {"Female": 0.0, "Male": 2.0}
OTHER_SEX = 1.0


def feature_names(target: str) -> tuple[str, ...]:
    """The columns of `features`: the other observations, Sex, Age."""
    return (*(name for name in OBSERVATIONS if name != target), "Sex", "Age")


def features(records: Records, target: str) -> np.ndarray:
    """float32 (N, 15): the other labels as 0 negative, 1 blank, 2 uncertain, 3 positive; sex as 0 female, 2 male, 1
    neither of them; age in years, NaN where missing."""
    others = np.delete(records.labels, OBSERVATIONS.index(target), axis=1)
    codes = np.select([others == label for label in SUSPICION], list(range(len(SUSPICION))))
    sexes = np.select([records.sexes == sex for sex in SEXES], list(SEXES.values()), default=OTHER_SEX)
    return np.column_stack([codes, sexes, records.ages]).astype(np.float32)


def certain(records: Records, rows: np.ndarray, target: str) -> np.ndarray:
    """int64: those of `rows` whose label of `target` is not uncertain."""
    return rows[records.labels[rows, OBSERVATIONS.index(target)] != UNCERTAIN]


def positive(records: Records, rows: np.ndarray, target: str) -> np.ndarray:
    """bool (len(rows),): `target` is positive; blank counts as negative."""
    return np.asarray(records.labels[rows, OBSERVATIONS.index(target)] == POSITIVE)


def forest(variant: str, rows: int, seed: int, *keys: int) -> Pipeline:
    """An unfitted pipeline of three steps for `rows` rows: missing ages become the median, the sampler, the forest.

    What it learns, the median included, it learns from the rows that it is fitted on; the sampler acts in fitting only.
    """
    categorical = list(range(len(OBSERVATIONS)))  # 13 labels and sex; age is the last column
    resampling, growing = (int(stream(seed, purpose, *keys).integers(2**31)) for purpose in ("resample", "forest"))
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
    """float32 (N,): what a fitted pipeline, or a part of one, says of the rows of `table`.

    Several threads each take a share of the rows. A forest's own threads share the trees and add their votes in the
    order in which they finish, which moves the last bits from run to run.
    """
    model[-1].set_params(n_jobs=1)
    column = list(model.classes_).index(True)
    threads = usable_cpus()
    shares = [share for share in np.array_split(table, threads) if len(share)]
    with ThreadPoolExecutor(threads) as pool:
        voted = list(pool.map(lambda share: model.predict_proba(share)[:, column], shares))
    return np.concatenate([*voted, np.zeros(0)]).astype(np.float32)


def forest_probabilities(
    records: Records, rows: np.ndarray, observations: tuple[str, ...], seed: int, progress: Advance
) -> np.ndarray:
    """float32 (N, K): how likely each uncertain cell of `rows` is positive; NaN in all other cells.

    N is len(records), K the number of `observations`, `rows` are int64 training rows: a plain forest per observation
    learns from its certain cells in them and from nothing else. Plain, because resampling inflates probabilities.
    `progress` is told (fits done, fits in all). Raises InputError where an observation has uncertain cells and certain
    ones of one class only.
    """
    for name in observations:
        _check_classes(records, rows, name)
    probabilities = np.full((len(records), len(observations)), np.nan, np.float32)
    for column, name in enumerate(observations):
        asked = np.setdiff1d(rows, certain(records, rows, name))
        if len(asked):
            probabilities[asked, column] = _judged(records, certain(records, rows, name), asked, name, seed)
        progress(column + 1, len(observations))
    return probabilities


def _judged(records: Records, known: np.ndarray, asked: np.ndarray, name: str, seed: int) -> np.ndarray:
    model = forest("plain", len(known), seed, OBSERVATIONS.index(name))
    model.fit(features(records.take(known), name), positive(records, known, name))
    return positive_probability(model, features(records.take(asked), name))


def _check_classes(records: Records, rows: np.ndarray, name: str) -> None:
    known = certain(records, rows, name)
    is_positive = positive(records, known, name)
    if len(known) < len(rows) and (is_positive.all() or not is_positive.any()):
        lacking = "positive" if not is_positive.any() else "negative"
        raise InputError(
            f"metadata forest: of the {len(known)} training rows whose label of {name} is certain none is {lacking}, "
            "and a forest learns from both; leave this observation out or give more training rows"
        )
