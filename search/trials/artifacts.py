"""Writes a search's files: trials.csv, trials.parquet, and the best trial's config, weights and predictions."""

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pandas.api.types import is_object_dtype
from pyarrow import parquet

from chex.config import RunConfig, apply_overrides, to_yaml, validate
from chex.reporting.console import format_decimal
from chex.runtime import atomic_io, run_folder
from chex.runtime.atomic_io import atomic_write, write_text
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.policy_config import observations_under
from search.trials.layout import BEST, COLUMNS, ERRORS, TRIALS, trial_folder
from search.trials.trial import TrialRecord, trials_table


def write_trials(folder: Path, rows: Sequence[TrialRecord]) -> None:
    """Writes trials.csv."""
    atomic_io.write_csv(folder / TRIALS, trials_table(rows))


def write_columns(folder: Path, rows: Sequence[TrialRecord]) -> None:
    """Writes trials.parquet: the columns of trials.csv; a column of values of several types has them as strings."""
    table = trials_table(rows)
    for name in filter(lambda name: is_object_dtype(table[name]), table.columns):
        known = table[name][table[name].notna()]
        if known.map(type).nunique() != 1:
            table[name] = known.map(str).reindex(table.index)
    with atomic_write(folder / COLUMNS) as beside:
        parquet.write_table(pa.Table.from_pandas(table, preserve_index=False), beside, compression="zstd")


def export_best(folder: Path, row: TrialRecord, base: dict[str, Any], data_uri: str | None = None) -> None:
    """Writes best.yaml, best.safetensors and predictions.csv from the folder of the trial in `row`.

    The head of best.yaml says how to train it on another machine; `data_uri` is the URI of the dataset, if it has one.
    Does nothing if the trial's weights are gone: then they were copied here before.
    """
    trial = trial_folder(folder, row.number)
    if not (trial / run_folder.WEIGHTS).exists():
        return
    config = trial_config(base, row.params)
    header = (
        f"# Trial {row.number} of the search {folder.name}: validation AUROC {format_decimal(row.value)}, "
        f"{row.percent} % of its schedule.\n# To train it again, without Ray: chex train {BEST}\n"
        f"# If the dataset or this folder is elsewhere: {_train_elsewhere(config, folder)}\n"
        + (
            f"# For TREE, write the folder that `chex-search stage {shlex.quote(data_uri)}` prints\n"
            if data_uri
            else ""
        )
    )
    _copy_file(trial / run_folder.WEIGHTS, folder / run_folder.WEIGHTS)
    _copy_file(trial / run_folder.PREDICTIONS, folder / run_folder.PREDICTIONS)
    write_text(folder / BEST, header + to_yaml(config))


def _train_elsewhere(config: RunConfig, folder: Path) -> str:
    """Returns the command that trains the run if its dataset, or the search's `folder` with its tables, was moved."""
    read = {kind: getattr(config.relabel, kind) for kind in TABLE_POLICIES if _reads_table(config, kind)}
    made = [f" relabel.{kind}={path.relative_to(folder)}" for kind, path in read.items() if path.is_relative_to(folder)]
    return f"chex train {BEST} --data TREE" + (f" --set{''.join(made)}" if made else "")


def _reads_table(config: RunConfig, kind: str) -> bool:
    return bool(observations_under(config.policy, config.data.observations, (kind,)))


def append_error(trial: Path, text: str) -> None:
    """Appends the error of a trial's process to ERRORS in the trial's folder."""
    trial.mkdir(parents=True, exist_ok=True)
    with (trial / ERRORS).open("a", encoding="utf-8") as file:
        file.write(text.rstrip() + "\n")


def delete_checkpoints(trial: Path) -> None:
    """Deletes the checkpoints and weights of an ended trial, whose best weights have been copied."""
    for name in (run_folder.STATE, run_folder.PREVIOUS_STATE, run_folder.WEIGHTS):
        (trial / name).unlink(missing_ok=True)


def _copy_file(source: Path, target: Path) -> None:
    with atomic_write(target) as beside:
        shutil.copyfile(source, beside)


def trial_config(base: dict[str, Any], params: dict[str, Any]) -> RunConfig:
    """Returns the config of a trial: `base` overridden with `params`. Raises InputError if RunConfig refuses it."""
    return validate(RunConfig, apply_overrides(base, params), "trial")
