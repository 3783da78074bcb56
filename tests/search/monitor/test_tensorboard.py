"""TensorBoard reads the logs of a search, in this process and without a port."""

import io
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image
from werkzeug.test import Client

from chex.config import RunConfig
from chex.data import prediction_files
from chex.statistics.metrics import METRIC
from search.monitor.tensorboard import BEST_TRIAL, COLUMNS_FILE, FOLDER, SearchLogs
from search.monitor.tensorboard_summaries import MAX_RUN_NAME, run_name
from search.space.space import Space, build_space
from search.trials.layout import trial_folder
from search.trials.trial import TrialRecord

with warnings.catch_warnings():
    # TensorBoard's own copy of html5lib deprecates itself when it is imported.
    warnings.filterwarnings("ignore", "html5lib's sanitizer is deprecated", DeprecationWarning)
    from tensorboard import default, program
    from tensorboard.backend.application import TensorBoardWSGIApp
    from tensorboard.backend.event_processing.data_ingester import LocalDataIngester

NAMES = ("Cardiomegaly", "Pleural Effusion")
SPACE = {
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "schedule.epochs": {"int": [1, 4]},
    "policy.default": {"choice": ["zeros", "smoothed_ones"]},
    "policy.default.low": {"uniform": [0.4, 0.7], "condition": {"policy.default": "smoothed_ones"}},
    "optimizer.lr_stem": {"choice": [None, 1e-5]},
    "batches.size": {"choice": [8, 16]},
    "model.pretrained": {"choice": [False, True]},
}
PARAMS: dict[str, Any] = {
    "optimizer.lr": 1e-3,
    "schedule.epochs": 2,
    "policy.default": "zeros",
    "optimizer.lr_stem": None,
    "batches.size": 16,
    "model.pretrained": False,
}
RUN = "001, zeros"
"""The name of the run of trial 1."""
SMOOTHED = PARAMS | {"policy.default": "smoothed_ones", "policy.default.low": 0.5, "optimizer.lr_stem": 1e-5}


class Board:
    """TensorBoard on a folder, with the requests of a browser."""

    def __init__(self, search: Path):
        folder = search / FOLDER
        board = program.TensorBoard(default.get_plugins())
        flags = {"logdir": str(folder), "reload_interval": 0, "reload_task": "blocking"}
        board.configure(**flags)
        ingester = LocalDataIngester(board.flags)
        ingester.start()
        app = TensorBoardWSGIApp(
            board.flags,
            board.plugin_loaders,
            ingester.data_provider,
            board.assets_zip_provider,
            ingester.deprecated_multiplexer,
        )
        self.client = Client(app)

    def get(self, path: str) -> bytes:
        response = self.client.get(f"/data/plugin/{path}")
        assert response.status_code == 200, response.text
        return response.data

    def json(self, path: str) -> Any:
        return json.loads(self.get(path))

    def experiment(self) -> Any:
        request = quote(json.dumps({"experimentName": "", "hparamsLimit": 0}))
        return self.json(f"hparams/experiment?request={request}")

    def sessions(self, **column: Any) -> dict[str, Any]:
        """Session groups by name; `column` filters them as the table's filters do."""
        states = ["STATUS_UNKNOWN", "STATUS_SUCCESS", "STATUS_FAILURE", "STATUS_RUNNING"]
        body = {"experimentName": "", "allowedStatuses": states, "colParams": [column] if column else []}
        request = quote(json.dumps(body | {"startIndex": 0, "sliceSize": 100}))
        groups = self.json(f"hparams/session_groups?request={request}")["sessionGroups"]
        return {group["name"]: group for group in groups}

    def metrics(self, trial: str) -> dict[str, float]:
        return {each["name"]["tag"]: each["value"] for each in self.sessions()[trial]["metricValues"]}

    def scalars(self, run: str, tag: str) -> list[tuple[int, float]]:
        points = self.json(f"scalars/scalars?run={quote(run)}&tag={quote(tag)}")
        return [(step, value) for _, step, value in points]

    def picture(self, run: str, tag: str) -> Image.Image:
        last = self.json(f"images/images?run={quote(run)}&tag={quote(tag)}&sample=0")[-1]
        picture = Image.open(io.BytesIO(self.get(f"images/individualImage?{last['query']}")))
        assert picture.format == "PNG"
        return picture


def report(percent: int, auroc: float = 0.8) -> dict[str, Any]:
    mean_metrics = {"auroc": auroc, "recall": math.nan, "precision": 0.4, "error_rate": 0.2}
    progress = {"percent": percent, "phase": 1, "epoch": percent / 50, "images_seen": 10 * percent, "seconds": 3.0}
    each = {f"auroc/{name}": auroc for name in NAMES}
    return (
        progress
        | {"micro_batch_size": 8, "lr": 1e-3, "train_loss": 0.6, "valid_loss": 0.7, METRIC: auroc}
        | mean_metrics
        | each
    )


def row(number: int, percent: int, state: Any = "running", auroc: float = 0.8, **fields: Any) -> TrialRecord:
    return TrialRecord(number, state, PARAMS, (report(percent, auroc),), **fields)


@pytest.fixture
def base(make_run: Callable[..., RunConfig]) -> RunConfig:
    return make_run({"data.observations": list(NAMES)})


@pytest.fixture
def space(base: RunConfig) -> Space:
    return build_space(SPACE, base.model_dump(mode="json"))


@pytest.fixture
def make_logs(tmp_path: Path, base: RunConfig, space: Space) -> Callable[[], SearchLogs]:
    """Creates the logs of the search in `tmp_path`/search, as each start of the driver does."""
    return lambda: SearchLogs(tmp_path / "search", space, base)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "search"


def predict(folder: Path, number: int) -> None:
    """Writes predictions of trial `number` on the 12 validation images of the tree, all but one right."""
    truth = np.stack([np.arange(12) % 4 < 2, np.arange(12) % 3 == 0], axis=1).astype(float)
    probability = np.where(truth == 1, 0.9, 0.2)
    probability[0] = 0.1
    trial_path = trial_folder(folder, number)
    trial_path.mkdir(parents=True, exist_ok=True)
    names = np.array([f"image{k}" for k in range(12)])
    prediction_files.save_predictions(trial_path, names, names, NAMES, truth, probability)


def log_one_trial(logs: SearchLogs, folder: Path) -> None:
    """Logs a trial with two reports, predictions and an end."""
    logs.report(row(1, 50, auroc=0.7))
    predict(folder, 1)
    logs.report(row(1, 100))
    logs.end(row(1, 100, "finished"))


def test_every_parameter_of_the_space_is_a_column_under_its_dotted_path(make_logs: Any, folder: Path) -> None:
    make_logs().close()
    infos = {info["name"]: info for info in Board(folder).experiment()["hparamInfos"]}
    assert set(infos) == set(SPACE)
    assert all(not info["displayName"] for info in infos.values())
    assert infos["optimizer.lr_stem"]["domainDiscrete"] == ["1e-05", "None"]
    assert infos["batches.size"]["domainDiscrete"] == [8, 16]
    assert infos["model.pretrained"]["domainDiscrete"] == [False, True]
    assert infos["policy.default.low"]["domainInterval"] == {"minValue": 0.4, "maxValue": 0.7}


def test_metrics_are_existing_scalars_with_the_searched_one_first(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.close()
    board = Board(folder)
    metrics = [(each["name"]["tag"], each["displayName"]) for each in board.experiment()["metricInfos"]]
    assert metrics[0] == ("AUROC/best", "best AUROC")
    assert metrics[-1] == ("AUROC by observation/Pleural Effusion", "AUROC Pleural Effusion")
    tags = board.json("scalars/tags")[RUN]
    assert {tag for tag, _ in metrics} - set(tags) == {"recall/mean"}  # undefined in these reports
    assert board.metrics("trial 1")["AUROC/best"] == pytest.approx(0.8)


def test_a_trial_has_its_own_parameters_and_filters_find_it(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    logs.report(row(1, 50))
    logs.report(replace(row(2, 50), params=SMOOTHED))
    logs.close()
    board = Board(folder)
    first, second = (board.sessions()[f"trial {number}"]["hparams"] for number in (1, 2))
    assert first == PARAMS | {"optimizer.lr_stem": "None"}
    assert second == SMOOTHED | {"optimizer.lr_stem": "1e-05"}
    assert set(board.sessions(hparam="optimizer.lr_stem", filterDiscrete=["None"])) == {"trial 1"}
    assert set(board.sessions(hparam="batches.size", filterDiscrete=[8])) == set()
    assert set(board.sessions(hparam="model.pretrained", filterDiscrete=[False])) == {"trial 1", "trial 2"}
    low = {"minValue": 0.4, "maxValue": 0.6}
    assert set(board.sessions(hparam="policy.default.low", filterInterval=low)) == {"trial 1", "trial 2"}
    without_missing = board.sessions(hparam="policy.default.low", filterInterval=low, excludeMissingValues=True)
    assert set(without_missing) == {"trial 2"}


def test_a_failed_trial_is_shown_as_failed_even_without_a_report(
    make_logs: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = make_logs()
    logs.end(TrialRecord(1, "failed", PARAMS, (), "out of memory"))
    logs.end(TrialRecord(2, "failed", PARAMS, ({METRIC: math.nan, "percent": 0},), "the loss became nan"))
    log_one_trial(logs, folder)
    logs.report(row(3, 50))
    logs.close()
    states = {name: group["sessions"][0]["status"] for name, group in Board(folder).sessions().items()}
    assert states.pop("trial 2") == "STATUS_FAILURE"
    assert states == {"trial 1": "STATUS_FAILURE", "trial 3": "STATUS_UNKNOWN"}
    assert capsys.readouterr().err == ""


def test_an_ended_trial_has_a_pr_curve_per_observation(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.close()
    board = Board(folder)
    tags = board.json("pr_curves/tags")[RUN]
    assert {lines["displayName"] for lines in tags.values()} == set(NAMES)
    tag = quote("precision and recall/Cardiomegaly")
    (curve,) = board.json(f"pr_curves/pr_curves?run={quote(RUN)}&tag={tag}")[RUN]
    at_half = curve["thresholds"].index(0.5)
    assert curve["step"] == 1000
    assert [curve[name][at_half] for name in ("true_positives", "false_positives")] == [5, 0]
    assert [curve[name][at_half] for name in ("true_negatives", "false_negatives")] == [6, 1]
    assert (curve["precision"][at_half], curve["recall"][at_half]) == (1, pytest.approx(5 / 6))


def test_figures_are_pngs_large_enough_to_read(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.show_best(row(1, 100, "finished"))
    logs.close()
    board = Board(folder)
    tags = board.json("images/tags")
    assert {run: set(each) for run, each in tags.items() if each} == {
        BEST_TRIAL: {"images"},
        RUN: {"validation/ROC", "validation/confusion"},
    }
    for run, each in tags.items():
        for tag, about in each.items():
            assert "alidation images" in about["description"]
            assert board.picture(run, tag).width >= 700


def test_every_scalar_has_a_description(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.close()
    tags = Board(folder).json("scalars/tags")[RUN]
    assert all(about["description"] for about in tags.values())
    assert tags["AUROC/best"]["displayName"] == "best AUROC"
    assert "the metric that the search maximises" in tags["AUROC/best"]["description"]
    assert tags["AUROC by observation/Cardiomegaly"]["displayName"] == "AUROC, Cardiomegaly"
    assert "of Cardiomegaly" in tags["AUROC by observation/Cardiomegaly"]["description"]


def test_runs_are_named_after_their_policies_and_say_how_they_ended(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.report(replace(row(2, 50, auroc=0.7), params=SMOOTHED))
    predict(folder, 2)
    logs.end(replace(row(2, 50, "pruned", auroc=0.7), params=SMOOTHED))
    logs.close()
    board = Board(folder)
    assert {run for run, tags in board.json("scalars/tags").items() if tags} == {RUN, "002, smoothed_ones"}
    lines = [
        board.json(f"text/text?run={quote(run)}&tag={quote('outcome/text_summary')}")[0]["text"]
        for run in (RUN, "002, smoothed_ones")
    ]
    assert "Trial 1 finished: its best AUROC is .800." in lines[0]
    assert "Trial 2 was pruned at 50 % of its schedule: its best AUROC is .700." in lines[1]


def test_a_run_with_many_policies_has_a_name_short_enough_for_a_file_system() -> None:
    params = {f"policy.Observation {number}": "smoothed_ones" for number in range(14)}
    name = run_name(TrialRecord(7, "running", {"model.backbone": "a/b", **params}))
    assert name.startswith("007, a-b, Observation 0 smoothed_ones, ")
    assert len(name) == MAX_RUN_NAME


def test_a_resumed_search_repeats_no_entry(make_logs: Any, folder: Path) -> None:
    killed = make_logs()
    killed.report(row(1, 50, auroc=0.6))
    killed.report(row(1, 75, auroc=0.7))  # the driver dies here, and trial 1 goes on from its report at 50 %
    for writer in killed.writers.values():
        writer.flush()
    columns = (folder / FOLDER / BEST_TRIAL / COLUMNS_FILE).stat()
    logs = make_logs()
    assert (folder / FOLDER / BEST_TRIAL / COLUMNS_FILE).stat() == columns
    logs.report(row(1, 50, auroc=0.6))
    logs.report(row(1, 75, auroc=0.71))
    logs.report(row(1, 100))
    predict(folder, 1)
    logs.end(row(1, 100, "finished"))
    logs.close()
    killed.close()
    board = Board(folder)
    assert len(list((folder / FOLDER / RUN).glob("*tfevents*"))) == 2
    assert board.scalars(RUN, "AUROC/mean") == [
        (500, pytest.approx(0.6)),
        (750, pytest.approx(0.71)),
        (1000, pytest.approx(0.8)),
    ]
    _one_session(board)


def test_a_trial_that_ends_twice_has_one_session_and_one_of_each_figure(make_logs: Any, folder: Path) -> None:
    logs = make_logs()
    log_one_trial(logs, folder)
    logs.close()
    reopened = make_logs()
    reopened.end(row(1, 100, "finished"))
    reopened.close()
    board = Board(folder)
    assert [step for step, _ in board.scalars(RUN, "AUROC/mean")] == [500, 1000]
    assert len(board.json(f"images/images?run={quote(RUN)}&tag=validation/ROC&sample=0")) == 1
    assert len(list((folder / FOLDER / BEST_TRIAL).glob("*tfevents*"))) == 1
    _one_session(board)


def _one_session(board: Board) -> None:
    (group,) = board.sessions().values()
    (session,) = group["sessions"]
    assert session["status"] == "STATUS_SUCCESS"
    assert group["hparams"] == PARAMS | {"optimizer.lr_stem": "None"}
    assert len(board.experiment()["hparamInfos"]) == len(SPACE)


def test_a_figure_that_cannot_be_drawn_gives_a_warning_and_the_trial_ends(
    make_logs: Any, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = make_logs()
    logs.report(row(1, 100))
    logs.end(row(1, 100, "finished"))
    logs.show_best(row(1, 100, "finished"))
    logs.close()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": FileNotFoundError:")[0] for line in lines] == [
        "TensorBoard does not show the figures of trial 1",
        "TensorBoard does not show the images of trial 1",
    ]
    assert Board(folder).sessions()["trial 1"]["sessions"][0]["status"] == "STATUS_SUCCESS"


def test_a_search_runs_without_images_to_show(
    folder: Path, base: RunConfig, space: Space, capsys: pytest.CaptureFixture[str]
) -> None:
    without_tree = base.model_copy(update={"data": base.data.model_copy(update={"root": folder / "gone"})})
    logs = SearchLogs(folder, space, without_tree)
    log_one_trial(logs, folder)
    logs.show_best(row(1, 100, "finished"))
    logs.close()
    assert capsys.readouterr().err.startswith("TensorBoard does not show the images of the best trial: InputError: ")
    assert set(Board(folder).json("images/tags")[RUN]) == {"validation/ROC", "validation/confusion"}
