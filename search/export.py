"""The search's folder: trials.csv and trials.parquet, the best config and weights, each trial's predictions."""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pandas.api.types import is_object_dtype
from pyarrow import parquet

from chex import checkpoint
from chex.atomic import replacing, write_text
from chex.config import RunConfig, dump
from chex.console import decimal
from chex.uncertainty import TABLE_POLICIES, observations_under
from search.ledger import TrialRow, table
from search.trainable import trial_config

TRIALS, COLUMNS, BEST = "trials.csv", "trials.parquet", "best.yaml"
ERRORS = "errors.txt"
"""In a trial's folder: what its processes died of, in full."""


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial's run is."""
    return folder / "trials" / f"{number:03d}"


def trial_number(home: Path) -> int:
    """The number of the trial whose folder is `home`."""
    return int(home.name)


def write_trials(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Writes trials.csv."""
    checkpoint.save_table(folder / TRIALS, table(rows))


def write_columns(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Writes trials.parquet: the columns of trials.csv; one that mixes kinds of values holds them as strings."""
    whole = table(rows)
    for name in filter(lambda name: is_object_dtype(whole[name]), whole.columns):
        known = whole[name][whole[name].notna()]
        if known.map(type).nunique() != 1:
            whole[name] = known.map(str).reindex(whole.index)
    with replacing(folder / COLUMNS) as beside:
        parquet.write_table(pa.Table.from_pandas(whole, preserve_index=False), beside, compression="zstd")


def export_best(folder: Path, row: TrialRow, base: dict[str, Any], source: str | None = None) -> None:
    """Writes best.yaml, best.safetensors and predictions.csv from the folder of the trial in `row`.

    best.yaml says how it is trained on a machine that has its tree (fetched from `source`, if that is known) elsewhere.
    Does nothing where the trial's weights are gone: they were moved here before.
    """
    home = trial_folder(folder, row.number)
    if not (home / checkpoint.WEIGHTS).exists():
        return
    config = trial_config(base, row.knobs)
    header = (
        f"# Trial {row.number} of the search {folder.name}: validation AUROC {decimal(row.value)}, "
        f"{row.percent} % of its schedule.\n# To train it again, without Ray: chex train {BEST}\n"
        f"# Where the tree or this folder lies elsewhere: {_train_elsewhere(config, folder)}\n"
        + (f"# The TREE: what `chex-search stage {shlex.quote(source)}` says\n" if source else "")
    )
    _copy(home / checkpoint.WEIGHTS, folder / checkpoint.WEIGHTS)
    _copy(home / checkpoint.PREDICTIONS, folder / checkpoint.PREDICTIONS)
    write_text(folder / BEST, header + dump(config))


def _train_elsewhere(config: RunConfig, folder: Path) -> str:
    """How the run is trained where its tree, and the tables that were made in the search's `folder`, lie elsewhere."""
    read = {kind: getattr(config.relabel, kind) for kind in TABLE_POLICIES if _reads(config, kind)}
    made = [f" relabel.{kind}={path.relative_to(folder)}" for kind, path in read.items() if path.is_relative_to(folder)]
    return f"chex train {BEST} --data TREE" + (f" --set{''.join(made)}" if made else "")


def _reads(config: RunConfig, kind: str) -> bool:
    return bool(observations_under(config.policy, config.data.observations, (kind,)))


def note_error(trial: Path, text: str) -> None:
    """Adds what a trial's process died of to the ERRORS of its folder `trial`."""
    trial.mkdir(parents=True, exist_ok=True)
    with (trial / ERRORS).open("a", encoding="utf-8") as file:
        file.write(text.rstrip() + "\n")


def drop_state(trial: Path) -> None:
    """Removes the large files of an ended trial; what is worth keeping has been copied out."""
    for name in (checkpoint.STATE, checkpoint.EARLIER, checkpoint.WEIGHTS):
        (trial / name).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as beside:
        shutil.copyfile(source, beside)
