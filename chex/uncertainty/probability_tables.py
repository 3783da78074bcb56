"""Probability tables: for each uncertain cell, the probability that it is positive, predicted from certain labels."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from chex.data.tables import ImageTable
from chex.errors import InputError
from chex.runtime.atomic_io import atomic_write
from chex.schema.labels import UNCERTAIN, label_columns
from chex.uncertainty.policies import POLICIES
from chex.uncertainty.policy_config import RelabelConfig

TABLE = "probabilities.csv"


def write_probabilities(
    path: Path, paths: np.ndarray, observations: tuple[str, ...], probabilities: np.ndarray
) -> None:
    """Writes a row for each image with a probability: its Path, then a probability or a blank for each observation.

    `paths` is str (N,), `probabilities` float (N, K) in [0, 1], with NaN for a blank.
    """
    has_any = ~np.isnan(probabilities).all(axis=1)
    table = pd.DataFrame({"Path": paths[has_any]})
    for column, name in enumerate(observations):
        table[name] = probabilities[has_any, column]
    with atomic_write(path) as temporary:
        table.to_csv(temporary, index=False, float_format="%.6f")


def read_tables(
    config: RelabelConfig,
    needed: Mapping[str, tuple[str, ...]],
    observations: tuple[str, ...],
    train: ImageTable,
    rows: np.ndarray,
    held_out: np.ndarray,
) -> dict[str, np.ndarray]:
    """Returns the probabilities of each policy in `needed`, float32 (N, K), NaN where its table has none.

    `needed` maps a policy to those of the K `observations` that have it; if none has, the policy's table is not read.
    `rows` (training) and `held_out` are rows of `train`. Raises InputError for a file that is not such a table, for a
    table that lacks an uncertain cell of `rows`, and for one with a probability for an image in `held_out`.
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
    train: ImageTable,
    rows: np.ndarray,
    held_out: np.ndarray,
) -> np.ndarray:
    table = _read_csv(path, kind, needed)
    known = table.reindex(train.paths)[list(needed)].to_numpy(np.float32)
    remedy = f"make one for this run with `{_command(kind)}`"
    uncertain = train.labels[:, label_columns(needed)] == UNCERTAIN
    missing = (np.isnan(known) & uncertain)[rows].any(axis=1)
    if missing.any():
        raise InputError(
            f"relabel.{kind}: {path} has no probability for {int(missing.sum()):,} of "
            f"{int(uncertain[rows].any(axis=1).sum()):,} training images with an uncertain label, first "
            f"{train.paths[rows[missing.argmax()]]}; it was made for other images: {remedy}"
        )
    leaked = ~np.isnan(known[held_out]).all(axis=1)
    if leaked.any():
        raise InputError(
            f"relabel.{kind}: {path} has probabilities for {int(leaked.sum()):,} images of held-out patients, so that "
            f"it may have been learned from their labels; {remedy}, with the same data.holdout_fraction and "
            "data.split_seed"
        )
    full = np.full((len(train), len(observations)), np.nan, dtype=np.float32)
    full[:, [observations.index(name) for name in needed]] = known
    return full


def _command(kind: str) -> str:
    return f"chex relabel {POLICIES[kind].table_maker} RUN.yaml --data TREE"


def _read_csv(path: Path | None, kind: str, needed: tuple[str, ...]) -> pd.DataFrame:
    make = f"make one with `{_command(kind)}` and give it with --set relabel.{kind}=FILE"
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
    for wrong, rule in ((bad, "has a value that is not a probability in [0, 1]"), (repeated, "repeats a Path")):
        if wrong.any():
            raise InputError(f"relabel.{kind}: {path} row {int(wrong.argmax()) + 2} {rule}; {make}")
    return numbers.set_index(table["Path"])
