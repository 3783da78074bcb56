"""Splits a tree by patient: which images a run may train on, and which images or studies it is scored on."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.data.data_config import DataConfig
from chex.data.tables import ImageTable, Tree
from chex.errors import InputError
from chex.runtime.rng import rng_for
from chex.statistics.metrics import has_both_classes
from chex.uncertainty.targets import truth


@dataclass(frozen=True)
class EvaluationSet:
    """The V validation images, and the U units that are scored: images, or studies with their highest probability."""

    images: np.ndarray
    """int64 (V,): the rows of the images among all images of the tree, where train.csv's come first."""
    unit_of_image: np.ndarray
    """int64 (V,): the unit that each image belongs to."""
    paths: np.ndarray
    """str (U,): the path of the image, or the folder of the study."""
    patients: np.ndarray
    """str (U,): the patient of each unit."""
    truth: np.ndarray
    """float32 (U, K): 1, 0 or NaN (not scored)."""

    def digest(self, observations: Sequence[str]) -> str:
        """Returns a fingerprint of what probabilities are scored on: units, patients and truth of `observations`."""
        return labels_digest(observations, self.paths, self.patients, self.truth)

    def max_over_study(self, probability: np.ndarray) -> np.ndarray:
        """Returns the highest probability of each unit's images: (U, K) from (V, K)."""
        highest = np.full((len(self.paths), probability.shape[1]), -np.inf, dtype=probability.dtype)
        np.maximum.at(highest, self.unit_of_image, probability)
        return highest


def labels_digest(observations: Sequence[str], paths: np.ndarray, patients: np.ndarray, truth: np.ndarray) -> str:
    """Returns a fingerprint of paths, str (U,), patients, str (U,), and truth, float32 (U, K).

    It is the same in every process.
    """
    content = hashlib.sha256("\n".join([*observations, "", *paths, "", *patients]).encode())
    content.update(np.ascontiguousarray(truth, dtype=np.float32).tobytes())
    return content.hexdigest()[:16]


@dataclass(frozen=True)
class Split:
    """The training rows and the evaluation set; no patient is in both."""

    rows: np.ndarray
    """int64 (M,): rows of train.csv that may be trained on, ascending."""
    held_out: np.ndarray
    """int64 (held out,): rows of train.csv of held-out patients, any view; empty without data.holdout_fraction."""
    scored: EvaluationSet


def split(tree: Tree, config: DataConfig) -> Split:
    """Returns the split that `config` describes.

    The evaluation set is valid.csv, or a fraction of train.csv's patients. Its uncertain cells are not scored. Raises
    InputError where no image is left to train on or to score, and where no observation has both classes to score.
    """
    held_out = _held_out_rows(tree.train, config)
    has_view = _has_view(tree.train, config)
    rows = np.flatnonzero(has_view & ~held_out)
    if config.holdout_fraction is None:
        chosen = np.flatnonzero(_has_view(tree.valid, config))
        records, images = tree.valid.take(chosen), len(tree.train) + chosen
    else:
        images = np.flatnonzero(has_view & held_out)
        records = tree.train.take(images)
    for side, count in (("to train on", len(rows)), ("to score", len(records))):
        if count == 0:
            raise InputError(
                f"data.views: '{config.views}' leaves no images {side} in {tree.root}; use data.views=all or another "
                "tree"
            )
    scored = _evaluation_set(records, images, config)
    _check_scored(scored, tree, config)
    return Split(rows, np.flatnonzero(held_out), scored)


def _has_view(table: ImageTable, config: DataConfig) -> np.ndarray:
    if config.views == "all":
        return np.ones(len(table), dtype=bool)
    return table.frontal == (config.views == "frontal")


def _held_out_rows(train: ImageTable, config: DataConfig) -> np.ndarray:
    if config.holdout_fraction is None:
        return np.zeros(len(train), dtype=bool)
    patients = np.unique(train.patients)
    count = round(config.holdout_fraction * len(patients))
    if not 0 < count < len(patients):
        raise InputError(
            f"data.holdout_fraction: {config.holdout_fraction} of {len(patients)} patients holds out {count}; at least "
            "one patient must be held out and one left: change the fraction"
        )
    drawn = rng_for(config.split_seed, "holdout").choice(patients, size=count, replace=False)
    return np.isin(train.patients, drawn)


def _evaluation_set(records: ImageTable, images: np.ndarray, config: DataConfig) -> EvaluationSet:
    labels = truth(records.labels, config.observations)
    if config.eval_unit == "image":
        return EvaluationSet(images, np.arange(len(images)), records.paths, records.patients, labels)
    studies, first, unit = np.unique(records.studies, return_index=True, return_inverse=True)
    highest = np.full((len(studies), labels.shape[1]), np.nan, dtype=np.float32)
    np.fmax.at(highest, unit, labels)  # NaN only where all images of the study are uncertain
    return EvaluationSet(images, unit, studies, records.patients[first], highest)


def _check_scored(scored: EvaluationSet, tree: Tree, config: DataConfig) -> None:
    if has_both_classes(scored.truth).any():
        return
    where = (
        tree.root / "valid.csv"
        if config.holdout_fraction is None
        else f"data.holdout_fraction: {config.holdout_fraction} of {tree.root}"
    )
    unit = {"image": "images", "study": "studies"}[config.eval_unit]
    raise InputError(
        f"{where}: AUROC is undefined for {', '.join(config.observations)}, because the {len(scored.paths):,} "
        f"validation {unit} have only one class; choose data.observations with positives and negatives there"
    )
