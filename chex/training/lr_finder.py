"""`chex lr-find`: raises the learning rate step by step, and suggests one from the loss."""

import dataclasses
import math
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from chex.config import RunConfig
from chex.errors import InputError
from chex.models.classifier import check_backbone
from chex.optimization.phases import PhaseConfig
from chex.reporting.console import ProgressCallback, progress_bar
from chex.reporting.plot_style import new_figure, save_png
from chex.runtime.atomic_io import write_csv
from chex.runtime.output_folder import check_claim, claim
from chex.training.auto import resolve_auto
from chex.training.run_data import RunData
from chex.training.train import preflight
from chex.training.trainer import Trainer, TrainingDiverged, oom_as_input_error

SMOOTHING, MAX_RISE = 2.5, 4.0
"""The standard deviation, in steps, of the Gaussian that smooths the loss. A sweep ends when the smoothed loss is above
MAX_RISE times its minimum."""
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class LrSweep:
    """A training in which the learning rate rises by the same factor in each step."""

    rates: np.ndarray
    """float (S,): the learning rate of the head in each of S steps."""
    losses: np.ndarray
    """float (S,): the training loss of each step."""

    @property
    def smoothed(self) -> np.ndarray:
        """float (S,): each loss averaged with those of the steps before and after it (a running mean would lag)."""
        steps = np.arange(len(self.losses))
        weights = np.exp(-(((steps[:, None] - steps) / SMOOTHING) ** 2) / 2)
        return weights @ self.losses / weights.sum(axis=1)

    @property
    def suggested(self) -> float:
        """The learning rate at which the smoothed loss falls fastest over the logarithm of the rate.

        Only rates before the minimum of the loss count; NaN if the loss never falls. After Smith (2017,
        arXiv:1506.01186).
        """
        smoothed = self.smoothed
        least = int(smoothed.argmin())
        if least < 2:
            return math.nan
        slopes = np.gradient(smoothed[: least + 1], np.log(self.rates[: least + 1]))
        return float(self.rates[slopes.argmin()])


def run_lr_sweep(
    config: RunConfig, data: RunData, low: float, high: float, steps: int, advance: ProgressCallback
) -> LrSweep:
    """Trains for up to `steps` from the run's first weights, while the head's learning rate rises from `low` to `high`.

    If the run has several phases, it sweeps the first one, with its sample and its frozen layers, because later phases
    start from trained weights. The ratio of `lr_stem` to `lr` stays the same. The sweep ends early if the smoothed loss
    rises above MAX_RISE times its minimum, or if the loss is not finite.
    """
    rates, losses = np.geomspace(low, high, steps), list[float]()
    peak = config.resolved_phases()[0].lr
    first = (config.phases or (PhaseConfig(),))[0].model_copy(update={"epochs": steps})  # an epoch has 1 step or more
    config = config.model_copy(update={"phases": (first,)})
    data = dataclasses.replace(data, samples=data.samples[:1])
    folder = Path(tempfile.mkdtemp())
    try:
        with oom_as_input_error(config):
            run = Trainer(config, data, folder)
        with oom_as_input_error(config), closing(run.batches()) as batches:
            for number, rate in enumerate(rates, start=1):
                try:
                    run.train_step(*next(batches), factor=rate / peak)
                    losses.append(run.last_loss())
                except TrainingDiverged:
                    break
                advance(number, steps)
                done = LrSweep(rates[: len(losses)], np.array(losses))
                if done.smoothed[-1] > MAX_RISE * done.smoothed.min():
                    break
    finally:
        shutil.rmtree(folder)
    return LrSweep(rates[: len(losses)], np.array(losses))


def lr_find(config: RunConfig, out: Path, low: float, high: float, steps: int) -> int:
    """Sweeps the learning rate, prints curve and suggestion, and writes rates.csv and rates.png into `out`. Returns 0.

    Batch size and precision are those of a training on this machine. Raises InputError for a wrong option, and where
    the run cannot be trained.
    """
    if not 0 < low < high or steps < 10:
        raise InputError(
            f"--low {low:g} --high {high:g} --steps {steps}: the rate rises from low, above 0, to high, in 10 steps or "
            "more; change them"
        )
    check_claim(out, "lr-find", tree=config.data.root)
    check_backbone(config.model.backbone)
    config = resolve_auto(config)
    data = preflight(config)
    with progress_bar("raising the learning rate") as advance:
        sweep = run_lr_sweep(config, data, low, high, steps, advance)
    claim(out, "lr-find", tree=config.data.root)
    table = pd.DataFrame({"lr": sweep.rates, "loss": sweep.losses, "smoothed": sweep.smoothed})
    write_csv(out / "rates.csv", table)
    draw(sweep, out / "rates.png")
    print(chart(sweep), sweep_summary(sweep, config), f"{out / 'rates.png'}", sep="\n")
    return 0


def sweep_summary(sweep: LrSweep, config: RunConfig) -> str:
    """Returns a line with the suggested learning rates, and the rate at which the loss is least."""
    least = float(sweep.rates[sweep.smoothed.argmin()])
    if math.isnan(sweep.suggested):
        return "the loss never fell: no rate is suggested; give more --steps, or a lower --low"
    first = config.resolved_phases()[0]
    rates = {"lr": sweep.suggested}
    if first.lr_stem != first.lr:
        rates["lr_stem"] = sweep.suggested * first.lr_stem / first.lr
    if config.phases:
        suggested = "suggested for phase 1: " + ", ".join(f"{name}: {rate:.1e}" for name, rate in rates.items())
    else:
        suggested = "suggested: --set " + " ".join(f"optimizer.{name}={rate:.1e}" for name, rate in rates.items())
    return f"{suggested} (steepest, batches of {config.batches.size}); the loss is least at {least:.1e}"


def chart(sweep: LrSweep, width: int = 72, height: int = 8) -> str:
    """Returns a plot in characters: the smoothed loss over the logarithm of the learning rate."""
    places = np.linspace(0, len(sweep.losses) - 1, min(width, len(sweep.losses))).round().astype(int)
    values = sweep.smoothed[places]
    levels = (values - values.min()) / max(float(np.ptp(values)), 1e-12) * (8 * height - 1) + 1
    rows = [
        "".join(BLOCKS[int(np.clip(level - 8 * row, 0, 8))] for level in levels) for row in range(height - 1, -1, -1)
    ]
    ends = f"{sweep.rates[0]:.0e}".ljust(len(places) - 5) + f"{sweep.rates[-1]:.0e}"
    return "\n".join([f"training loss, {values.min():.3f} to {values.max():.3f}", *rows, ends])


def draw(sweep: LrSweep, path: Path) -> None:
    """Writes the plot: losses as dots, the smoothed curve, the suggested learning rate."""
    figure, axes = new_figure()
    axes.plot(sweep.rates, sweep.losses, ".", color="#bbbbbb", label="each step")
    axes.plot(sweep.rates, sweep.smoothed, color="#1f5fa8", label="smoothed")
    if not math.isnan(sweep.suggested):
        axes.axvline(sweep.suggested, color="#c8102e", linestyle="--", label=f"suggested {sweep.suggested:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend()
    save_png(figure, path)
