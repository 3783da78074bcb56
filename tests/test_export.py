from pathlib import Path

import pandas as pd

from search.export import COLUMNS, TRIALS, write_columns, write_trials
from search.ledger import TrialRow

ROWS = (
    TrialRow(1, "finished", {"batches.size": 32, "policy.default": "zeros"}, ({"percent": 100, "best_auroc": 0.75},)),
    TrialRow(2, "failed", {"batches.size": "auto", "model.ema": True, "optimizer.lr_low": None}, error="diverged"),
)


def test_the_columnar_file_has_the_columns_of_the_csv_and_mixed_kinds_as_strings(tmp_path: Path) -> None:
    write_trials(tmp_path, ROWS)
    write_columns(tmp_path, ROWS)
    told, found = pd.read_csv(tmp_path / TRIALS), pd.read_parquet(tmp_path / COLUMNS)
    assert list(found.columns) == list(told.columns)
    assert found["batches.size"].tolist() == ["32", "auto"]
    assert found["trial"].tolist() == [1, 2]
    assert found["best_auroc"].dtype == float
    assert (found["model.ema"][0], found["model.ema"][1]) == (None, True)
    assert found["optimizer.lr_low"].isna().all()
    assert found["error"].tolist() == ["", "diverged"]
