"""`chex train`: fit with a bar, a line per report, and the result with its interval."""

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chex import checkpoint
from chex.atomic import write_text
from chex.bags import PLAIN, TIGHT, draw, expected, outcome
from chex.config import RunConfig, check_policies, dump, load_run, nowhere
from chex.console import decimal, doing, done, progress_bar
from chex.delong import areas, aurocs
from chex.differences import differences
from chex.errors import InputError
from chex.interrupt import first_interrupt
from chex.intervals import Estimate
from chex.layers import freeze, layer_groups
from chex.loop import Diverged, OnStep, Paused, Report, ShouldPause, check_goes_on, fit
from chex.metrics import defined
from chex.model import check_backbone, check_model, normalisation_of
from chex.output_folder import LOCK, Kind, alone_in, check_claim, check_emptying, claim, empty
from chex.prepare import Prepared, Selection, prepare, select
from chex.pretrained import Origin
from chex.seeds import stream
from chex.settle import settle

CONFIG, DONE = "run.yaml", "done"
Fitting = Callable[[RunConfig, Prepared, Path, OnStep, ShouldPause], Iterable[Report]]
HEAD = "  done  epoch       lr  train loss  valid loss  AUROC  recall  precision  error  images    s"


def train(config: RunConfig, out: Path, fresh: bool, source: Path | None = None) -> int:
    """Trains into `out`, going on where an interrupted run with the same config stopped; 0 done, 1 diverged.

    `fresh` removes an earlier run in `out`; `source` is the file that `config` came from. Raises InputError, before
    anything is written or removed, where `out` is not free for this run (see `check_out`) and for what `preflight`
    refuses.
    """
    kind: Kind = "run"
    check_out(config, out, kind)
    if fresh:
        check_emptying(out, "--out", {"the config": source, **read_by(config)})
    elif (out / DONE).exists():
        raise InputError(f"{out} holds a finished run; add --fresh to train again, or give another folder with --out")
    config = settled(config, None if fresh else out / CONFIG)
    if not fresh:
        check_same_run(config, out, "start over with --fresh, which deletes that run")
    data = preflight(config)
    if not shown(kind, "train", config, data, out, fit, fresh):
        return 1
    print(_result(config, out))
    (out / DONE).touch()
    return 0


def check_out(config: RunConfig, out: Path, kind: Kind) -> None:
    """Raises InputError where `out` is not free for a `kind` of output, or another process trains there."""
    check_claim(out, kind, tree=config.data.root)
    if (out / LOCK).exists():
        with alone_in(out):
            pass


def check_same_run(config: RunConfig, out: Path, remedy: str) -> None:
    """Raises InputError, with this `remedy` beside another --out, where `out` holds a run with another config.

    `config` is settled.
    """
    other = differences(nowhere(config), nowhere(load_run(out / CONFIG))) if (out / CONFIG).exists() else ""
    if other:
        raise InputError(
            f"{out} holds a run with another config ({other}); give another folder with --out, or {remedy}"
        )


def read_by(config: RunConfig) -> dict[str, Path | None]:
    """Returns the files and folders that a run of `config` reads, by their dotted paths."""
    return {
        "data.root": config.data.root,
        "image.cache": config.image.cache,
        "model.weights": config.model.weights,
        "relabel.self_trained": config.relabel.self_trained,
        "relabel.forest": config.relabel.forest,
    }


def shown(
    kind: Kind, command: str, config: RunConfig, data: Prepared, out: Path, fitting: Fitting, fresh: bool = False
) -> bool:
    """Trains into `out` by `fitting` (`fit` or `teach`) with all that `chex` shows of it; False where it diverged.

    No other process may train there meanwhile. Empties `out` first where it is to be `fresh`, and then writes the
    config. Ctrl-C pauses after the step in hand and raises KeyboardInterrupt. Raises InputError, before anything is
    written, where `out` cannot be used for this `kind` or holds the state of another run.
    """
    claim(out, kind, tree=config.data.root)
    with alone_in(out):
        if fresh:
            empty(out)
        check_goes_on(config, data, out)
        write_text(out / CONFIG, _begun(config, data.origin) + dump(config))
        done()
        print(_headline(config, data), HEAD, sep="\n")
        try:
            _show(lambda *hooks: fitting(config, data, out, *hooks))
        except Diverged as error:
            print(f"chex {command}: {error}", file=sys.stderr)
            return False
    return True


def settled(
    config: RunConfig,
    earlier: Path | None,
    share: float = 1.0,
    settling: Callable[[RunConfig, float], RunConfig] = settle,
) -> RunConfig:
    """`config` with what `auto` means here; where an interrupted run settled it in the file `earlier`, as it did,
    wherever its tree lay.

    `share` of a GPU's memory is the run's own; `settling` is done where the run computes. Raises InputError for a
    device or a backbone that is not there.
    """
    if earlier and earlier.exists():
        before = load_run(earlier)
        device, batches = config.device, config.batches
        if device.amp == "auto":
            device = device.model_copy(update={"amp": before.device.amp})
        if batches.size == "auto":
            batches = batches.model_copy(update={"size": before.batches.size})
        as_before = config.model_copy(update={"device": device, "batches": batches})
        if nowhere(as_before) == nowhere(before):
            return as_before
    check_backbone(config.model.backbone)
    return settling(config, share)


def preflight(config: RunConfig) -> Prepared:
    """The run's data, after all that can be checked without training has been; cheap checks come first.

    Decodes films where no cache has them, with a bar. Raises InputError.
    """
    selection = checked(config)
    doing("opening the decoded images")
    with progress_bar("decoding images") as advance:
        return prepare(config, selection, advance)


def checked(config: RunConfig) -> Selection:
    """What the run trains on and is scored on, after all has been checked that needs no film. Raises InputError."""
    check_policies(config)
    doing("reading the tables")
    selection = select(config)
    doing(f"building {config.model.backbone}")
    if config.model.pretrained and not config.model.weights:
        print("fetching pretrained weights", file=sys.stderr)
    model = check_model(config.model, config.image.size)
    if model.origin:
        done()
        print(model.origin.told(), file=sys.stderr)
    groups = layer_groups(model)
    for stage in config.stages():
        freeze(groups, stage.frozen)
    return dataclasses.replace(selection, origin=model.origin)


def _begun(config: RunConfig, origin: Origin | None) -> str:
    """What the network starts from, as comments above the config."""
    normalisation = normalisation_of(config.model.backbone)
    loaded = "random weights"
    if origin:
        sha256 = f", SHA-256 {origin.sha256}" if origin.sha256 else ""
        loaded = f"{origin.source}{sha256}: {origin.tensors:,} of {origin.tensors:,} backbone tensors"
    return (
        f"# Started from {loaded}\n"
        f"# Gray levels from 0 to 1 are normalised by mean {normalisation.mean:g} and std {normalisation.std:g}\n"
    )


def _show(reporting: Callable[[OnStep, ShouldPause], Iterable[Report]]) -> None:
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training")
        try:
            with first_interrupt() as interrupted:
                for report in reporting(lambda done, total: bar.update(task, completed=done, total=total), interrupted):
                    print(_line(report), flush=True)
        except Paused:
            raise KeyboardInterrupt from None


def _headline(config: RunConfig, data: Prepared) -> str:
    policies = ", ".join(f"{key}: {policy}" for key, policy in config.policy.items())
    left_out = [name for name in data.observations if name not in data.averaged_over]
    lines = [
        f"{config.model.backbone} at {config.image.size} px on {config.data.root}",
        f"{', '.join(data.observations)}; policy {policies}; {len(data.rows):,} rows of "
        f"{len(data.tree.train):,} training films; {len(data.scored.paths):,} validation {scored_as(config)}",
    ]
    if left_out:
        lines.append(
            f"AUROC is undefined for {', '.join(left_out)} (one class in the validation split); "
            f"averaged over {', '.join(data.averaged_over)}"
        )
    return "\n".join(lines)


def scored_as(config: RunConfig) -> str:
    """What validation counts, in words."""
    return {"image": "films", "study": "studies"}[config.data.scoring] + (" held out" if config.data.holdout else "")


def _line(report: Report) -> str:
    scores = [decimal(each) for each in (report.auroc, report.recall, report.precision, report.error_rate)]
    return (
        f"{int(report.percent):>4} %{report.epoch:>7.2f}{report.lr:>9.2e}"
        f"{report.train_loss:>12.3f}{report.valid_loss:>12.3f}"
        f"{scores[0]:>7}{scores[1]:>8}{scores[2]:>11}{scores[3]:>7}{report.images_seen:>8,}{report.seconds:>5.0f}"
    )


def _result(config: RunConfig, out: Path) -> str:
    observations = config.data.observations
    patients, truth, _ = checkpoint.load_predictions(out / checkpoint.PREDICTIONS, observations)
    reports = list(checkpoint.load_probabilities(out / checkpoint.PROBABILITIES, observations)[0].values())
    seen, new = best_of_reports(truth, np.stack(reports), patients, stream(config.seed, "bags"))
    told = (
        f"validation AUROC {with_interval(seen)} on the {len(truth):,} {scored_as(config)} of "
        f"{len(set(patients)):,} patients"
    )
    if len(reports) > 1:
        told += (
            f",\nthe best of {len(reports)} reports, chosen on these {scored_as(config)}; expect {with_interval(new)} "
            "on new patients like these"
        )
    return f"{told}\nbest weights: {out / checkpoint.WEIGHTS}"


def best_of_reports(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """Returns the AUROC of the best of R reports where it was chosen, and what to expect of it on new patients.

    `truth` is float (U, K), `probability` float (R, U, K), `patients` str (U,); AUROC is the mean over observations.
    The second is corrected for the choice by making it anew in bags of patients, as a search corrects its winner's.
    """
    columns = np.flatnonzero(defined(truth)).tolist()
    found = areas(truth, probability, patients, columns)
    metric = outcome("mean", found, draw(len(found.influence), rng))
    best = int(np.argmax(found.auroc))
    seen = aurocs(truth, probability[best][None], patients)[0].mean
    tight, plain = (np.argmax(metric.inside(tightness), axis=1) for tightness in (TIGHT, PLAIN))
    return seen, expected(metric, tight, plain, seen)


def with_interval(figure: Estimate) -> str:
    """Returns a figure with its 95 % interval, in words."""
    return f"{decimal(figure.value)} (95 % interval {decimal(figure.low)} to {decimal(figure.high)})"
