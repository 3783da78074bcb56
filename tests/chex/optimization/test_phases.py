from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chex.config import RunConfig
from chex.errors import InputError
from chex.models import checkpoint
from chex.optimization.phases import Phase, PhaseConfig, build_phases
from chex.runtime import run_folder
from chex.training.report import Report
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer, fit

Make = Callable[..., RunConfig]


def reports(config: RunConfig, folder: Path) -> list[Report]:
    return list(fit(config, load_run_data(config, load_run_tables(config)), folder))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.read_state(folder, torch.device("cpu"))
    assert state is not None
    return state["model"]


def test_a_run_without_phases_has_one_that_follows_schedule_and_optimizer(make_run: Make) -> None:
    run = make_run({"seed": 7, "schedule.epochs": 3, "optimizer.lr": 0.01, "optimizer.lr_stem": 0.001})
    assert run.resolved_phases() == [Phase(3, "one_cycle", 0.25, lr=0.01, lr_stem=0.001, freeze=0, sample_seed=7)]


def test_a_blank_field_of_a_phase_has_the_value_of_the_run(make_run: Make) -> None:
    run = make_run({"optimizer.lr_stem": 1e-4})
    phases = (PhaseConfig(epochs=1, lr=0.1, sample_seed=5), PhaseConfig(freeze="backbone", shape="constant"))
    first, second = build_phases(phases, run.schedule, run.optimizer, seed=0)
    assert (first.epochs, first.lr, first.lr_stem, first.sample_seed) == (1, 0.1, 0.1, 5)
    assert (second.epochs, second.lr, second.lr_stem, second.shape) == (2, 3e-3, 1e-4, "constant")


def test_each_phase_ends_with_a_report_that_has_its_number(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"phases": [{"epochs": 1}, {"epochs": 3, "lr": 1e-3}], "reports": 1})
    found = reports(run, tmp_path)
    assert [(each.phase, each.epoch, each.percent) for each in found] == [(1, 1, 25), (2, 4, 100)]


def test_a_phase_with_another_sample_seed_sees_other_rows(make_run: Make) -> None:
    run = make_run({"sampling.fraction": 0.5, "phases": [{}, {"sample_seed": 9}, {"sample_seed": 9}]})
    first, second, third = load_run_tables(run).samples
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, third)


def test_a_frozen_backbone_keeps_its_weights_and_statistics_and_the_head_learns(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"phases": [{"epochs": 1}, {"epochs": 2, "freeze": "backbone", "lr": 0.05}], "reports": 1})
    run_reports = fit(run, load_run_data(run, load_run_tables(run)), tmp_path)
    next(run_reports)
    best, _ = checkpoint.load_weights(tmp_path / run_folder.WEIGHTS)
    list(run_reports)
    after = weights(tmp_path)
    for name, tensor in best.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, after[name]) == name.startswith("backbone."), name


def test_a_phase_that_freezes_the_first_groups_trains_the_later_ones(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"phases": [{"epochs": 1}, {"epochs": 1, "freeze": 3, "lr": 0.01}], "reports": 1})
    run_reports = fit(run, load_run_data(run, load_run_tables(run)), tmp_path)
    next(run_reports)
    before = weights(tmp_path)
    list(run_reports)
    after = weights(tmp_path)
    moved = {
        name.split(".")[1]
        for name, tensor in before.items()
        if "weight" in name and not torch.equal(tensor, after[name])
    }
    assert moved == {"layer3", "layer4", "1"}  # 1: the linear layer of the head


def test_a_phase_starts_from_the_best_weights_so_far(make_run: Make, tmp_path: Path) -> None:
    ruined = {"epochs": 1, "lr": 5.0, "shape": "constant", "warmup_fraction": 0.0}
    run = make_run({"optimizer.name": "sgd", "phases": [{"epochs": 4, "lr": 0.05}, ruined, {"epochs": 1, "lr": 1e-9}]})
    found = reports(run, tmp_path)
    best = max(report.auroc for report in found if report.phase < 3)
    assert found[-1].auroc == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_an_interrupted_run_of_phases_resumes_bit_for_bit(make_run: Make, tmp_path: Path, stop_after: int) -> None:
    phases = [{"epochs": 1}, {"epochs": 1, "freeze": "backbone", "lr": 0.01}, {"epochs": 1, "sample_seed": 3}]
    run = make_run({"phases": phases, "reports": 1, "model.ema_decay": 0.9, "sampling.fraction": 0.8})
    cut = fit(run, load_run_data(run, load_run_tables(run)), tmp_path / "cut")
    for _ in range(stop_after):
        next(cut)
    cut.close()  # type: ignore[attr-defined]
    reports(run, tmp_path / "cut")
    reports(run, tmp_path / "whole")
    first, second = (
        pd.read_csv(tmp_path / name / run_folder.REPORTS).drop(columns="seconds") for name in ("cut", "whole")
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    resumed_weights, whole_weights = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(tensor, whole_weights[name]) for name, tensor in resumed_weights.items())


def test_a_run_killed_after_its_best_weights_and_before_its_checkpoint_resumes_bit_for_bit(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = [{"epochs": 1, "lr": 1e-9}, {"epochs": 1}]
    run = make_run({"seed": 1, "phases": phases, "reports": 1})  # the second phase has the better weights
    cut = fit(run, load_run_data(run, load_run_tables(run)), tmp_path / "cut")
    next(cut)

    def killed(self: Trainer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            next(cut)
    resumed = reports(run, tmp_path / "cut")
    whole = reports(run, tmp_path / "whole")
    assert whole[0].auroc < whole[1].auroc
    assert resumed[0].train_loss == whole[1].train_loss
    resumed_weights, whole_weights = weights(tmp_path / "cut"), weights(tmp_path / "whole")
    assert all(torch.equal(tensor, whole_weights[name]) for name, tensor in resumed_weights.items())


def test_freezing_more_layer_groups_than_there_are_is_refused(make_run: Make, tmp_path: Path) -> None:
    message = r"freeze: 9 of 6 layer groups; give 0 to 5, or backbone for all but the head"
    with pytest.raises(InputError, match=message):
        reports(make_run({"phases": [{}, {"freeze": 9}]}), tmp_path)
