from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from chex import checkpoint
from chex.config import RunConfig
from chex.errors import InputError
from chex.loop import Report, Training, fit
from chex.prepare import prepare, select
from chex.rounds import Round, RoundConfig, build_rounds

Make = Callable[..., RunConfig]


def reports(config: RunConfig, folder: Path) -> list[Report]:
    return list(fit(config, prepare(config, select(config)), folder))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    state = checkpoint.read_state(folder, torch.device("cpu"))
    assert state is not None
    return state["model"]


def test_a_run_without_rounds_is_one_that_follows_schedule_and_optimizer(make_run: Make) -> None:
    run = make_run({"seed": 7, "schedule.epochs": 3, "optimizer.lr": 0.01, "optimizer.lr_low": 0.001})
    assert run.stages() == [Round(3, "one_cycle", 0.25, lr=0.01, lr_low=0.001, frozen=0, sample=7)]


def test_what_a_round_leaves_blank_is_the_runs_own(make_run: Make) -> None:
    run = make_run({"optimizer.lr_low": 1e-4})
    given = (RoundConfig(epochs=1, lr=0.1, sample=5), RoundConfig(frozen="backbone", shape="constant"))
    first, second = build_rounds(given, run.schedule, run.optimizer, seed=0)
    assert (first.epochs, first.lr, first.lr_low, first.sample) == (1, 0.1, 0.1, 5)
    assert (second.epochs, second.lr, second.lr_low, second.shape) == (2, 3e-3, 1e-4, "constant")


def test_each_round_ends_with_a_report_and_its_number(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"rounds": [{"epochs": 1}, {"epochs": 3, "lr": 1e-3}], "reports": 1})
    given = reports(run, tmp_path)
    assert [(each.round, each.epoch, each.percent) for each in given] == [(1, 1, 25), (2, 4, 100)]


def test_a_round_with_a_sample_seed_of_its_own_sees_other_rows(make_run: Make) -> None:
    run = make_run({"sampling.fraction": 0.5, "rounds": [{}, {"sample": 9}, {"sample": 9}]})
    first, second, third = select(run).samples
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(second, third)


def test_a_frozen_backbone_keeps_its_weights_and_statistics_and_the_head_learns(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"rounds": [{"epochs": 1}, {"epochs": 2, "frozen": "backbone", "lr": 0.05}], "reports": 1})
    halves = fit(run, prepare(run, select(run)), tmp_path)
    next(halves)
    best, _ = checkpoint.load_weights(tmp_path / checkpoint.WEIGHTS)
    list(halves)
    after = weights(tmp_path)
    for name, tensor in best.items():
        if not name.endswith("num_batches_tracked"):
            assert torch.equal(tensor, after[name]) == name.startswith("backbone."), name


def test_a_run_frozen_to_a_depth_trains_the_later_stages(make_run: Make, tmp_path: Path) -> None:
    run = make_run({"rounds": [{"epochs": 1}, {"epochs": 1, "frozen": 3, "lr": 0.01}], "reports": 1})
    halves = fit(run, prepare(run, select(run)), tmp_path)
    next(halves)
    before = weights(tmp_path)
    list(halves)
    after = weights(tmp_path)
    moved = {
        name.split(".")[1]
        for name, tensor in before.items()
        if "weight" in name and not torch.equal(tensor, after[name])
    }
    assert moved == {"layer3", "layer4", "1"}  # 1: the linear layer of the head


def test_a_round_starts_from_the_best_weights_so_far(make_run: Make, tmp_path: Path) -> None:
    ruined = {"epochs": 1, "lr": 5.0, "shape": "constant", "warmup": 0.0}
    run = make_run({"optimizer.name": "sgd", "rounds": [{"epochs": 4, "lr": 0.05}, ruined, {"epochs": 1, "lr": 1e-9}]})
    given = reports(run, tmp_path)
    best = max(report.auroc for report in given if report.round < 3)
    assert given[-1].auroc == pytest.approx(best, abs=0.05)


@pytest.mark.parametrize("stop_after", [1, 2, 3])
def test_a_run_of_rounds_that_was_cut_goes_on_to_the_last_bit(make_run: Make, tmp_path: Path, stop_after: int) -> None:
    rounds = [{"epochs": 1}, {"epochs": 1, "frozen": "backbone", "lr": 0.01}, {"epochs": 1, "sample": 3}]
    run = make_run({"rounds": rounds, "reports": 1, "model.ema": 0.9, "sampling.fraction": 0.8})
    cut = fit(run, prepare(run, select(run)), tmp_path / "cut")
    for _ in range(stop_after):
        next(cut)
    cut.close()  # type: ignore[attr-defined]
    reports(run, tmp_path / "cut")
    reports(run, tmp_path / "whole")
    first, second = (
        pd.read_csv(tmp_path / name / checkpoint.REPORTS).drop(columns="seconds") for name in ("cut", "whole")
    )
    pd.testing.assert_frame_equal(first, second, check_exact=True)
    for name, tensor in weights(tmp_path / "cut").items():
        assert torch.equal(tensor, weights(tmp_path / "whole")[name]), name


def test_a_run_killed_after_its_best_weights_and_before_its_checkpoint_goes_on_to_the_last_bit(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [{"epochs": 1, "lr": 1e-9}, {"epochs": 1}]
    run = make_run({"seed": 1, "rounds": rounds, "reports": 1})  # whose second round has the better weights
    cut = fit(run, prepare(run, select(run)), tmp_path / "cut")
    next(cut)

    def killed(self: Training) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Training, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            next(cut)
    given = reports(run, tmp_path / "cut")
    whole = reports(run, tmp_path / "whole")
    assert whole[0].auroc < whole[1].auroc
    assert given[0].train_loss == whole[1].train_loss
    for name, tensor in weights(tmp_path / "cut").items():
        assert torch.equal(tensor, weights(tmp_path / "whole")[name]), name


def test_freezing_more_layer_groups_than_there_are_is_refused(make_run: Make, tmp_path: Path) -> None:
    told = r"rounds.frozen: 9 of 6 layer groups; give 0 to 5, or backbone for all but the head"
    with pytest.raises(InputError, match=told):
        reports(make_run({"rounds": [{}, {"frozen": 9}]}), tmp_path)
