from dataclasses import replace
from pathlib import Path

import pandas as pd

from chex.checkpoint import PREDICTIONS, WEIGHTS
from chex.config import override
from search.export import BEST, COLUMNS, TRIALS, export_best, trial_folder, write_columns, write_trials
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


def test_the_best_config_says_how_it_is_trained_on_another_machine(tmp_path: Path) -> None:
    table = tmp_path / "tables" / "self_trained" / "probabilities.csv"
    home = trial_folder(tmp_path, 1)
    home.mkdir(parents=True)
    for name in (WEIGHTS, PREDICTIONS):
        (home / name).touch()
    row = TrialRow(1, "finished", {"policy.default": "self_trained"}, ({"percent": 100, "best_auroc": 0.75},))
    base = override({}, {"relabel.self_trained": str(table), "relabel.forest": "/lab/mine.csv"})
    export_best(tmp_path, row, base, "gs://films/x.zip?region=a&b=c")
    lines = (tmp_path / BEST).read_text().splitlines()
    made = "relabel.self_trained=tables/self_trained/probabilities.csv"
    assert lines[2] == f"# Where the tree or this folder lies elsewhere: chex train best.yaml --data TREE --set {made}"
    assert lines[3] == "# The TREE: what `chex-search stage 'gs://films/x.zip?region=a&b=c'` says"
    export_best(tmp_path, replace(row, knobs={"policy.default": "forest"}), base)
    lines = (tmp_path / BEST).read_text().splitlines()
    assert lines[2] == "# Where the tree or this folder lies elsewhere: chex train best.yaml --data TREE"
    assert not lines[3].startswith("#")
