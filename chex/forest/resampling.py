"""The variants of the metadata forest: how rows of the rarer class are resampled before a forest is fitted."""

from collections.abc import Callable
from typing import Any

import numpy as np
from imblearn import FunctionSampler
from imblearn.over_sampling import SMOTE, SMOTENC, RandomOverSampler
from scipy import sparse
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import OneHotEncoder

NEIGHBOURS = 5
"""The number of nearest rows of a class between which SMOTE and SMOTENC make new rows (Chawla et al. 2002)."""


CANDIDATES = 30_000
"""In a class of at most this many rows neighbours are exact; in a larger class they are sought among this many evenly
spaced rows. At CheXpert's size this affects observations whose two classes are both common, such as Support Devices."""


class DenseNeighbors(NearestNeighbors):
    """Finds nearest neighbours among CANDIDATES dense rows; sparse rows would take several times as long."""

    def fit(self, rows: Any, labels: Any = None) -> "DenseNeighbors":
        """Selects the candidates among `rows`, dense or sparse."""
        dense = _dense(rows)
        self.candidates_ = np.unique(np.linspace(0, len(dense) - 1, min(len(dense), CANDIDATES)).round().astype(int))
        super().fit(dense[self.candidates_])
        return self

    def kneighbors(self, rows: Any = None, n_neighbors: int | None = None, return_distance: bool = True) -> Any:
        """Returns positions among the fitted rows, like NearestNeighbors.kneighbors."""
        distances, found = super().kneighbors(None if rows is None else _dense(rows), n_neighbors)
        return (distances, self.candidates_[found]) if return_distance else self.candidates_[found]


class DenseOneHot(OneHotEncoder):
    """Decodes one-hot codes as a dense array, which at CheXpert's size takes a tenth of the time."""

    def inverse_transform(self, codes: Any) -> np.ndarray:
        """Returns the categories of `codes`, dense or sparse."""
        return np.asarray(super().inverse_transform(_dense(codes)))


def _dense(rows: Any) -> np.ndarray:
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows)


def _neighbours(algorithm: str) -> DenseNeighbors:
    # A row is its own first neighbour. With 15 columns a k-d tree is quicker than brute force, with SMOTENC's 50 or so
    # one-hot columns brute force is: 3 s of processor time against 17 s for 27,000 rows.
    return DenseNeighbors(n_neighbors=NEIGHBOURS + 1, algorithm=algorithm, n_jobs=-1)


def _plain(categorical: list[int], seed: int) -> FunctionSampler:
    return FunctionSampler()


def _oversampled(categorical: list[int], seed: int) -> RandomOverSampler:
    return RandomOverSampler(random_state=seed)


def _smotenc(categorical: list[int], seed: int) -> SMOTENC:
    encoder = DenseOneHot(handle_unknown="ignore", dtype=np.float32)
    return SMOTENC(categorical, random_state=seed, categorical_encoder=encoder, k_neighbors=_neighbours("brute"))


def _smote(categorical: list[int], seed: int) -> SMOTE:
    return SMOTE(random_state=seed, k_neighbors=_neighbours("kd_tree"))


VARIANTS: dict[str, Callable[[list[int], int], Any]] = {
    "plain": _plain,
    "oversampled": _oversampled,
    "SMOTENC": _smotenc,
    "SMOTE": _smote,
}
"""The variants: functions from the categorical columns and a seed below 2**32 to an imbalanced-learn sampler. `plain`
does not resample, `oversampled` repeats rows of the rarer class until both are equal, the SMOTEs make new rows between
neighbours: SMOTENC takes each label and sex from their majority, SMOTE treats all columns as numbers."""
