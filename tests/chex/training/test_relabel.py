from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.__main__ import main as chex
from chex.config import RunConfig, to_yaml
from chex.training.relabel import make_teacher_table, table_summary
from chex.uncertainty.probability_tables import TABLE, write_probabilities
from tests.conftest import write_split

Make = Callable[..., RunConfig]


def test_the_forest_command_writes_a_table_that_a_run_can_use(
    make_run: Make, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tree, "train", range(1, 41), uncertain_every=5)
    (tmp_path / "run.yaml").write_text(to_yaml(make_run()))
    out = tmp_path / "forest"
    assert chex(["relabel", "forest", str(tmp_path / "run.yaml"), "--data", str(tree), "--out", str(out)]) == 0
    message = capsys.readouterr().out
    assert f"{out / TABLE}: probabilities of 16 uncertain cells" in message
    assert f"--set policy.default=forest relabel.forest={out / TABLE}" in message
    assert pd.read_csv(out / TABLE)["Cardiomegaly"].between(0, 1).all()
    use = ["--set", "policy.default=forest", f"relabel.forest={out / TABLE}", "schedule.epochs=1"]
    assert chex(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "student"), *use]) == 0


def test_a_run_whose_policy_lacks_its_table_is_refused_with_the_command_that_makes_it(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(make_run()))
    assert chex(["train", str(tmp_path / "run.yaml"), "--set", "policy.default=self_trained"]) == 2
    message = capsys.readouterr().err
    assert "relabel.self_trained: not set, and the policy 'self_trained' of Cardiomegaly reads a probability" in message
    assert "make one with `chex relabel teacher RUN.yaml --data TREE`" in message


def test_a_teacher_that_diverges_ends_with_one_sentence(
    make_run: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_run()
    exploding = config.model_copy(update={"optimizer": config.optimizer.model_copy(update={"lr": 1e30})})
    assert make_teacher_table(exploding, tmp_path / "teacher") == 1
    assert "loss became nan at step 1 of 4" in capsys.readouterr().err
    assert not (tmp_path / "teacher" / TABLE).exists()


def test_a_summary_counts_cells_and_averages_them(tmp_path: Path) -> None:
    figures = np.array([[0.2, np.nan], [0.4, np.nan], [np.nan, np.nan]])
    write_probabilities(tmp_path / TABLE, np.array(["a", "b", "c"]), ("Edema", "Fracture"), figures)
    lines = table_summary(tmp_path / TABLE).splitlines()
    assert lines[0].endswith(f"{TABLE}: probabilities of 2 uncertain cells")
    assert lines[1].split() == ["Edema", "2", "cells", "mean", ".300"]
    assert lines[2].split() == ["Fracture", "0", "cells", "mean", "-"]
