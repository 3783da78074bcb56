"""The names of the files in a run's folder, its best AUROC, and SHA-256 digests."""

import hashlib
from pathlib import Path

STATE, PREVIOUS_STATE = "state.pt", "state.earlier.pt"
WEIGHTS, PREDICTIONS, REPORTS = "best.safetensors", "predictions.csv", "reports.csv"
PROBABILITIES = "probabilities.parquet"


def digest(text: str) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of `text`."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def best_auroc(folder: Path) -> float:
    """Returns the validation AUROC of the best weights of the run in `folder`, from the last row of reports.csv."""
    import pandas as pd

    return float(pd.read_csv(folder / REPORTS)["best_auroc"].iloc[-1])


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


RUN_CONFIG, DONE = "run.yaml", "done"
