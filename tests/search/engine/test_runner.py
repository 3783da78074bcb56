"""One real search, with Ray, on a tiny tree; the tests read what it left."""

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ray import tune
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from chex.__main__ import main as chex
from chex.config import load_run
from chex.data import prediction_files
from chex.models import checkpoint
from chex.runtime import run_folder
from chex.statistics.metrics import METRIC, MODE, auroc
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.probability_tables import TABLE
from search.command import main as chex_search
from search.engine.trainable import train_trial
from search.trials.layout import TUNE_FOLDER
from search.trials.predictions import load_predictions
from tests.conftest import TREE, write_split

pytestmark = [pytest.mark.ray, pytest.mark.slow]

TRIALS = 3
RUN = ["run", "tiny.yaml", "--results", "results"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("search")
    write_split(folder / TREE, "train", range(1, 13), uncertain_every=5)
    write_split(folder / TREE, "valid", range(101, 107))
    small = {
        "base": {
            "data": {"root": TREE},
            "image": {"size": 32, "cache_dir": "cache"},
            "model": {"backbone": "test_resnet"},
            "batches": {"size": 8},
        },
        "space": {
            "policy.default": {"choice": ["zeros", "self_trained", "forest"]},
            "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
            "schedule.epochs": {"int": [1, 3]},
        },
        "initial_points": [
            {"policy.default": policy, "optimizer.lr": lr}
            for policy, lr in zip(TABLE_POLICIES, (1e-3, 4e-3), strict=True)
        ],
        "budget": {"trials": TRIALS},
    }
    (folder / "tiny.yaml").write_text(yaml.safe_dump(small))
    return folder


@pytest.fixture(scope="module")
def ran(home: Path) -> subprocess.CompletedProcess[str]:
    """Runs the search in the folder to which the paths in its YAML are relative: trials run in other folders."""
    command = [sys.executable, "-m", "search", *RUN]
    fair = os.environ | {"RAY_worker_niceness": "0"}  # so that trials get their part of a core beside other tests
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=home, env=fair)


@pytest.fixture
def results(home: Path, ran: subprocess.CompletedProcess[str]) -> Path:
    assert ran.returncode == 0, ran.stderr
    return home / "results" / "tiny"


def test_the_last_screen_names_the_best_config_its_interval_and_what_to_type(
    results: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    assert "Best config: trial" in ran.stdout
    assert "95 % interval" in ran.stdout
    assert "train results/tiny/best.yaml\n" in ran.stdout
    assert "--logdir results/tiny/tensorboard\n" in ran.stdout


def test_the_terminal_shows_trials_and_nothing_of_ray(results: Path, ran: subprocess.CompletedProcess[str]) -> None:
    lines = [line for line in ran.stderr.splitlines() if line]
    assert lines[0] == "training the teacher of self_trained, once for all trials"
    assert [line.split("AUROC")[0].strip() for line in lines[1:5]] == [f"teacher {25 * k:>3} %" for k in range(1, 5)]
    assert re.match(r"a teacher of validation AUROC [\d.]+: 32 images, \d+ s$", lines[5])
    assert len(lines[6:]) == TRIALS
    assert all(line.startswith("trial ") for line in lines[6:])


def test_the_page_shows_the_winners_false_negatives_and_the_environment(
    results: Path, ran: subprocess.CompletedProcess[str]
) -> None:
    html = (results / "report.html").read_text(encoding="utf-8")
    assert html.count('<img src="data:image/jpeg;base64,') == 3
    assert "On the right of each image is Grad-CAM" in html
    assert f">{version('torch')}<" in html
    assert "In results/tiny:\nreport.html " in ran.stdout


def test_trials_csv_has_one_row_per_trial_with_its_parameters_and_metrics(results: Path) -> None:
    trials = pd.read_csv(results / "trials.csv")
    assert list(trials["trial"]) == list(range(1, TRIALS + 1))
    assert set(trials["state"]) <= {"finished", "pruned"}
    assert ((trials["percent"] == 100) == (trials["state"] == "finished")).all()
    assert trials[["policy.default", "optimizer.lr", "schedule.epochs", METRIC]].notna().all(axis=None)
    assert list(pd.read_parquet(results / "trials.parquet").columns) == list(trials.columns)


def test_the_best_files_come_from_the_best_trial(results: Path) -> None:
    trials = pd.read_csv(results / "trials.csv")
    winner = trials.loc[trials[METRIC].idxmax()]
    best = load_run(results / "best.yaml")
    assert best.optimizer.lr == winner["optimizer.lr"]
    assert str(best.policy["default"]) == winner["policy.default"]
    _, truth, probability = prediction_files.load_predictions(results / "predictions.csv", ("Cardiomegaly",))
    assert auroc(truth[:, 0], probability[:, 0]) == winner[METRIC]
    weights, about = checkpoint.load_weights(results / "best.safetensors")
    assert about["backbone"] == "test_resnet"
    assert all(np.isfinite(tensor.numpy()).all() for tensor in weights.values())


def test_the_first_trial_is_the_base_run(results: Path, ran: subprocess.CompletedProcess[str]) -> None:
    first = pd.read_csv(results / "trials.csv").iloc[0]
    assert (first["policy.default"], first["optimizer.lr"], first["schedule.epochs"]) == ("zeros", 2e-3, 2)
    assert "base config" in ran.stdout


def test_chex_train_reproduces_the_winner_without_ray(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chex(["train", str(results / "best.yaml"), "--out", str(tmp_path / "again")]) == 0
    winner = pd.read_csv(results / "trials.csv")[METRIC].max()
    assert run_folder.best_auroc(tmp_path / "again") == winner
    first, again = (checkpoint.load_weights(folder / run_folder.WEIGHTS)[0] for folder in (results, tmp_path / "again"))
    assert all((first[name] == again[name]).all() for name in first)


def test_every_reports_probabilities_are_saved_and_reproduce_trials_csv(results: Path) -> None:
    saved = load_predictions(results)
    trials = pd.read_csv(results / "trials.csv")
    assert set(saved.trials) == set(trials["trial"])
    figures = [auroc(saved.truth[:, 0], one[:, 0]) for one in saved.probability]
    for number, best, last in zip(trials["trial"], trials[METRIC], trials["auroc"], strict=True):
        own = [figures[remote] for remote in saved.of(number)]
        assert (max(own), own[-1]) == (best, last)
    assert not list(results.glob(f"trials/*/{run_folder.PROBABILITIES}"))


def test_confirm_trains_the_best_again_on_the_same_new_seeds(home: Path, results: Path) -> None:
    requested = [sys.executable, "-m", "search", "confirm", str(results), "--top", "2", "--seeds"]
    done = subprocess.run([*requested, "2"], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    assert "Each config was trained again on the same 2 new seeds" in done.stdout
    again = pd.read_csv(results / "confirm" / "trials.csv")
    assert again["seed"].tolist() == [1, 1, 2, 2]
    assert set(again["state"]) == {"finished"}
    best = pd.read_csv(results / "trials.csv").nlargest(2, METRIC)
    assert sorted(again["optimizer.lr"].unique()) == sorted(best["optimizer.lr"])
    tables = [path.relative_to(results / "confirm") for path in (results / "confirm" / "tables").rglob("*.*")]
    assert sorted(map(str, tables)) == ["tables/forest/probabilities.csv", "tables/self_trained/probabilities.csv"]
    assert "Trained again on new seeds" in (results / "report.html").read_text(encoding="utf-8")
    other = subprocess.run([*requested, "3"], capture_output=True, text=True, timeout=600, check=False)
    assert other.returncode == 2
    assert "confirm holds a confirmation of other trials or seeds (" in other.stderr
    assert "; use the same --top and --seeds, or move the folder away" in other.stderr


def test_tensorboard_finds_curves_for_each_trial(results: Path) -> None:
    trials = pd.read_csv(results / "trials.csv")
    for number, percent in zip(trials["trial"], trials["percent"], strict=True):
        (run,) = (results / "tensorboard").glob(f"{number:03d}, *")
        events = EventAccumulator(str(run)).Reload()  # type: ignore[no-untyped-call]
        tags = set(events.Tags()["tensors"])
        assert {"AUROC/best", "AUROC/mean", "loss/train", "loss/validation"} <= tags
        assert make_ndarray(events.Tensors("progress/percent")[-1].tensor_proto) == percent
        assert {"validation/ROC", "validation/confusion", "outcome/text_summary"} <= tags
    best = EventAccumulator(str(results / "tensorboard" / "best trial")).Reload()  # type: ignore[no-untyped-call]
    assert "images" in best.Tags()["tensors"]


def test_the_hparams_table_has_every_parameter_of_the_space_as_a_column(results: Path) -> None:
    described = _hparams(results / "tensorboard" / "best trial")[0].experiment
    assert {info.name for info in described.hparam_infos} == {"policy.default", "optimizer.lr", "schedule.epochs"}
    assert described.metric_infos[0].name.tag == "AUROC/best"
    for number in range(1, TRIALS + 1):
        start, end = _hparams(next((results / "tensorboard").glob(f"{number:03d}*")))
        assert set(start.session_start_info.hparams) == {"policy.default", "optimizer.lr", "schedule.epochs"}
        assert end.session_end_info.status == 1  # STATUS_SUCCESS


def test_running_it_again_shows_the_result_and_trains_nothing(
    home: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (results / "trials.csv").stat().st_mtime_ns
    monkeypatch.chdir(home)
    assert chex_search(RUN) == 0
    shown = capsys.readouterr().out
    assert "is finished; --overwrite starts it over" in shown
    assert "Best config: trial" in shown
    assert (results / "trials.csv").stat().st_mtime_ns == before


def test_another_search_does_not_get_its_folder(
    home: Path, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(home)
    assert chex_search([*RUN, "--set", "budget.trials=9", "--name", "tiny"]) == 2
    told = f"has another search (budget.trials is 9 here and {TRIALS} in its search.yaml); give this one another --name"
    assert told in capsys.readouterr().err


def test_each_table_is_made_once_and_best_yaml_says_where_it_is(results: Path) -> None:
    tables = {kind: results / "tables" / kind / TABLE for kind in TABLE_POLICIES}
    figures = [pd.read_csv(path)["Cardiomegaly"] for path in tables.values()]
    assert all(len(column) == 4 and column.between(0, 1).all() for column in figures)
    assert {kind: getattr(load_run(results / "best.yaml").relabel, kind) for kind in tables} == tables
    report = (results / "report.txt").read_text()
    assert re.search(r"Trained once for self_trained: a teacher of validation AUROC [\d.]+: 32 images, \d+ s\.", report)


def test_tunes_own_classes_read_the_finished_search(results: Path) -> None:
    folder = str(results / TUNE_FOLDER)
    analysis = tune.ExperimentAnalysis(folder, default_metric=METRIC, default_mode=MODE)
    grid = tune.Tuner.restore(folder, trainable=train_trial).get_results()
    trials = pd.read_csv(results / "trials.csv")
    for config in (analysis.best_config, grid.get_best_result().config):
        same = (trials[list(config)] == list(config.values())).all(axis=1)
        assert trials[METRIC][same].tolist() == [trials[METRIC].max()]
    assert len(grid) == TRIALS
    assert not grid.errors
    assert {len(reports) for reports in analysis.trial_dataframes.values()} <= {3, 4}


def test_no_large_file_is_left_of_ended_trials(results: Path) -> None:
    saved = {str(path.parent.relative_to(results)) for path in results.rglob("*.safetensors")}
    assert saved - {"confirm"} == {".", "tables/self_trained"}
    assert not list(results.rglob("state.pt"))


def _hparams(folder: Path) -> list[HParamsPluginData]:
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

    found = []
    for path in sorted(folder.glob("*tfevents*")):
        for raw in RawEventFileLoader(str(path)).Load():  # type: ignore[no-untyped-call]
            for value in Event.FromString(raw).summary.value:
                if value.metadata.plugin_data.plugin_name == "hparams":
                    found.append(HParamsPluginData.FromString(value.metadata.plugin_data.content))
    return found
