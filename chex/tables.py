"""`chex relabel`: makes the probability table that self_trained or forest reads, for one run."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from chex import checkpoint
from chex.atomic import write_text
from chex.config import RunConfig, dump
from chex.console import decimal
from chex.loop import Diverged
from chex.relabel import TABLE
from chex.teacher import teach, teacher_of
from chex.train import CONFIG, headline, preflight, show


def make_teacher_table(config: RunConfig, out: Path) -> int:
    """Trains the teacher of `config` into `out`, going on where it was interrupted; 0 done, 1 diverged.

    `out` then holds the table and the teacher's checkpoint. Raises InputError before anything is written.
    """
    teacher = teacher_of(config)
    data = preflight(teacher)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / CONFIG, dump(teacher))
    print(headline(teacher, data))
    try:
        show(lambda on_step: teach(teacher, data, out, on_step))
    except Diverged as error:
        print(f"chex relabel: {error}", file=sys.stderr)
        return 1
    print(teacher_cost(out), table_summary(out / TABLE), sep="\n")
    return 0


def teacher_cost(folder: Path) -> str:
    """What a teacher that has been trained reached and took, in a line."""
    last = pd.read_csv(folder / checkpoint.REPORTS).iloc[-1]
    return (
        f"teacher: validation AUROC {decimal(last['best_auroc'])}, {int(last['images_seen']):,} images in "
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
