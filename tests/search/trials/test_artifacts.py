from dataclasses import replace
from pathlib import Path

import pandas as pd

from chex.config import apply_overrides
from chex.runtime.run_folder import PREDICTIONS, WEIGHTS
from search.trials.artifacts import export_best, write_columns, write_trials
from search.trials.layout import BEST, COLUMNS, TRIALS, trial_folder
from search.trials.trial import TrialRecord

ROWS = (
    TrialRecord(
        1, "finished", {"batches.size": 32, "policy.default": "zeros"}, ({"percent": 100, "best_auroc": 0.75},)
    ),
    TrialRecord(
        2, "failed", {"batches.size": "auto", "model.ema_decay": True, "optimizer.lr_stem": None}, error="diverged"
    ),
)


def test_the_columnar_file_has_the_columns_of_the_csv_and_mixed_kinds_as_strings(tmp_path: Path) -> None:
    write_trials(tmp_path, ROWS)
    write_columns(tmp_path, ROWS)
    told, found = pd.read_csv(tmp_path / TRIALS), pd.read_parquet(tmp_path / COLUMNS)
    assert list(found.columns) == list(told.columns)
    assert found["batches.size"].tolist() == ["32", "auto"]
    assert found["trial"].tolist() == [1, 2]
    assert found["best_auroc"].dtype == float
    assert (found["model.ema_decay"][0], found["model.ema_decay"][1]) == (None, True)
    assert found["optimizer.lr_stem"].isna().all()
    assert found["error"].tolist() == ["", "diverged"]


def test_the_best_config_says_how_it_is_trained_on_another_machine(tmp_path: Path) -> None:
    table = tmp_path / "tables" / "self_trained" / "probabilities.csv"
    home = trial_folder(tmp_path, 1)
    home.mkdir(parents=True)
    for name in (WEIGHTS, PREDICTIONS):
        (home / name).touch()
    row = TrialRecord(1, "finished", {"policy.default": "self_trained"}, ({"percent": 100, "best_auroc": 0.75},))
    base = apply_overrides({}, {"relabel.self_trained": str(table), "relabel.forest": "/lab/mine.csv"})
    export_best(tmp_path, row, base, "gs://images/x.zip?region=a&b=c")
    lines = (tmp_path / BEST).read_text().splitlines()
    made = "relabel.self_trained=tables/self_trained/probabilities.csv"
    assert lines[2] == f"# If the dataset or this folder is elsewhere: chex train best.yaml --data TREE --set {made}"
    assert lines[3] == "# For TREE, write the folder that `chex-search stage 'gs://images/x.zip?region=a&b=c'` prints"
    export_best(tmp_path, replace(row, params={"policy.default": "forest"}), base)
    lines = (tmp_path / BEST).read_text().splitlines()
    assert lines[2] == "# If the dataset or this folder is elsewhere: chex train best.yaml --data TREE"
    assert not lines[3].startswith("#")
