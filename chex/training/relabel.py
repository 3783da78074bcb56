"""`chex relabel`: makes the probability table that a policy of a run reads."""

from pathlib import Path

import numpy as np
import pandas as pd

from chex.config import RunConfig
from chex.forest.metadata_forest import forest_probabilities
from chex.reporting.console import ProgressCallback, format_decimal, progress_bar
from chex.runtime import run_folder
from chex.runtime.output_folder import check_claim, claim
from chex.runtime.run_folder import RUN_CONFIG
from chex.training.preflight import check_out, check_same_run, teacher_config
from chex.training.run_tables import RunTables, load_run_tables
from chex.training.teacher import train_teacher
from chex.training.train import preflight, train_with_progress, with_resolved_auto
from chex.uncertainty.probability_tables import TABLE, write_probabilities


def make_teacher_table(config: RunConfig, out: Path) -> int:
    """Trains the teacher of `config` into `out`, or resumes it. Returns 0, or 1 where it diverged.

    Writes the probability table and the teacher's checkpoint into `out`. Raises InputError before anything is written.
    """
    check_out(config, out, "teacher")
    teacher = with_resolved_auto(teacher_config(config), out / RUN_CONFIG)
    check_same_run(teacher, out, "remove that one")
    data = preflight(teacher)
    if not train_with_progress("teacher", "relabel", teacher, data, out, train_teacher):
        return 1
    print(teacher_cost(out), table_summary(out / TABLE), sep="\n")
    return 0


def make_forest_table(config: RunConfig, out: Path) -> int:
    """Fits a forest on the metadata for each observation of `config`, and writes the table into `out`. Returns 0.

    Raises InputError before anything is written.
    """
    check_claim(out, "relabel forest", tree=config.data.root)
    with progress_bar("fitting forests") as advance:
        tables, probabilities = _forest_table(config, advance)
    claim(out, "relabel forest", tree=config.data.root)
    write_probabilities(out / TABLE, tables.tree.train.paths, tables.observations, probabilities)
    print(table_summary(out / TABLE))
    return 0


def write_forest_table(config: RunConfig, path: Path, advance: ProgressCallback) -> None:
    """Writes the forests' table to `path`. Raises InputError as `load_run_tables` and `forest_probabilities` do."""
    tables, probabilities = _forest_table(config, advance)
    write_probabilities(path, tables.tree.train.paths, tables.observations, probabilities)


def _forest_table(config: RunConfig, advance: ProgressCallback) -> tuple[RunTables, np.ndarray]:
    """Returns the tables, and the probability of each uncertain trainable cell, float (N_train, K), NaN elsewhere."""
    tables = load_run_tables(teacher_config(config))
    train, rows = tables.tree.train, tables.trainable
    return tables, forest_probabilities(train, rows, tables.observations, config.seed, advance)


def teacher_cost(folder: Path) -> str:
    """Returns a line with the AUROC of a trained teacher, its images and its time."""
    last = pd.read_csv(folder / run_folder.REPORTS).iloc[-1]
    return (
        f"a teacher of validation AUROC {format_decimal(last['best_auroc'])}: {int(last['images_seen']):,} images, "
        f"{last['seconds']:.0f} s"
    )


def table_summary(path: Path) -> str:
    """Returns how many cells a table has and their mean probability, a line per observation."""
    table = pd.read_csv(path, index_col="Path")
    lines = [f"{path}: probabilities of {int(table.notna().to_numpy().sum()):,} uncertain cells"]
    for name, column in table.items():
        mean = float(column.mean()) if column.notna().any() else np.nan
        lines.append(f"  {name:<28}{int(column.notna().sum()):>8,} cells   mean {format_decimal(mean)}")
    return "\n".join(lines)
