"""The search's folder: trials.csv, the best config and weights, each trial's predictions."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chex import checkpoint
from chex.atomic import replacing, write_text
from chex.config import dump
from chex.console import decimal
from search.ledger import TrialRow, table
from search.trainable import trial_config

TRIALS, BEST = "trials.csv", "best.yaml"
KEPT = (checkpoint.PREDICTIONS, checkpoint.REPORTS)


def trial_folder(folder: Path, number: int) -> Path:
    """Where a trial's TensorBoard events, predictions and reports are."""
    return folder / "trials" / f"{number:03d}"


def write_trials(folder: Path, rows: Sequence[TrialRow]) -> None:
    """Writes trials.csv."""
    checkpoint.save_table(folder / TRIALS, table(rows))


def keep_tables(folder: Path, number: int, saved: Path) -> None:
    """Copies the predictions and reports of a trial's checkpoint `saved` to the trial's folder."""
    home = trial_folder(folder, number)
    home.mkdir(parents=True, exist_ok=True)
    for name in KEPT:
        _copy(saved / name, home / name)


def export_best(folder: Path, row: TrialRow, base: dict[str, Any], saved: Path) -> None:
    """Writes best.yaml and best.safetensors from the checkpoint `saved` of the trial in `row`."""
    config = trial_config(base, row.knobs)
    header = (
        f"# Trial {row.number} of the search {folder.name}: validation AUROC {decimal(row.value)}, "
        f"{row.percent} % of its schedule.\n# To train it again, without Ray: chex train {BEST}\n"
    )
    _copy(saved / checkpoint.WEIGHTS, folder / checkpoint.WEIGHTS)
    _copy(saved / checkpoint.PREDICTIONS, folder / checkpoint.PREDICTIONS)
    write_text(folder / BEST, header + dump(config))


def drop_weights(trial: Path) -> None:
    """Removes the large files of an ended trial's checkpoints; what is worth keeping has been copied out."""
    for name in (checkpoint.STATE, checkpoint.WEIGHTS):
        for path in trial.glob(f"checkpoint_*/{name}"):
            path.unlink()


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as beside:
        shutil.copyfile(source, beside)
