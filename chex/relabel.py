"""Probability tables: how likely each uncertain cell is positive, by someone who learnt from the certain ones."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from chex.atomic import replacing
from chex.errors import InputError
from chex.labels import UNCERTAIN, columns
from chex.records import Records
from chex.strict import PathField, Strict

COMMANDS = {
    "self_trained": "chex relabel teacher RUN.yaml --data TREE",
    "forest": "chex relabel forest RUN.yaml --data TREE",
}
"""The command that makes each policy's table."""

TABLE = "probabilities.csv"


class RelabelConfig(Strict):
    """The probability table of each policy that reads one."""

    self_trained: PathField | None = None
    """Written by `chex relabel teacher`; a search that needs it makes it."""
    forest: PathField | None = None
    """Written by `chex relabel forest`; a search that needs it makes it."""


def write_probabilities(
    path: Path, paths: np.ndarray, observations: tuple[str, ...], probabilities: np.ndarray
) -> None:
    """Writes a row per image that has a figure: its Path and, per observation, a probability or blank (NaN).

    `paths` is str (N,), `probabilities` float (N, K) in [0, 1].
    """
    listed = ~np.isnan(probabilities).all(axis=1)
    table = pd.DataFrame({"Path": paths[listed]})
    for column, name in enumerate(observations):
        table[name] = probabilities[listed, column]
    with replacing(path) as beside:
        table.to_csv(beside, index=False, float_format="%.6f")


def read_tables(
    config: RelabelConfig,
    needed: Mapping[str, tuple[str, ...]],
    observations: tuple[str, ...],
    train: Records,
    rows: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, np.ndarray]:
    """For each policy in `needed`, float32 (N, K): its table's figures, NaN where it has none.

    `needed` has the observations under each policy, among `observations` (K); those without any are not read. `rows` of
    `train` must have a figure for each of their uncertain cells, and those of `held_out` must have none. Raises
    InputError.
    """
    return {
        kind: _read(getattr(config, kind), kind, names, observations, train, rows, held_out)
        for kind, names in needed.items()
        if names
    }


def _read(
    path: Path | None,
    kind: str,
    needed: tuple[str, ...],
    observations: tuple[str, ...],
    train: Records,
    rows: np.ndarray,
    held_out: np.ndarray,
) -> np.ndarray:
    table = _read_csv(path, kind, needed)
    figures = table.reindex(train.paths)[list(needed)].to_numpy(np.float32)
    remedy = f"make one for this run with `{COMMANDS[kind]}`"
    uncertain = train.labels[:, columns(needed)] == UNCERTAIN
    missing = (np.isnan(figures) & uncertain)[rows].any(axis=1)
    if missing.any():
        raise InputError(
            f"relabel.{kind}: {path} has no probability for {int(missing.sum()):,} of "
            f"{int(uncertain[rows].any(axis=1).sum()):,} training images with an uncertain label, first "
            f"{train.paths[rows[missing.argmax()]]}; it was made for other films: {remedy}"
        )
    known = ~np.isnan(figures[held_out]).all(axis=1)
    if known.any():
        raise InputError(
            f"relabel.{kind}: {path} has probabilities for {int(known.sum()):,} images of held-out patients, so that "
            f"its maker may have learnt from them; {remedy}, whose data.holdout and data.split_seed are the same"
        )
    full = np.full((len(train), len(observations)), np.nan, dtype=np.float32)
    full[:, [observations.index(name) for name in needed]] = figures
    return full


def _read_csv(path: Path | None, kind: str, needed: tuple[str, ...]) -> pd.DataFrame:
    make = f"make one with `{COMMANDS[kind]}` and give it with --set relabel.{kind}=FILE"
    if path is None:
        raise InputError(
            f"relabel.{kind}: not set, and the policy '{kind}' of {', '.join(needed)} reads a probability table; {make}"
        )
    if not path.is_file():
        raise InputError(f"relabel.{kind}: {path} is not a file; {make}")
    try:
        table = pd.read_csv(path, dtype={"Path": str})
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"relabel.{kind}: {path} cannot be read as a CSV ({reason}); {make}") from error
    lacking = [name for name in ("Path", *needed) if name not in table.columns]
    if lacking:
        raise InputError(f"relabel.{kind}: {path} lacks the columns {', '.join(lacking)}; {make}")
    numbers = table[list(needed)].apply(pd.to_numeric, errors="coerce")
    bad = ((numbers < 0) | (numbers > 1) | (numbers.isna() & table[list(needed)].notna())).any(axis=1).to_numpy()
    repeated = table["Path"].duplicated().to_numpy()
    for wrong, rule in ((bad, "holds a value that is no probability in [0, 1]"), (repeated, "repeats a Path")):
        if wrong.any():
            raise InputError(f"relabel.{kind}: {path} row {int(wrong.argmax()) + 2} {rule}; {make}")
    return numbers.set_index(table["Path"])
