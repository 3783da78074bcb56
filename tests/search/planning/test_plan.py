import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console

from chex.errors import InputError
from search.command import main
from search.config.resources import Node, plan_slots
from search.config.search_config import SearchConfig, load_search
from search.planning import plan as planning
from search.planning.forecast import Speed
from search.planning.plan import duration, plan, search_rows
from search.planning.speed import measure_speed
from tests.zip_and_upload import upload, zipped

SMOOTHS = {"policy.default": "smoothed_ones"}
CONTENT: dict[str, Any] = {
    "base": {"model": {"backbone": "test_resnet"}, "batches": {"size": 6}, "schedule": {"epochs": 2}},
    "space": {
        "policy.default": {"choice": ["zeros", "smoothed_ones", "self_trained"]},
        "policy.default.low": {"uniform": [0.4, 0.8], "condition": SMOOTHS},
        "optimizer.lr": {"loguniform": [1e-4, 1e-3]},
        "schedule.epochs": {"int": [1, 3]},
        "model.dropout": {"fixed": 0.0},
    },
    "constraints": ["policy.default.low < .6"],
    "initial_points": [{"policy.default": "smoothed_ones", "policy.default.low": 0.5, "optimizer.lr": 5e-4}],
    "budget": {"trials": 10},
}


@pytest.fixture
def load(tmp_path: Path, tree: Path) -> Callable[..., SearchConfig]:
    """The search of CONTENT on the small tree, with --set texts."""

    def loaded(*sets: str, data: Path | None = tree) -> SearchConfig:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump(CONTENT, sort_keys=False))
        small = ["image.size=32", f"image.cache_dir={tmp_path / 'cache'}"]
        return load_search(path, [*small, *sets], data)

    return loaded


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPUs, and a run that trains on 10 images a second."""
    monkeypatch.setattr(planning, "this_machine", lambda: Node(2, 0))
    monkeypatch.setattr(planning, "measure_speed", lambda config, selection: (Speed(10, 20), "as a test says"))


def page(search: SearchConfig, images_per_second: float | None = None) -> list[str]:
    """The page's lines, their blanks made one."""
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(plan(search, "small.yaml", images_per_second))
    return [re.sub(" +", " ", line).strip() for line in console.export_text().splitlines()]


def test_every_knob_is_a_line_with_domain_condition_and_base_value(load: Callable[..., SearchConfig]) -> None:
    lines = page(load())
    assert lines[:2] == [
        "small.yaml: 10 trials on top of test_resnet at 32 px, 6 images a step",
        "nothing is started or written",
    ]
    assert "policy.default choice: [zeros, smoothed_ones, self_trained] zeros" in lines
    assert "policy.default.low uniform: [0.4, 0.8] policy.default: smoothed_ones" in lines
    assert "optimizer.lr loguniform: [0.0001, 0.001] 0.002 (outside)" in lines
    assert "schedule.epochs int: [1, 3] 2" in lines
    assert "model.dropout fixed: 0 0" in lines


def test_constraints_points_size_sampler_and_rungs_are_told(load: Callable[..., SearchConfig]) -> None:
    lines = page(load())
    assert "1 policy.default.low < .6" in lines
    assert [line for line in lines if re.fullmatch(r"feasible 8\d % of 1,000 random points", line)]
    assert "trial 1 policy.default smoothed_ones, policy.default.low 0.5, optimizer.lr 0.0005" in lines
    assert "combinations 9 of policy.default, schedule.epochs; before constraints" in lines
    assert "continuous 2 parameters policy.default.low, optimizer.lr" in lines
    assert "sampler TPE seed 0; 6 trials at random before it learns" in lines
    assert "pruning at 25, 50 % ASHA: at report 1, 2 of 4 the best 1/2 so far continue" in lines


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("tpe", ("TPE", "seed 3; 6 trials at random before it learns")),
        ("gp", ("Gaussian process", "seed 3; 6 trials at random before it learns")),
        ("random", ("random", "seed 3")),
        ("qmc", ("Sobol points", "seed 3; choices at random")),
    ],
)
def test_each_sampler_is_told_by_its_name(kind: Any, told: tuple[str, str]) -> None:
    search = SearchConfig.model_validate(
        {"base": {}, "space": {"schedule.epochs": {"int": [1, 3]}}, "sampler": {"kind": kind, "seed": 3}}
    )
    assert ("sampler", *told) in search_rows(search)


def test_images_and_time_are_counted_over_trials(load: Callable[..., SearchConfig]) -> None:
    lines = page(load())
    assert "the base run 48 rows sampled, in whole batches, times epochs" in lines
    assert "shortest to longest 24 to 72 of these" in lines
    assert "at 25 % 6 to 18 where a trial may be pruned" in lines
    assert "the teacher 48 of self_trained, trained before the first trial" in lines
    (mean,) = [float(line.split()[3]) for line in lines if line.startswith("a trial, mean")]
    (total,) = [int(line.split()[2]) for line in lines if line.endswith("mean times trials, none pruned")]
    assert 44 < mean < 52
    assert total == pytest.approx(48 + 9 * mean, abs=5)
    assert f"{round(total / 2)} if exactly the best 1/2 continue at each rung" in lines
    assert "training 10 images/s of one trial alone, measured: as a test says" in lines
    assert "trials at once 2 of 1 CPU each, on 2 CPUs and no GPU here" in lines
    scored = 4 * (12 + 24)
    seconds = (48 / 10 + scored / 20) + (total / 10 + 10 * scored / 20) / 2
    assert f"estimated {duration(seconds)} images over speed, the teacher's too; none pruned" in lines


def test_the_speed_of_another_machine_may_be_given(load: Callable[..., SearchConfig]) -> None:
    lines = page(load("resources.gpus_per_trial=0.25"), images_per_second=100)
    assert "speed 100 images/s given, of all trials together; scoring 3 times as fast" in lines
    assert any(line.startswith("estimated ") and line.endswith("none pruned") for line in lines)
    assert not any("measured" in line for line in lines)


def test_what_this_machine_has_no_room_for_is_not_measured(load: Callable[..., SearchConfig]) -> None:
    lines = page(load("resources.gpus_per_trial=0.25"))
    told = "trials at once 0 resources: a trial asks for 1 CPU and 0.25 GPU, and this machine has 2 CPUs and no GPU"
    assert any(line.startswith(told) for line in lines)
    assert "estimated unknown give the speed of the machine: --images-per-second X" in lines


def test_without_a_tree_passes_over_it_are_counted(load: Callable[..., SearchConfig]) -> None:
    lines = page(load(data=None))
    assert "the base run 2.00 over the training images: epochs times sampling.fraction" in lines
    assert "shortest to longest 1.00 to 3.00 of these" in lines
    assert lines[-1] == "images and hours are unknown without a dataset: give one with --data TREE"


def test_a_grid_is_counted_point_by_point_and_nothing_stops_without_asha(load: Callable[..., SearchConfig]) -> None:
    given = {"seed": {"int": [0, 2]}, "schedule.epochs": {"choice": [1, 2]}}
    free = {"constraints": (), "initial_points": (), "pruning": None}
    grid = {"space": given, "sampler": {"kind": "grid"}, "budget": {"trials": 6}}
    lines = page(SearchConfig.model_validate(load().model_dump() | free | grid))
    assert "sampler grid every combination once" in lines
    assert "pruning none every trial runs to its end" in lines
    assert "a trial, mean 36 over 6 points of the grid" in lines
    assert "all trials 216 mean times trials, none pruned" in lines


@pytest.mark.parametrize(("seconds", "told"), [(12.4, "12 s"), (300, "5 min"), (5000, "83 min"), (90000, "25.0 h")])
def test_a_duration_is_as_exact_as_it_deserves(seconds: float, told: str) -> None:
    assert duration(seconds) == told


def test_the_speed_is_measured_in_real_steps_and_leaves_nothing_behind(
    load: Callable[..., SearchConfig], tmp_path: Path
) -> None:
    search = load()
    selection = planning._selection(search)
    before = sorted(tmp_path.rglob("*"))
    speed, how = measure_speed(planning._resolve_base(search, plan_slots(search.resources, [Node(2, 0)])), selection)
    assert speed.trained > 1
    assert speed.scored > 1
    assert re.fullmatch(r"\d steps of 6 random images on the CPU", how)
    assert sorted(tmp_path.rglob("*")) == before


def test_the_command_prints_the_page_and_writes_nothing(
    load: Callable[..., SearchConfig], tmp_path: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    load()
    before = sorted(tmp_path.rglob("*"))
    assert main(["plan", str(tmp_path / "small.yaml"), "--data", str(tree), "--set", "image.size=32"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("small.yaml: 10 trials")
    assert max(map(len, told)) <= planning.WIDTH
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_a_tree_in_a_bucket_is_planned_with_as_one_on_a_disk_and_leaves_nothing(
    form: str,
    load: Callable[..., SearchConfig],
    tmp_path: Path,
    tree: Path,
    bucket: Callable[[str], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    load()
    local = zipped(tree) if form == "zip" else tree
    before = sorted(tmp_path.rglob("*"))
    told = []
    for data in (str(tree), upload(local, bucket(local.name))):
        assert main(["plan", str(tmp_path / "small.yaml"), "--data", data, "--set", "image.size=32"]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--images-per-second", "0"], "--images-per-second 0: must be a number above 0; give images per second"),
        (["--images-per-second", "nan"], "--images-per-second nan: must be a number above 0; give images per second"),
        (["--data", "nowhere"], "nowhere is not a folder"),
        (["--data", "ftp://images/x"], "'ftp://' is not supported; give gs://, s3:// or a path"),
        (["--set", "model.backbone=test_resnett"], "'test_resnett' is not a timm model; did you mean 'test_resnet'?"),
        (
            ["--set", "initial_points=[{optimizer.lr: 1}]"],
            "initial_points: point 1: optimizer.lr is 1, outside loguniform",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_sentence(
    load: Callable[..., SearchConfig],
    tmp_path: Path,
    tree: Path,
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    told: str,
) -> None:
    load()
    assert main(["plan", str(tmp_path / "small.yaml"), "--data", str(tree), *more]) == 2
    error = capsys.readouterr().err
    assert error.startswith("chex-search plan: ")
    assert told in error


def test_a_search_that_the_data_refuses_is_not_planned(load: Callable[..., SearchConfig]) -> None:
    with pytest.raises(InputError, match=r"AUROC is undefined for Fracture"):
        page(load("data.observations=Fracture"))


def test_rungs_in_images_are_named_and_nothing_is_said_of_what_they_save(load: Callable[..., SearchConfig]) -> None:
    lines = page(load("pruning.time_attr=images_seen", "pruning.grace_period=5000", "pruning.reduction_factor=3"))
    assert any(
        "at 5,000 images ASHA: there and at each 3 times as many the best 1/3 continue" in line for line in lines
    )
    assert not any("at each rung" in line for line in lines)
