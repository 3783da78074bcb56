"""Keeps the predictions of all reports of a search in one columnar file, and the labels that they are scored on.

`predictions.parquet` has a row per trial, report and unit (image or study): `trial`, `images_seen` at the report,
`unit` (the row of labels.csv, from 0), and the probability of each observation in [0, 1], float32. Its metadata, and
that of each trial's file, has the digest of the labels.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from chex.cohort.split import EvaluationSet, labels_digest
from chex.data import prediction_files
from chex.errors import InputError
from chex.runtime import atomic_io, run_folder
from chex.runtime.atomic_io import atomic_write
from search.trials.layout import trial_folder, trial_number

FILE, LABELS = "predictions.parquet", "labels.csv"


@dataclass(frozen=True)
class Predictions:
    """The predictions of R reports for U scored units and K observations."""

    observations: tuple[str, ...]
    paths: np.ndarray
    """str (U,): the image's path, or the study's folder."""
    patients: np.ndarray
    """str (U,): the patient of each unit."""
    truth: np.ndarray
    """float32 (U, K): 1, 0 or NaN (not scored)."""
    trials: np.ndarray
    """int64 (R,): the trial of each report, ascending; the reports of a trial are in order."""
    images: np.ndarray
    """int64 (R,): the training images that the trial had seen at the report."""
    probability: np.ndarray
    """float32 (R, U, K)."""

    def of(self, trial: int) -> np.ndarray:
        """Returns int64: the indices, from 0 to R - 1, of the reports of a trial."""
        return np.flatnonzero(self.trials == trial)


def write_labels(folder: Path, scored: EvaluationSet, observations: Sequence[str]) -> None:
    """Writes labels.csv: each unit's path, patient and truth of each observation (blank: not scored)."""
    table = pd.DataFrame({"path": scored.paths, "patient": scored.patients})
    atomic_io.write_csv(folder / LABELS, table.assign(**dict(zip(observations, scored.truth.T, strict=True))))


def scored_on(folder: Path) -> str:
    """Returns the digest of the labels of the search in `folder`. Raises InputError if labels.csv is missing."""
    return labels_digest(*_labels(folder))


def load_predictions(folder: Path) -> Predictions:
    """Returns the predictions of all reports of the search in `folder` so far.

    Raises InputError if there are no labels or reports, or if a report was scored on other labels.
    """
    observations, paths, patients, truth = _labels(folder)
    tables = list(_read_tables(folder))
    if not tables:
        raise InputError(f"{folder}: no trial has made a report yet; wait for the first, or resume the search")
    rows = pa.concat_tables(tables).sort_by([(name, "ascending") for name in ("trial", "images_seen", "unit")])
    probability = np.column_stack([rows[name].to_numpy() for name in observations]).reshape(-1, *truth.shape)
    trials, images = (rows[name].to_numpy()[:: len(truth)].astype(np.int64) for name in ("trial", "images_seen"))
    return Predictions(observations, paths, patients, truth, trials, images, probability)


def gather(folder: Path, ended: Sequence[int]) -> None:
    """Moves the predictions of the trials with these numbers into the search's file. Raises InputError."""
    paths = [path for number in ended if (path := trial_folder(folder, number) / run_folder.PROBABILITIES).exists()]
    if not paths:
        return
    tables = list(_read_tables(folder, paths))
    with atomic_write(folder / FILE) as beside:
        prediction_files.write_parquet(pa.concat_tables(tables), beside)
    for path in paths:
        path.unlink()


def _labels(folder: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    path = folder / LABELS
    if not path.is_file():
        raise InputError(f"{path}: missing; give a folder that `chex-search run` made")
    table = pd.read_csv(path, dtype={"path": str, "patient": str})
    observations = tuple(map(str, table.columns[2:]))
    paths, patients = (table[name].to_numpy(dtype=str) for name in ("path", "patient"))
    return observations, paths, patients, table[list(observations)].to_numpy(np.float32)


def _read_tables(folder: Path, paths: Sequence[Path] | None = None) -> Iterator[pa.Table]:
    """Yields the table of the search's file, and of each trial that is not in it yet: at `paths`, or of all (None)."""
    digest, whole, known = scored_on(folder), folder / FILE, set[int]()
    if whole.exists():
        yield _check_labels(table := parquet.read_table(whole), whole, digest)
        known = set(table["trial"].unique().to_pylist())
    for path in sorted(folder.glob(f"trials/*/{run_folder.PROBABILITIES}")) if paths is None else paths:
        if (number := trial_number(path.parent)) not in known:
            table = _check_labels(parquet.read_table(path), path, digest)
            yield table.add_column(0, "trial", pa.array(np.full(len(table), number, dtype=np.int32)))


def _check_labels(table: pa.Table, path: Path, digest: str) -> pa.Table:
    found = (table.schema.metadata or {}).get(b"labels", b"").decode()
    if found != digest:
        raise InputError(
            f"{path}: its labels have the digest '{found}', and {LABELS} has {digest}; figures on different labels "
            "cannot be compared: give the folder as the search left it"
        )
    return table
