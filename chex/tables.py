"""`chex relabel`: makes the probability table that self_trained or forest reads, for one run."""

from pathlib import Path

import numpy as np
import pandas as pd

from chex import checkpoint
from chex.config import RunConfig
from chex.console import Advance, decimal, progress_bar
from chex.forest import forest_probabilities
from chex.output_folder import check_claim, claim
from chex.prepare import Selection, select
from chex.relabel import TABLE, write_probabilities
from chex.teacher import teach, teacher_of
from chex.train import CONFIG, check_out, check_same_run, preflight, settled, shown


def make_teacher_table(config: RunConfig, out: Path) -> int:
    """Trains the teacher of `config` into `out`, going on where it was interrupted; 0 done, 1 diverged.

    `out` then holds the table and the teacher's checkpoint. Raises InputError before anything is written.
    """
    check_out(config, out, "teacher")
    teacher = settled(teacher_of(config), out / CONFIG)
    check_same_run(teacher, out, "remove that one")
    data = preflight(teacher)
    if not shown("teacher", "relabel", teacher, data, out, teach):
        return 1
    print(teacher_cost(out), table_summary(out / TABLE), sep="\n")
    return 0


def make_forest_table(config: RunConfig, out: Path) -> int:
    """Grows a forest on the metadata for each observation of `config` and writes the table into `out`; 0.

    Raises InputError before anything is written.
    """
    check_claim(out, "relabel forest", tree=config.data.root)
    with progress_bar("growing forests") as advance:
        selection, soft = _forest_labels(config, advance)
    claim(out, "relabel forest", tree=config.data.root)
    write_probabilities(out / TABLE, selection.tree.train.paths, selection.observations, soft)
    print(table_summary(out / TABLE))
    return 0


def write_forest_table(config: RunConfig, path: Path, advance: Advance) -> None:
    """Writes what forests say of the uncertain cells of all films that may be trained on. Raises InputError."""
    selection, soft = _forest_labels(config, advance)
    write_probabilities(path, selection.tree.train.paths, selection.observations, soft)


def _forest_labels(config: RunConfig, advance: Advance) -> tuple[Selection, np.ndarray]:
    """What is trained on, and float (N_train, K): the probability of each uncertain cell, NaN elsewhere."""
    selection = select(teacher_of(config))
    train, rows = selection.tree.train, selection.trainable
    return selection, forest_probabilities(train, rows, selection.observations, config.seed, advance)


def teacher_cost(folder: Path) -> str:
    """What a teacher that has been trained reached and took, in a line."""
    last = pd.read_csv(folder / checkpoint.REPORTS).iloc[-1]
    return (
        f"a teacher of validation AUROC {decimal(last['best_auroc'])}: {int(last['images_seen']):,} images, "
        f"{last['seconds']:.0f} s"
    )


def table_summary(path: Path) -> str:
    """How many cells a table has and what it says of them on average, a line an observation."""
    table = pd.read_csv(path, index_col="Path")
    lines = [f"{path}: probabilities of {int(table.notna().to_numpy().sum()):,} uncertain cells"]
    for name, column in table.items():
        mean = float(column.mean()) if column.notna().any() else np.nan
        lines.append(f"  {name:<28}{int(column.notna().sum()):>8,} cells   mean {decimal(mean)}")
    return "\n".join(lines)
