"""Which films a run may train on, which it is scored on, and what counts once there."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chex.errors import InputError
from chex.metrics import defined
from chex.records import DataConfig, Records, Tree
from chex.seeds import stream
from chex.uncertainty import truth


@dataclass(frozen=True)
class Scored:
    """The validation films (V) and the units (U) that are scored: films, or studies with the highest of their films."""

    films: np.ndarray
    """int64 (V,): rows among all films of the tree, train's first."""
    unit: np.ndarray
    """int64 (V,): the unit that each film belongs to."""
    paths: np.ndarray
    """str (U,): the film's path, or the study's folder."""
    patients: np.ndarray
    """str (U,)."""
    truth: np.ndarray
    """float32 (U, K): 1, 0 or NaN (not scored)."""

    def digest(self, observations: Sequence[str]) -> str:
        """A fingerprint of whom and what probabilities are scored on: units, patients, truth of `observations`."""
        return labels_digest(observations, self.paths, self.patients, self.truth)

    def pooled(self, probability: np.ndarray) -> np.ndarray:
        """(U, K) from (V, K): the highest probability of each unit's films."""
        highest = np.full((len(self.paths), probability.shape[1]), -np.inf, dtype=probability.dtype)
        np.maximum.at(highest, self.unit, probability)
        return highest


def labels_digest(observations: Sequence[str], paths: np.ndarray, patients: np.ndarray, truth: np.ndarray) -> str:
    """A fingerprint of what U units are scored on: str (U,), str (U,) and float32 (U, K); the same in every process."""
    content = hashlib.sha256("\n".join([*observations, "", *paths, "", *patients]).encode())
    content.update(np.ascontiguousarray(truth, dtype=np.float32).tobytes())
    return content.hexdigest()[:16]


@dataclass(frozen=True)
class Split:
    """Who trains and who is scored; no patient does both."""

    rows: np.ndarray
    """int64 (M,): rows of train.csv that may be trained on, ascending."""
    held_out: np.ndarray
    """int64 (H,): rows of train.csv whose patients are held out, whatever their view; none without data.holdout."""
    scored: Scored


def split(tree: Tree, config: DataConfig) -> Split:
    """The split that `config` asks for.

    Scores valid.csv, or a share of train.csv's patients: of those, uncertain cells are not scored. Raises InputError
    where no film is left on a side, or where no observation can be scored.
    """
    held = _held_out(tree.train, config)
    wanted = {"all": slice(None), "frontal": True, "lateral": False}[config.views]
    seen = np.ones(len(tree.train), dtype=bool) if config.views == "all" else tree.train.frontal == wanted
    rows = np.flatnonzero(seen & ~held)
    if config.holdout is None:
        chosen = np.flatnonzero(tree.valid.frontal == wanted) if config.views != "all" else np.arange(len(tree.valid))
        records, films = tree.valid.take(chosen), len(tree.train) + chosen
    else:
        films = np.flatnonzero(seen & held)
        records = tree.train.take(films)
    for side, count in (("to train on", len(rows)), ("to score", len(records))):
        if count == 0:
            raise InputError(
                f"data.views: '{config.views}' leaves no films {side} in {tree.root}; use data.views=all or other films"
            )
    scored = _scored(records, films, config)
    _check_scored(scored, tree, config)
    return Split(rows, np.flatnonzero(held), scored)


def _held_out(train: Records, config: DataConfig) -> np.ndarray:
    if config.holdout is None:
        return np.zeros(len(train), dtype=bool)
    patients = np.unique(train.patients)
    count = round(config.holdout * len(patients))
    if not 0 < count < len(patients):
        raise InputError(
            f"data.holdout: {config.holdout} of {len(patients)} patients holds out {count}; at least one patient must "
            "be held out and one left: change the share"
        )
    drawn = stream(config.split_seed, "holdout").choice(patients, size=count, replace=False)
    return np.isin(train.patients, drawn)


def _scored(records: Records, films: np.ndarray, config: DataConfig) -> Scored:
    labels = truth(records.labels, config.observations)
    if config.scoring == "image":
        return Scored(films, np.arange(len(films)), records.paths, records.patients, labels)
    studies, first, unit = np.unique(records.studies, return_index=True, return_inverse=True)
    highest = np.full((len(studies), labels.shape[1]), np.nan, dtype=np.float32)
    np.fmax.at(highest, unit, labels)  # NaN only where all films of the study are uncertain
    return Scored(films, unit, studies, records.patients[first], highest)


def _check_scored(scored: Scored, tree: Tree, config: DataConfig) -> None:
    if defined(scored.truth).any():
        return
    where = tree.root / "valid.csv" if config.holdout is None else f"data.holdout: {config.holdout} of {tree.root}"
    unit = {"image": "images", "study": "studies"}[config.scoring]
    raise InputError(
        f"{where}: AUROC is undefined for {', '.join(config.observations)}, because the {len(scored.paths):,} "
        f"validation {unit} hold only one class; choose data.observations with positives and negatives there"
    )
