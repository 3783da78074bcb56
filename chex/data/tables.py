"""Reads train.csv and valid.csv into checked arrays: paths, patients, studies, views, metadata and labels."""

import os
import re
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from chex.errors import InputError
from chex.schema.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

METADATA_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA")
CELLS = {"1": POSITIVE, "1.0": POSITIVE, "0": NEGATIVE, "0.0": NEGATIVE, "-1": UNCERTAIN, "-1.0": UNCERTAIN, "": BLANK}
PATH_FORM = re.compile(r"[^/]+/(?:[^/]+/)*(?P<patient>patient\d+)/(?P<study>study\d+)/[^/]+")


@dataclass(frozen=True)
class ImageTable:
    """The table of one split. All arrays have one row per image, in the order of the CSV."""

    paths: np.ndarray
    """str (N,): the path of the image inside the root."""
    patients: np.ndarray
    """str (N,): `patient00001`."""
    studies: np.ndarray
    """str (N,): the study's folder inside the root, `train/patient00001/study1`."""
    frontal: np.ndarray
    """bool (N,): True for a frontal image, False for a lateral one."""
    projections: np.ndarray
    """str (N,): AP, PA, LL or RL, as in the CSV; "" if blank, as for lateral images."""
    sexes: np.ndarray
    """str (N,): Female, Male or Unknown, as in the CSV; "" if blank."""
    ages: np.ndarray
    """float32 (N,): years; NaN if the CSV has no number."""
    labels: np.ndarray
    """int8 (N, 14): POSITIVE, NEGATIVE, UNCERTAIN or BLANK for each of OBSERVATIONS."""

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, rows: np.ndarray) -> "ImageTable":
        """Returns the table of `rows`, in that order."""
        return ImageTable(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True)
class Tree:
    """A CheXpert tree with its two tables, which have been checked; no image has been opened."""

    root: Path
    train: ImageTable
    valid: ImageTable

    @property
    def paths(self) -> np.ndarray:
        """str (N,): the paths of all images, those of train.csv first."""
        return np.concatenate([self.train.paths, self.valid.paths])


_FileIdentity = tuple[int, ...]
"""Device, inode, size and times of a file. At least one changes when the content changes."""


def load_tree(root: Path) -> Tree:
    """Returns the tree's two tables, as read-only arrays; unchanged files are read once in a process.

    Raises InputError for a missing folder, CSV or column, a label other than 1 / 0 / -1 / blank, a view other than
    Frontal / Lateral, a path that does not have CheXpert's form or leaves the root, a duplicate path, and a patient in
    both splits.
    """
    check_root(root)
    return _load(root, _file_identity(root / "train.csv"), _file_identity(root / "valid.csv"))


def _file_identity(csv: Path) -> _FileIdentity:
    stat = os.stat(csv)
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@lru_cache(maxsize=1)  # the trials of one process read the tables once
def _load(root: Path, train_csv: _FileIdentity, valid_csv: _FileIdentity) -> Tree:
    train, valid = read_table(root / "train.csv"), read_table(root / "valid.csv")
    for name, records in (("train", train), ("valid", valid)):
        repeated = duplicate_rows(records)
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
            column.setflags(write=False)  # all callers share the arrays
    return Tree(root, train, valid)


def duplicate_rows(records: ImageTable) -> np.ndarray:
    """Returns int64 (duplicates,): the rows whose path is already in an earlier row."""
    return np.flatnonzero(pd.Series(records.paths).duplicated())


def check_root(root: Path, name: str = "data.root", option: str = "--data") -> None:
    """Raises InputError unless `root` is a folder with train.csv and valid.csv.

    `name` is its name in the message, `option` the command line option for it, "" for a positional argument.
    """
    with_option, prefix = (f" with {option}", f"{option} ") if option else ("", "")
    if not root.is_dir():
        raise InputError(
            f"{name}: {root} is not a folder; give the folder that holds train.csv and valid.csv{with_option}"
        )
    for csv in ("train.csv", "valid.csv"):
        if not (root / csv).is_file():
            below = sorted(path.parent for depth in ("*", "*/*") for path in root.glob(f"{depth}/{csv}"))
            hint = (
                f"did you mean {prefix}{below[0]}?" if below else f"give the folder that holds both CSVs{with_option}"
            )
            near = sorted(path.name for path in root.glob(f"{Path(csv).stem}*.csv"))
            if near:
                hint = f"it has {', '.join(near)}: to use one of them, copy it to {csv} in this folder"
            raise InputError(f"{name}: {root} has no {csv}; {hint}")


def read_table(csv: Path) -> ImageTable:
    """Returns the table of one CSV. Raises InputError as `load_tree` does, but not for repeated paths."""
    table = _read_csv(csv)
    patients = _patients(table["Path"], csv)
    paths = table["Path"].str.split("/", n=1).str[1]
    return ImageTable(
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
    missing = [name for name in (*METADATA_COLUMNS, *OBSERVATIONS) if name not in table.columns]
    if missing:
        raise InputError(f"{csv} {_wrong_header(list(table.columns), missing)}")
    if table.empty:
        raise InputError(f"{csv} has a header and no rows; a split needs at least one image")
    return table


def _wrong_header(columns: list[str], missing: list[str]) -> str:
    """Returns the end of the error about a header without the columns `missing`."""
    for mark, name in ((";", "semicolons"), ("\t", "tabs")):
        if columns and columns[0].startswith(f"Path{mark}"):
            return f"is separated by {name}; save it as a CSV with commas, and with points in its numbers"
    plain = {name.replace("_", " ").strip().casefold(): name for name in columns}
    similar = {name: plain[name.casefold()] for name in missing if name.casefold() in plain}
    if similar:
        meant, found = next(iter(similar.items()))
        more = f", and {len(similar) - 1} more like it" if len(similar) > 1 else ""
        return f"has a column '{found}': did you mean '{meant}'{more}? write the names of columns as in CheXpert"
    return (
        f"lacks the columns {', '.join(missing)}; its header must be CheXpert's: {', '.join(METADATA_COLUMNS)} and "
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
