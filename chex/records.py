"""train.csv and valid.csv as checked arrays: image paths, patients, studies, views, metadata, labels."""

import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from chex.errors import InputError
from chex.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, Observations
from chex.strict import PathField, Strict

DESCRIPTION_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
CELLS = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE, "-1": UNCERTAIN, "-1.0": UNCERTAIN, "": BLANK}
PATH_FORM = re.compile(r"[^/]+/(?:[^/]+/)*(?P<patient>patient\d+)/(?P<study>study\d+)/[^/]+")


class DataConfig(Strict):
    """Which tree a run reads and which observations it learns."""

    root: PathField | None = None
    """The folder that holds train.csv and valid.csv."""
    observations: Observations = ("Cardiomegaly",)
    """One observation, a list of them, or `five` (the scored ones)."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """Which films a run trains on and is scored on."""
    holdout: float | None = Field(None, gt=0, lt=1)
    """Share of train.csv's patients to score on in place of valid.csv, on their certain cells; blank: valid.csv."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Which patients are held out; it is not the run's seed, so that runs of other seeds are scored on the same."""
    scoring: Literal["image", "study"] = "image"
    """What counts once: a film, or a study, whose probability is the highest of its films."""

    @model_validator(mode="after")
    def _split_seed(self) -> "DataConfig":
        if self.split_seed and self.holdout is None:
            raise ValueError(
                f".split_seed: {self.split_seed} chooses who is held out, and data.holdout is blank; "
                "set data.holdout, or leave split_seed out"
            )
        return self


@dataclass(frozen=True)
class Records:
    """One split. All arrays have one row per image, in the order of the CSV."""

    paths: np.ndarray
    """str (N,): the image's path inside the root."""
    patients: np.ndarray
    """str (N,): `patient00001`."""
    studies: np.ndarray
    """str (N,): the study's folder inside the root, `train/patient00001/study1`."""
    frontal: np.ndarray
    """bool (N,): a frontal film; the others are lateral."""
    projections: np.ndarray
    """str (N,): AP, PA, LL or RL as the CSV has it; "" where blank, as it is for laterals."""
    sexes: np.ndarray
    """str (N,): Female, Male or Unknown as the CSV has it; "" where blank."""
    ages: np.ndarray
    """float32 (N,): years; NaN where the CSV has no number."""
    labels: np.ndarray
    """int8 (N, 14): POSITIVE, NEGATIVE, UNCERTAIN or BLANK per observation."""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> "Records":
        """The records of `rows`, in that order."""
        return Records(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class Tree:
    """A CheXpert tree whose two tables have been checked; no image has been opened."""

    root: Path
    train: Records
    valid: Records

    @property
    def paths(self) -> np.ndarray:
        """str (N_train + N_valid,): every image, train first."""
        return np.concatenate([self.train.paths, self.valid.paths])


_Identity = tuple[int, ...]
"""Of a file: where it lies on the disk, its size and when it was changed; another content has another one."""


def load_tree(root: Path) -> Tree:
    """The tree's two tables, as arrays that cannot be written to.

    A process that asks again for the same tree gets the same arrays, unless one of its two files has changed. Raises
    InputError for a missing folder, CSV or column, a label other than 1 / 0 / -1 / blank, a view other than
    Frontal / Lateral, a path that is not of CheXpert's form or leaves the root, a path listed twice, and a patient in
    both splits.
    """
    check_root(root)
    return _loaded(root, _identity(root / "train.csv"), _identity(root / "valid.csv"))


def _identity(csv: Path) -> _Identity:
    found = os.stat(csv)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@lru_cache(maxsize=1)  # trials that one process trains, one after the other, read the tables once
def _loaded(root: Path, train_csv: _Identity, valid_csv: _Identity) -> Tree:
    train, valid = read_records(root / "train.csv"), read_records(root / "valid.csv")
    for name, records in (("train", train), ("valid", valid)):
        repeated = repeated_rows(records)
        if len(repeated):
            raise InputError(
                f"{root / name}.csv: {len(repeated)} rows repeat a Path, first {records.paths[repeated[0]]} in row "
                f"{repeated[0] + 2}; an image may be listed once: remove the repeated rows"
            )
    shared = np.intersect1d(train.patients, valid.patients)
    if len(shared):
        raise InputError(
            f"{root}: {len(shared)} patients are in both train.csv and valid.csv, first {shared[0]}; a patient may be "
            "in one split only (else validation scores are inflated): remove the patient's rows from one of the files"
        )
    for records in (train, valid):
        for column in vars(records).values():
            column.setflags(write=False)  # whoever wrote to them would change what others were given
    return Tree(root, train, valid)


def repeated_rows(records: Records) -> np.ndarray:
    """int64: the rows whose path an earlier row has."""
    return np.flatnonzero(pd.Series(records.paths).duplicated())


def check_root(root: Path, name: str = "data.root", option: str = "--data") -> None:
    """Raises InputError unless `root` is a folder with train.csv and valid.csv.

    `name` is what the user knows it as, `option` what gives it on the command line ("" if it stands there alone).
    """
    given, instead = (f" with {option}", f"{option} ") if option else ("", "")
    if not root.is_dir():
        raise InputError(f"{name}: {root} is not a folder; give the folder that holds train.csv and valid.csv{given}")
    for csv in ("train.csv", "valid.csv"):
        if not (root / csv).is_file():
            below = sorted(path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/{csv}"))
            hint = f"did you mean {instead}{below[0]}?" if below else f"give the folder that holds both CSVs{given}"
            near = sorted(path.name for path in root.glob(f"{Path(csv).stem}*.csv"))
            if near:
                hint = f"it has {', '.join(near)}: to use one of them, copy it to {csv} in this folder"
            raise InputError(f"{name}: {root} has no {csv}; {hint}")


def read_records(csv: Path) -> Records:
    """The rows of one CSV, each checked by itself. Raises InputError as `load_tree` does."""
    table = _read_csv(csv)
    patients = _patients(table["Path"], csv)
    paths = table["Path"].str.split("/", n=1).str[1]
    return Records(
        paths=paths.to_numpy(dtype=str),
        patients=patients,
        studies=paths.str.rsplit("/", n=1).str[0].to_numpy(dtype=str),
        frontal=_frontal(table["Frontal/Lateral"], csv),
        projections=table["AP/PA"].str.strip().to_numpy(dtype=str),
        sexes=table["Sex"].str.strip().to_numpy(dtype=str),
        ages=pd.to_numeric(table["Age"], errors="coerce").to_numpy(np.float32),
        labels=np.stack([_encode(table[name], csv) for name in OBSERVATIONS], axis=1),
    )


def _read_csv(csv: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:  # pandas raises ParserError, EmptyDataError, UnicodeDecodeError: ValueErrors
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"{csv} cannot be read as a CSV ({reason}); give CheXpert's own file") from error
    missing = [name for name in (*DESCRIPTION_COLUMNS, *OBSERVATIONS) if name not in table.columns]
    if missing:
        raise InputError(f"{csv} {_wrong_header(list(table.columns), missing)}")
    if table.empty:
        raise InputError(f"{csv} has a header and no rows; a split needs at least one image")
    return table


def _wrong_header(columns: list[str], missing: list[str]) -> str:
    """What is wrong with a header that lacks the columns `missing`, and what to do."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if columns and columns[0].startswith(f"Path{mark}"):
            return f"is separated by {name}; save it as a CSV with commas, and with points in its numbers"
    plain = {name.replace("_", " ").strip().casefold(): name for name in columns}
    there = {name: plain[name.casefold()] for name in missing if name.casefold() in plain}
    if there:
        meant, found = next(iter(there.items()))
        more = f", and so with {len(there) - 1} more" if len(there) > 1 else ""
        return f"has a column '{found}': did you mean '{meant}'{more}? write the names of columns as CheXpert does"
    return (
        f"lacks the columns {', '.join(missing)}; its header must be CheXpert's: {', '.join(DESCRIPTION_COLUMNS)} and "
        "the 14 observations"
    )


def _encode(cells: pd.Series, csv: Path) -> np.ndarray:
    codes = cells.str.strip().map(CELLS)
    bad = codes.isna()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{csv} row {row + 2}, column '{cells.name}': label '{cells.iloc[row]}' is not 1, 0, -1 or blank "
            f"({int(bad.sum())} such cells in this column); correct the cells"
        )
    return codes.to_numpy(dtype=np.int8)


def _frontal(cells: pd.Series, csv: Path) -> np.ndarray:
    views = cells.str.strip()
    bad = np.flatnonzero(~views.isin(["Frontal", "Lateral"]))
    if len(bad):
        raise InputError(
            f"{csv} row {bad[0] + 2}, column 'Frontal/Lateral': '{views.iloc[bad[0]]}' is neither Frontal nor Lateral "
            f"({len(bad)} such cells); correct the cells"
        )
    return (views == "Frontal").to_numpy()


def _patients(paths: pd.Series, csv: Path) -> np.ndarray:
    leaves = paths.str.startswith("/") | paths.str.contains(r"(?:^|/)\.\.?(?:/|$)|\\|:", regex=True)
    if leaves.any():
        row = int(np.flatnonzero(leaves)[0])
        raise InputError(
            f"{csv} row {row + 2}: Path '{paths.iloc[row]}' could leave the data root; a Path is relative, "
            "without '..', '.', ':' or backslash: correct the row"
        )
    bare = paths.str.match(r"(?:train|valid|test)/patient\d+/")
    if bare.any():
        row = int(np.flatnonzero(bare)[0])
        raise InputError(
            f"{csv} row {row + 2}: Path '{paths.iloc[row]}' does not begin with the name of the dataset; put "
            f"CheXpert-v1.0-small/ before each Path ({int(bare.sum())} such rows), and leave the images where they are"
        )
    ids = paths.str.extract(rf"^{PATH_FORM.pattern}$")
    bad = ids["patient"].isna()
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(
            f"{csv} row {row + 2}: Path '{paths.iloc[row]}' is not of the form "
            "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg; correct the row"
        )
    return ids["patient"].to_numpy(dtype=str)
