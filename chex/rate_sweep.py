"""`chex lr-find`: the loss while the learning rate rises, and the rate that it suggests."""

import dataclasses
import math
import shutil
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from chex.checkpoint import save_table
from chex.config import RunConfig
from chex.console import Advance, progress_bar
from chex.errors import InputError
from chex.loop import Diverged, Training, memory_said
from chex.model import check_backbone
from chex.output_folder import check_claim, claim
from chex.pictures import picture, save_picture
from chex.prepare import Prepared
from chex.rounds import RoundConfig
from chex.settle import settle
from chex.train import preflight

SMOOTHING, GIVE_UP = 2.5, 4.0
"""Standard deviation, in steps, of what the loss is smoothed with; by what factor of its least that loss may rise
before a sweep ends."""
BLOCKS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Sweep:
    """One training whose rate rises at equal ratios from step to step."""

    rates: np.ndarray
    """float (S,)."""
    losses: np.ndarray
    """float (S,): training loss of each step."""

    @property
    def smoothed(self) -> np.ndarray:
        """float (S,): each loss averaged with those of the steps before and after it (a running mean would trail)."""
        steps = np.arange(len(self.losses))
        weights = np.exp(-(((steps[:, None] - steps) / SMOOTHING) ** 2) / 2)
        return weights @ self.losses / weights.sum(axis=1)

    @property
    def suggested(self) -> float:
        """The rate at which the smoothed loss falls fastest against the logarithm of the rate (Smith 2017).

        Looked for before the loss is least. NaN where it never falls.
        """
        smoothed = self.smoothed
        least = int(smoothed.argmin())
        if least < 2:
            return math.nan
        slopes = np.gradient(smoothed[: least + 1], np.log(self.rates[: least + 1]))
        return float(self.rates[slopes.argmin()])


def sweep(config: RunConfig, data: Prepared, low: float, high: float, steps: int, advance: Advance) -> Sweep:
    """Trains from the run's first weights for up to `steps`, the head's rate rising from `low` to `high`.

    Of a run with rounds the first one is swept, with its sample and its frozen layers; later ones start from trained
    weights, which a sweep has not got. Where layers have rates of their own (`lr_low`), their ratios stay. Ends early
    where the loss has risen to several times its least, or is no number.
    """
    rates, losses = np.geomspace(low, high, steps), list[float]()
    peak = config.stages()[0].lr
    first = (config.rounds or (RoundConfig(),))[0].model_copy(update={"epochs": steps})  # 1 step in each, or more
    config = config.model_copy(update={"rounds": (first,)})
    data = dataclasses.replace(data, samples=data.samples[:1])
    folder = Path(tempfile.mkdtemp())
    try:
        with memory_said(config):
            run = Training(config, data, folder)
        with memory_said(config), closing(run.batches()) as batches:
            for number, rate in enumerate(rates, start=1):
                try:
                    run.train_step(*next(batches), factor=rate / peak)
                    losses.append(run.last_loss())
                except Diverged:
                    break
                advance(number, steps)
                done = Sweep(rates[: len(losses)], np.array(losses))
                if done.smoothed[-1] > GIVE_UP * done.smoothed.min():
                    break
    finally:
        shutil.rmtree(folder)
    return Sweep(rates[: len(losses)], np.array(losses))


def lr_find(config: RunConfig, out: Path, low: float, high: float, steps: int) -> int:
    """Sweeps, prints the curve and the suggested rate, writes them into `out`; 0. Raises InputError.

    Batches are as large, and the precision is the one, as when the run is trained on this machine.
    """
    if not 0 < low < high or steps < 10:
        raise InputError(
            f"--low {low:g} --high {high:g} --steps {steps}: the rate rises from low, above 0, to high, in 10 steps or "
            "more; change them"
        )
    check_claim(out, "lr-find", tree=config.data.root)
    check_backbone(config.model.backbone)
    config = settle(config)
    data = preflight(config)
    with progress_bar("sweeping the rate") as advance:
        found = sweep(config, data, low, high, steps, advance)
    claim(out, "lr-find", tree=config.data.root)
    table = pd.DataFrame({"lr": found.rates, "loss": found.losses, "smoothed": found.smoothed})
    save_table(out / "rates.csv", table)
    draw(found, out / "rates.png")
    print(chart(found), told(found, config), f"{out / 'rates.png'}", sep="\n")
    return 0


def told(found: Sweep, config: RunConfig) -> str:
    """What the sweep of `config` says, in a line."""
    least = float(found.rates[found.smoothed.argmin()])
    if math.isnan(found.suggested):
        return "the loss never fell: no rate is suggested; give more --steps, or a lower --low"
    first = config.stages()[0]
    rates = {"lr": found.suggested}
    if first.lr_low != first.lr:
        rates["lr_low"] = found.suggested * first.lr_low / first.lr
    if config.rounds:
        suggested = "suggested for round 1: " + ", ".join(f"{name}: {rate:.1e}" for name, rate in rates.items())
    else:
        suggested = "suggested: --set " + " ".join(f"optimizer.{name}={rate:.1e}" for name, rate in rates.items())
    return f"{suggested} (steepest, batches of {config.batches.size}); the loss is least at {least:.1e}"


def chart(found: Sweep, width: int = 72, height: int = 8) -> str:
    """The smoothed loss against the logarithm of the rate, drawn in characters."""
    places = np.linspace(0, len(found.losses) - 1, min(width, len(found.losses))).round().astype(int)
    values = found.smoothed[places]
    levels = (values - values.min()) / max(float(np.ptp(values)), 1e-12) * (8 * height - 1) + 1
    rows = [
        "".join(BLOCKS[int(np.clip(level - 8 * row, 0, 8))] for level in levels) for row in range(height - 1, -1, -1)
    ]
    ends = f"{found.rates[0]:.0e}".ljust(len(places) - 5) + f"{found.rates[-1]:.0e}"
    return "\n".join([f"training loss, {values.min():.3f} to {values.max():.3f}", *rows, ends])


def draw(found: Sweep, path: Path) -> None:
    """Writes the picture: losses as dots, the smoothed curve, the suggested rate."""
    figure, axes = picture()
    axes.plot(found.rates, found.losses, ".", color="#bbbbbb", label="each step")
    axes.plot(found.rates, found.smoothed, color="#1f5fa8", label="smoothed")
    if not math.isnan(found.suggested):
        axes.axvline(found.suggested, color="#c8102e", linestyle="--", label=f"suggested {found.suggested:.1e}")
    axes.set(xscale="log", xlabel="learning rate", ylabel="training loss")
    axes.legend()
    save_picture(figure, path)
