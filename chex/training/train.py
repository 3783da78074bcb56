"""`chex train`: trains a run with a progress bar and a line per report, and prints the result with its interval."""

import dataclasses
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from chex.config import RunConfig, check_policies, load_run, to_yaml, without_locations
from chex.data import prediction_files
from chex.errors import InputError
from chex.models.classifier import check_backbone, check_model, normalization_of
from chex.models.layer_groups import freeze, layer_groups
from chex.models.origin import Origin
from chex.reporting.console import clear_activity, format_decimal, progress_bar, show_activity, with_interval
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import Kind, check_can_empty, claim, empty_folder, lock_folder
from chex.runtime.rng import rng_for
from chex.runtime.run_folder import DONE, RUN_CONFIG
from chex.runtime.signals import first_interrupt
from chex.statistics.bootstrap import PLAIN, TIGHT, bootstrap_scores, debiased_estimate, draw_bootstrap
from chex.statistics.delong import auroc_influences, auroc_intervals
from chex.statistics.intervals import Estimate
from chex.statistics.metrics import has_both_classes
from chex.training.auto import resolve_auto
from chex.training.preflight import check_out, check_same_run, evaluation_note, read_by
from chex.training.report import Report
from chex.training.run_data import RunData, load_run_data
from chex.training.run_tables import RunTables, load_run_tables
from chex.training.trainer import OnStep, ShouldPause, TrainingDiverged, TrainingPaused, check_resumable, fit

FitFunction = Callable[[RunConfig, RunData, Path, OnStep, ShouldPause], Iterable[Report]]
HEAD = "  done  epoch       lr  train loss  valid loss  AUROC  recall  precision  error  images    s"


def train(config: RunConfig, out: Path, overwrite: bool, source: Path | None = None) -> int:
    """Trains into `out`, or resumes an interrupted run of the same config there. Returns 0, or 1 where it diverged.

    `overwrite` deletes an earlier run in `out`; `source` is the file that `config` came from. Raises InputError, before
    anything is written or deleted, where `out` cannot be used for this run (see `check_out`) or `preflight` fails.
    """
    kind: Kind = "run"
    check_out(config, out, kind)
    if overwrite:
        check_can_empty(out, "--out", {"the config": source, **read_by(config)})
    elif (out / DONE).exists():
        raise InputError(f"{out} has a finished run; add --overwrite to train again, or give another folder with --out")
    config = with_resolved_auto(config, None if overwrite else out / RUN_CONFIG)
    if not overwrite:
        check_same_run(config, out, "start over with --overwrite, which deletes that run")
    data = preflight(config)
    if not train_with_progress(kind, "train", config, data, out, fit, overwrite):
        return 1
    print(_result(config, out))
    (out / DONE).touch()
    return 0


def train_with_progress(
    kind: Kind,
    command: str,
    config: RunConfig,
    data: RunData,
    out: Path,
    fit_function: FitFunction,
    overwrite: bool = False,
) -> bool:
    """Trains into `out` with `fit` or `train_teacher`, and shows the progress. Returns False where it diverged.

    Locks `out`, empties it for `overwrite`, and writes the config first. Ctrl-C pauses the run after the current step
    and raises KeyboardInterrupt. Raises InputError, before anything is written, where `out` cannot be used for this
    `kind` of output or has the state of another run.
    """
    claim(out, kind, tree=config.data.root)
    with lock_folder(out):
        if overwrite:
            empty_folder(out)
        check_resumable(config, data, out)
        write_text(out / RUN_CONFIG, _header(config, data.origin) + to_yaml(config))
        clear_activity()
        print(_headline(config, data), HEAD, sep="\n")
        try:
            _print_reports(lambda *hooks: fit_function(config, data, out, *hooks))
        except TrainingDiverged as error:
            print(f"chex {command}: {error}", file=sys.stderr)
            return False
    return True


def with_resolved_auto(
    config: RunConfig,
    earlier: Path | None,
    share: float = 1.0,
    resolve: Callable[[RunConfig, float], RunConfig] = resolve_auto,
) -> RunConfig:
    """Returns `config` without `auto`.

    If `earlier` is the config file of an interrupted run, and that run is the same apart from the locations of files,
    the values come from it. Otherwise `resolve` finds them on the machine of the run, which may use `share` of a GPU's
    memory. Raises InputError for a device or a backbone that does not exist.
    """
    if earlier and earlier.exists():
        before = load_run(earlier)
        device, batches = config.device, config.batches
        if device.amp == "auto":
            device = device.model_copy(update={"amp": before.device.amp})
        if batches.size == "auto":
            batches = batches.model_copy(update={"size": before.batches.size})
        resolved = config.model_copy(update={"device": device, "batches": batches})
        if without_locations(resolved) == without_locations(before):
            return resolved
    check_backbone(config.model.backbone)
    return resolve(config, share)


def preflight(config: RunConfig) -> RunData:
    """Checks all that can be checked without training, cheap checks first, and returns the run's data.

    Decodes images that no cache has, with a progress bar. Raises InputError for the first check that fails.
    """
    tables = check_run(config)
    show_activity("opening the decoded images")
    with progress_bar("decoding images") as advance:
        return load_run_data(config, tables, advance)


def check_run(config: RunConfig) -> RunTables:
    """Checks all that needs no image, and returns the tables of the run. Raises InputError for the first failure."""
    check_policies(config)
    show_activity("reading the tables")
    tables = load_run_tables(config)
    show_activity(f"building {config.model.backbone}")
    if config.model.pretrained and not config.model.pretrained_file:
        print("fetching pretrained weights", file=sys.stderr)
    model = check_model(config.model, config.image.size)
    if model.origin:
        clear_activity()
        print(model.origin.describe(), file=sys.stderr)
    groups = layer_groups(model)
    for phase in config.resolved_phases():
        freeze(groups, phase.freeze)
    return dataclasses.replace(tables, origin=model.origin)


def _header(config: RunConfig, origin: Origin | None) -> str:
    """Returns the comments above the config in run.yaml: what the network starts from."""
    normalization = normalization_of(config.model.backbone)
    source = "random weights"
    if origin:
        sha256 = f", SHA-256 {origin.sha256}" if origin.sha256 else ""
        source = f"{origin.source}{sha256}: {origin.tensors:,} of {origin.tensors:,} backbone tensors"
    return (
        f"# Started from {source}\n"
        f"# Gray levels from 0 to 1 are normalized by mean {normalization.mean:g} and std {normalization.std:g}\n"
    )


def _print_reports(run: Callable[[OnStep, ShouldPause], Iterable[Report]]) -> None:
    columns = (TextColumn("training"), BarColumn(), TextColumn("{task.percentage:.0f} %"), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("training")
        try:
            with first_interrupt() as interrupted:
                for report in run(lambda done, total: bar.update(task, completed=done, total=total), interrupted):
                    print(_report_line(report), flush=True)
        except TrainingPaused:
            raise KeyboardInterrupt from None


def _headline(config: RunConfig, data: RunData) -> str:
    policies = ", ".join(f"{key}: {policy}" for key, policy in config.policy.items())
    left_out = [name for name in data.observations if name not in data.scored_observations]
    lines = [
        f"{config.model.backbone} at {config.image.size} px on {config.data.root}",
        f"{', '.join(data.observations)}; policy {policies}; {len(data.rows):,} rows of "
        f"{len(data.tree.train):,} training images; {len(data.scored.paths):,} validation {evaluation_note(config)}",
    ]
    if left_out:
        lines.append(
            f"AUROC is undefined for {', '.join(left_out)} (one class in the validation split); "
            f"averaged over {', '.join(data.scored_observations)}"
        )
    return "\n".join(lines)


def _report_line(report: Report) -> str:
    scores = [format_decimal(each) for each in (report.auroc, report.recall, report.precision, report.error_rate)]
    return (
        f"{int(report.percent):>4} %{report.epoch:>7.2f}{report.lr:>9.2e}"
        f"{report.train_loss:>12.3f}{report.valid_loss:>12.3f}"
        f"{scores[0]:>7}{scores[1]:>8}{scores[2]:>11}{scores[3]:>7}{report.images_seen:>8,}{report.seconds:>5.0f}"
    )


def _result(config: RunConfig, out: Path) -> str:
    observations = config.data.observations
    patients, truth, _ = prediction_files.load_predictions(out / run_folder.PREDICTIONS, observations)
    reports = list(prediction_files.load_probabilities(out / run_folder.PROBABILITIES, observations)[0].values())
    selected, new = best_of_reports(truth, np.stack(reports), patients, rng_for(config.seed, "bags"))
    result = (
        f"validation AUROC {with_interval(selected)} on the {len(truth):,} {evaluation_note(config)} of "
        f"{len(set(patients)):,} patients"
    )
    if len(reports) > 1:
        result += (
            f",\nthe best of {len(reports)} reports, chosen on these {evaluation_note(config)}; expect "
            f"{with_interval(new)} on new patients like these"
        )
    return f"{result}\nbest weights: {out / run_folder.WEIGHTS}"


def best_of_reports(
    truth: np.ndarray, probability: np.ndarray, patients: np.ndarray, rng: np.random.Generator
) -> tuple[Estimate, Estimate]:
    """Returns the AUROC of the best of R reports on the patients that selected it, and that to expect on new patients.

    `truth` is float (U, K), `probability` float (R, U, K), `patients` str (U,); AUROC is the mean over observations.
    The second one is corrected for the selection, which is repeated in bootstrap resamples of the patients (see
    chex.statistics.bootstrap).
    """
    columns = np.flatnonzero(has_both_classes(truth)).tolist()
    found = auroc_influences(truth, probability, patients, columns)
    metric = bootstrap_scores("mean", found, draw_bootstrap(len(found.influence), rng))
    best = int(np.argmax(found.auroc))
    selected = auroc_intervals(truth, probability[best][None], patients)[0].mean
    tight, plain = (np.argmax(metric.selection(tightness), axis=1) for tightness in (TIGHT, PLAIN))
    return selected, debiased_estimate(metric, tight, plain, selected)
