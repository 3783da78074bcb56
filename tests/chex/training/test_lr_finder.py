import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from chex.__main__ import main as chex
from chex.config import RunConfig, to_yaml
from chex.optimization.optimizer_config import OptimizerConfig
from chex.optimization.phases import PhaseConfig
from chex.runtime.output_folder import MARK
from chex.training.lr_finder import LrSweep, chart, run_lr_sweep, sweep_summary
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from chex.training.trainer import Trainer

RATES = np.geomspace(1e-5, 1, 51)


def found(losses: np.ndarray) -> LrSweep:
    return LrSweep(RATES, losses)


def test_the_rate_where_the_loss_falls_fastest_is_suggested() -> None:
    fall = 1 / (1 + np.exp(3 * (np.log10(RATES) + 3)))  # steepest at 1e-3
    given = found(0.2 + 0.5 * fall + np.where(RATES > 0.05, 5 * RATES, 0))
    assert 5e-4 < given.suggested < 2e-3
    assert "suggested: --set optimizer.lr=1.0e-03 (steepest, batches of 32); " in sweep_summary(given, RunConfig())


def test_a_loss_that_never_falls_suggests_nothing() -> None:
    given = found(np.linspace(1, 5, 51))
    assert math.isnan(given.suggested)
    assert (
        sweep_summary(given, RunConfig())
        == "the loss never fell: no rate is suggested; give more --steps, or a lower --low"
    )


def test_where_layers_have_rates_of_their_own_both_ends_are_suggested_where_they_are_set() -> None:
    given = found(0.2 + 0.5 / (1 + np.exp(3 * (np.log10(RATES) + 3))))
    low = RunConfig(optimizer=OptimizerConfig(lr=1e-2, lr_stem=1e-4))
    rounds = RunConfig(phases=(PhaseConfig(lr=9e-3), PhaseConfig(lr=1e-4)))
    assert given.suggested == pytest.approx(1e-3)
    assert "suggested: --set optimizer.lr=1.0e-03 optimizer.lr_stem=1.0e-05 (steepest, " in sweep_summary(given, low)
    assert "suggested for phase 1: lr: 1.0e-03 (steepest, " in sweep_summary(given, rounds)


def test_the_first_phase_of_a_run_is_swept_with_its_sample_and_its_frozen_layers(
    make_run: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = [{"freeze": "backbone", "lr": 9e-3, "lr_stem": 9e-4}, {"sample_seed": 1, "lr": 1e-4}]
    config = make_run({"phases": rounds, "sampling.fraction": 0.5})
    data = load_run_data(config, load_run_tables(config))
    rates, seen, train_step = list[list[float]](), list[np.ndarray](), Trainer.train_step

    def noted(run: Trainer, rows: np.ndarray, images: torch.Tensor, factor: float | None = None) -> None:
        train_step(run, rows, images, factor)
        rates.append([group["lr"] for group in run.optimizer.param_groups])
        seen.append(rows)

    monkeypatch.setattr(Trainer, "train_step", noted)
    given = run_lr_sweep(config, data, 1e-4, 1e-2, 12, lambda done, total: None)
    assert np.array(rates) == pytest.approx(given.rates[:, None])  # of the head alone
    assert set(np.concatenate(seen)) <= set(data.samples[0])


def test_a_batch_size_and_a_precision_left_open_are_those_of_training_here(
    make_run: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(make_run({"batches.size": "auto"})))
    monkeypatch.setattr("chex.training.auto.SOURCE_IMAGES", 16)
    assert chex(["lr-find", str(tmp_path / "run.yaml"), "--steps", "30", "--out", str(tmp_path / "out")]) == 0
    assert "batches of 16" in capsys.readouterr().out


def test_the_smoothed_loss_of_a_constant_is_that_constant() -> None:
    np.testing.assert_allclose(found(np.full(51, 0.7)).smoothed, 0.7)


def test_the_chart_is_high_where_the_loss_is() -> None:
    given = found(np.linspace(2, 1, 51))
    lines = chart(given, width=20, height=3).splitlines()
    assert lines[0] == f"training loss, {given.smoothed.min():.3f} to {given.smoothed.max():.3f}"
    assert lines[1][0] == "█"
    assert lines[1][-1] == " "
    assert len({len(line) for line in lines[1:4]}) == 1
    assert lines[4].startswith("1e-05")
    assert lines[4].endswith("1e+00")


def test_a_sweep_ends_when_the_loss_has_risen_far(make_run: Callable[..., RunConfig]) -> None:
    config = make_run({"optimizer.name": "sgd"})
    heard: list[int] = []
    given = run_lr_sweep(
        config, load_run_data(config, load_run_tables(config)), 1e-3, 1e4, 60, lambda done, total: heard.append(done)
    )
    assert 10 < len(given.losses) < 60
    assert heard[-1] in (len(given.losses), len(given.losses) - 1)
    assert np.isfinite(given.losses).all()


def test_the_command_draws_the_curve_and_names_a_rate(
    make_run: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(make_run()))
    assert chex(["lr-find", str(tmp_path / "run.yaml"), "--steps", "30", "--out", str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MARK, "rates.csv", "rates.png"]
    assert "training loss" in capsys.readouterr().out


def test_rates_that_do_not_rise_are_refused(
    make_run: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.yaml").write_text(to_yaml(make_run()))
    assert chex(["lr-find", str(tmp_path / "run.yaml"), "--low", "1", "--high", "0.1"]) == 2
    message = (
        "--low 1 --high 0.1 --steps 100: the rate rises from low, above 0, to high, in 10 steps or more; change them"
    )
    assert message in capsys.readouterr().err
