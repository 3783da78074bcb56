from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.__main__ import main as chex
from chex.config import RunConfig, to_yaml
from chex.schema.labels import UNCERTAIN, label_columns
from chex.training.preflight import teacher_config
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.teacher import train_teacher
from chex.uncertainty.probability_tables import TABLE

Make = Callable[..., RunConfig]


def taught(config: RunConfig, folder: Path) -> tuple[RunData, pd.DataFrame]:
    """Trains the teacher of `config`; its data and its table."""
    teacher = teacher_config(config)
    data = load_run_data(teacher, load_run_tables(teacher))
    assert [report.percent for report in train_teacher(teacher, data, folder)][-1] == 100
    return data, pd.read_csv(folder / TABLE)


def test_a_teacher_ignores_uncertain_cells_and_is_otherwise_the_run(make_run: Make) -> None:
    config = make_run({"policy": {"default": "self_trained", "Edema": "ones"}, "relabel.self_trained": "x.csv"})
    teacher = teacher_config(config)
    assert {key: str(policy) for key, policy in teacher.policy.items()} == {"default": "ignore"}
    assert teacher.relabel.self_trained is None
    assert teacher.model_copy(update={"policy": config.policy, "relabel": config.relabel}) == config


def test_a_teacher_gives_each_uncertain_cell_a_probability_that_follows_the_film(
    make_run: Make, make_tree: Callable[..., Path], tmp_path: Path
) -> None:
    make_tree(train=24, uncertain_every=3)
    data, table = taught(make_run({"policy.default": "self_trained", "schedule.epochs": 8}), tmp_path / "teacher")
    train = data.tree.train
    uncertain = train.labels[:, label_columns(["Cardiomegaly"])[0]] == UNCERTAIN
    assert table["Path"].tolist() == train.paths[uncertain].tolist()
    assert table["Cardiomegaly"].between(0, 1).all()
    bright = table["Path"].str.extract(r"patient(\d+)")[0].astype(int) % 2 == 1
    assert table["Cardiomegaly"][bright].min() > table["Cardiomegaly"][~bright].max()


def test_a_run_takes_its_teachers_figures_and_leaves_certain_cells_alone(make_run: Make, tmp_path: Path) -> None:
    config = make_run({"policy.default": "self_trained", "relabel.self_trained": str(tmp_path / "teacher" / TABLE)})
    data, table = taught(config, tmp_path / "teacher")
    student = load_run_tables(config)
    uncertain = data.targets.weights[:, 0] == 0
    np.testing.assert_array_equal(student.targets.values[~uncertain], data.targets.values[~uncertain])
    np.testing.assert_allclose(student.targets.values[uncertain, 0], table["Cardiomegaly"], atol=1e-6)


def test_a_teacher_says_nothing_of_held_out_patients(make_run: Make, tmp_path: Path) -> None:
    data, table = taught(make_run({"data.holdout_fraction": 0.5}), tmp_path / "teacher")
    held = set(data.scored.patients)
    assert len(held) == 6
    assert not held & set(table["Path"].str.split("/").str[1])
    load_run_tables(
        make_run({"data.holdout_fraction": 0.5, "policy.default": "self_trained"} | relabelled(tmp_path / "teacher"))
    )


def relabelled(folder: Path) -> dict[str, str]:
    return {"relabel.self_trained": str(folder / TABLE)}


def test_a_teacher_whose_own_sample_is_a_part_still_relabels_all(make_run: Make, tmp_path: Path) -> None:
    whole, part = (
        taught(make_run({"sampling.fraction": fraction}), tmp_path / f"{fraction}")[1] for fraction in (1.0, 0.5)
    )
    assert whole["Path"].tolist() == part["Path"].tolist()
    assert whole["Cardiomegaly"].tolist() != part["Cardiomegaly"].tolist()


def test_a_teacher_says_nothing_of_certain_cells(make_run: Make, tree: Path, tmp_path: Path) -> None:
    table = pd.read_csv(tree / "train.csv")
    table.loc[[0, 1], "Edema"] = -1.0
    table.to_csv(tree / "train.csv", index=False)
    _, given = taught(make_run({"data.observations": ["Cardiomegaly", "Edema"]}), tmp_path / "teacher")
    assert given["Cardiomegaly"].notna().tolist() == [False, False, True, True, True, True]
    assert given["Edema"].notna().tolist() == [True, True, False, False, False, False]


def test_without_uncertain_cells_the_table_is_empty(make_run: Make, make_tree: Callable, tmp_path: Path) -> None:
    make_tree(uncertain_every=0)
    assert taught(make_run(), tmp_path / "teacher")[1].empty


def test_the_command_trains_a_teacher_and_says_what_it_cost_and_what_to_type(
    make_run: Make, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(make_run()))
    out = tmp_path / "teacher"
    arguments = ["relabel", "teacher", str(tmp_path / "run.yaml"), "--data", str(tree), "--out", str(out)]
    assert chex(arguments) == 0
    message = capsys.readouterr().out
    assert "policy default: ignore; 20 rows of 24 training images" in message
    assert "a teacher of validation AUROC 1.000: 32 images, " in message
    assert "probabilities of 4 uncertain cells" in message
    assert f"--set policy.default=self_trained relabel.self_trained={out / TABLE}" in message
    first = (out / TABLE).read_bytes()
    assert chex(arguments) == 0
    assert (out / TABLE).read_bytes() == first
    use = ["--set", "policy.default=self_trained", f"relabel.self_trained={out / TABLE}"]
    assert chex(["train", str(tmp_path / "run.yaml"), "--out", str(tmp_path / "student"), *use]) == 0
