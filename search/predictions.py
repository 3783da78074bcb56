"""What every report of every trial gave the validation films, in one columnar file a search, and what they scored on.

`predictions.parquet` has a row per trial, report and unit (film or study): `trial`, `images_seen` at the report, `unit`
(the row of labels.csv, from 0), and the probability of each observation in [0, 1], float32. It carries the digest of
the labels, as each trial's own file does.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from chex import checkpoint
from chex.atomic import replacing
from chex.errors import InputError
from chex.split import Scored, labels_digest
from search.export import trial_folder, trial_number

FILE, LABELS = "predictions.parquet", "labels.csv"


@dataclass(frozen=True)
class Predictions:
    """R reports of trials on U scored units of K observations."""

    observations: tuple[str, ...]
    paths: np.ndarray
    """str (U,): the film's path, or the study's folder."""
    patients: np.ndarray
    """str (U,)."""
    truth: np.ndarray
    """float32 (U, K): 1, 0 or NaN (not scored)."""
    trials: np.ndarray
    """int64 (R,): the trial of each report, ascending; a trial's reports are in their order."""
    images: np.ndarray
    """int64 (R,): the training images that the trial had seen."""
    probability: np.ndarray
    """float32 (R, U, K)."""

    def of(self, trial: int) -> np.ndarray:
        """int64: the places of a trial's reports among the R."""
        return np.flatnonzero(self.trials == trial)


def write_labels(folder: Path, scored: Scored, observations: Sequence[str]) -> None:
    """Writes labels.csv: path and patient of each unit and the truth of each observation (blank: not scored)."""
    table = pd.DataFrame({"path": scored.paths, "patient": scored.patients})
    checkpoint.save_table(folder / LABELS, table.assign(**dict(zip(observations, scored.truth.T, strict=True))))


def scored_on(folder: Path) -> str:
    """The digest of what the trials of the search in `folder` are scored on. Raises InputError where it is missing."""
    return labels_digest(*_labels(folder))


def load_predictions(folder: Path) -> Predictions:
    """All that the trials of the search in `folder` have reported so far.

    Raises InputError where labels are missing, or where probabilities were scored on others.
    """
    observations, paths, patients, truth = _labels(folder)
    found = list(_tables(folder))
    if not found:
        raise InputError(f"{folder}: no trial has made a report yet; wait for the first, or go on with the search")
    rows = pa.concat_tables(found).sort_by([(name, "ascending") for name in ("trial", "images_seen", "unit")])
    given = np.column_stack([rows[name].to_numpy() for name in observations]).reshape(-1, *truth.shape)
    trials, images = (rows[name].to_numpy()[:: len(truth)].astype(np.int64) for name in ("trial", "images_seen"))
    return Predictions(observations, paths, patients, truth, trials, images, given)


def gather(folder: Path, ended: Sequence[int]) -> None:
    """Moves what the trials of these numbers reported into the search's one file. Raises InputError as above."""
    own = [path for number in ended if (path := trial_folder(folder, number) / checkpoint.PROBABILITIES).exists()]
    if not own:
        return
    tables = list(_tables(folder, own))
    with replacing(folder / FILE) as beside:
        checkpoint.write_parquet(pa.concat_tables(tables), beside)
    for path in own:
        path.unlink()


def _labels(folder: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray, np.ndarray]:
    path = folder / LABELS
    if not path.is_file():
        raise InputError(f"{path}: missing; give a folder that `chex-search run` made")
    table = pd.read_csv(path, dtype={"path": str, "patient": str})
    observations = tuple(map(str, table.columns[2:]))
    paths, patients = (table[name].to_numpy(dtype=str) for name in ("path", "patient"))
    return observations, paths, patients, table[list(observations)].to_numpy(np.float32)


def _tables(folder: Path, own: Sequence[Path] | None = None) -> Iterator[pa.Table]:
    """The search's file, and those of the trials that it does not hold yet: all of them, or those in `own`."""
    digest, whole, known = scored_on(folder), folder / FILE, set[int]()
    if whole.exists():
        yield _checked(table := parquet.read_table(whole), whole, digest)
        known = set(table["trial"].unique().to_pylist())
    for path in sorted(folder.glob(f"trials/*/{checkpoint.PROBABILITIES}")) if own is None else own:
        if (number := trial_number(path.parent)) not in known:
            table = _checked(parquet.read_table(path), path, digest)
            yield table.add_column(0, "trial", pa.array(np.full(len(table), number, dtype=np.int32)))


def _checked(table: pa.Table, path: Path, digest: str) -> pa.Table:
    given = (table.schema.metadata or {}).get(b"labels", b"").decode()
    if given != digest:
        raise InputError(
            f"{path}: its labels have the digest '{given}', and {LABELS} has {digest}; figures on different labels "
            "cannot be compared: give the folder as the search left it"
        )
    return table
