"""Writes results/<search>/report.html: the results of a search, their uncertainty and the next steps, in one page.

The page is made from the search's folder. The images also need the tree, or the URI it is fetched from; if these or the
weights cannot be read, the page says so in place of the images.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from chex.config import RunConfig, load_run
from chex.evaluation.evaluation_report import page as evaluation_page
from chex.evaluation.evaluation_tables import EvaluationNotes
from chex.evaluation.load_model import NO_DIAGNOSIS
from chex.reporting.console import format_decimal, format_percent
from chex.reporting.html_report import (
    Block,
    Columns,
    InteractivePlot,
    MarkedList,
    Page,
    Part,
    Section,
    StaticPlot,
    Table,
    write_single_file,
)
from chex.runtime.rng import rng_for
from chex.statistics.intervals import Estimate
from chex.statistics.thresholds import evaluate_probabilities
from chex.training.preflight import evaluation_note
from search.analysis.selection import best_report
from search.analysis.verdict import Verdict, load_verdict
from search.analysis.verdict_text import caveats, key_findings
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.report.chart_style import ChartData, format_signed_interval
from search.report.false_negatives import false_negatives
from search.report.last_screen import teacher_lines
from search.report.parameter_charts import parallel_coordinates, slice_plots
from search.report.search_charts import auroc_over_images_plot, curves_plot, importances_plot
from search.report.strategy_charts import policy_heatmap, value_plots
from search.space.param_paths import get_path
from search.storage.uri import without_query
from search.trials.environment import environments
from search.trials.layout import BASE, CONFIRM_TEXT, CONFIRMED, PAGE
from search.trials.layout import CONFIRM_FOLDER as CONFIRM
from search.trials.predictions import Predictions, load_predictions
from search.trials.study_store import read_study
from search.trials.trial import TrialRecord
from search.trials.trial_text import format_duration, format_value

STRATEGY_PREFIXES = ("policy.", "model.backbone")
"""Prefixes of the parameters whose values are compared on the first screen."""
STATES = {"finished": "finished", "pruned": "pruned", "failed": "failed", "pending": "unfinished"}
EFFECTS = (
    "Differences are those at the end of a trial, all else equal, with 95 % intervals for patients and trials; pruned "
    "trials count for what they reported."
)
ReportProgress = Callable[[str], None]
"""Called with what is being done, in words."""


@dataclass(frozen=True)
class SearchResults:
    """The content of the page."""

    folder: Path
    search: SearchConfig
    base: RunConfig
    """The base run as trials used it, with `auto` resolved."""
    rows: Sequence[TrialRecord]
    order: Sequence[int]
    """The numbers of ended trials in the order in which they ended."""
    seconds: float
    """How many seconds the search has run, over all resumes."""
    predictions: Predictions
    verdict: Verdict

    @property
    def chart_data(self) -> ChartData:
        """The trials as the charts need them."""
        return ChartData(
            self.rows, self.verdict.winner, frozenset(self.verdict.best_set.trials), self.search.search_space()
        )


def write_search_page(folder: Path, recall: float, progress: ReportProgress = lambda _: None) -> Path:
    """Writes report.html into the search's `folder` atomically and returns its path.

    `recall` is the recall that one of the listed thresholds reaches. Raises InputError if `folder` has no search, or if
    no trial has ended with a result.
    """
    results = load_search_results(folder, progress)
    progress("drawing the page")
    write_single_file(search_page(results, recall), folder / PAGE)
    return folder / PAGE


def load_search_results(folder: Path, progress: ReportProgress) -> SearchResults:
    """Loads the results of the search in `folder`. Raises InputError like `write_search_page`."""
    search = load_search_folder(folder)
    verdict = load_verdict(folder, progress)
    with read_study(folder, search.search_space()) as book:
        rows, seconds = book.trials(), book.elapsed_seconds
        ended = sorted((trial for trial in book.history() if trial.datetime_complete), key=_completed_at)
    order = [trial.number + 1 for trial in ended]
    return SearchResults(
        folder, search, load_run(folder / BASE), rows, order, seconds, load_predictions(folder), verdict
    )


def _completed_at(trial: Any) -> Any:
    return trial.datetime_complete


def search_page(results: SearchResults, recall: float) -> Page:
    """Returns the page."""
    chart_data, verdict = results.chart_data, results.verdict
    plots, heatmap = value_plots(verdict.strategies), policy_heatmap(verdict.strategies)
    strategies = [plot for param, plot in plots.items() if param.startswith(STRATEGY_PREFIXES)]
    other_plots = [plot for param, plot in plots.items() if not param.startswith(STRATEGY_PREFIXES)]
    return Page(
        f"{results.folder.name}: the best training recipe and its uncertainty",
        _lead(results),
        [
            Section("Next steps", ["Type the commands in this folder.", next_steps(results)]),
            *_confirmation(results.folder),
            Section(
                "Limits of these results",
                [MarkedList([("warning", text) for text in caveats(verdict, evaluation_note(results.base))])],
            ),
            Section("All parameters at once", [parallel_coordinates(chart_data)]),
            Section(
                "One parameter at a time",
                [*([Columns(other_plots)] if other_plots else []), Columns(slice_plots(chart_data), min_width=260)],
            ),
            Section("Importance of parameters", _importances(verdict)),
            Section("Learning curves", [curves_plot(chart_data, results.search.pruning)]),
            Section("Evaluation of the winner", _winner_parts(results, recall)),
            Section("Positives with the lowest probabilities", _lowest_scored_positives(results)),
            Section("All trials", [trials_table(results)]),
            Section("Cost", _cost(results)),
            Section("Environment and seeds", _environment(results)),
        ],
        intro=[
            MarkedList(
                list(
                    zip(("winner", "ties", "values"), key_findings(verdict, evaluation_note(results.base)), strict=True)
                )
            ),
            *_first_screen(results, heatmap, strategies),
        ],
    )


def _first_screen(
    results: SearchResults, heatmap: InteractivePlot | None, strategies: Sequence[InteractivePlot]
) -> list[Part]:
    """Returns the best config, AUROC over images, and the strategies; a single one goes below the config."""
    auroc_plot = auroc_over_images_plot(results.chart_data, results.order, results.verdict.debiased_auroc)
    if len(strategies) == 1 and not heatmap:
        left_column: list[Block] = [config_table(results), *strategies, EFFECTS]
        return [Columns([left_column, auroc_plot], min_width=380)]
    columns = [Columns(strategies, min_width=380)] if strategies else []
    below: list[Part] = [*([heatmap] if heatmap else []), *columns]
    return [Columns([config_table(results), auroc_plot], min_width=380), *below, *([EFFECTS] if below else [])]


def _lead(results: SearchResults) -> str:
    verdict, run = results.verdict, results.base
    tree = without_query(results.search.data_uri) if results.search.data_uri else run.data.root
    return (
        f"{len(results.rows)} trials ({', '.join(_counted_states(results.rows))}) of {_backbones(results)} at "
        f"{run.image.size} px on {tree}, scored by the AUROC of {', '.join(verdict.observations)} on "
        f"{verdict.units:,} {evaluation_note(run)} of {verdict.patients:,} patients. {NO_DIAGNOSIS}"
    )


def _counted_states(rows: Sequence[TrialRecord]) -> list[str]:
    states = [row.state for row in rows]
    return [f"{states.count(state)} {label}" for state, label in STATES.items() if state in states]


def _backbones(results: SearchResults) -> str:
    tried = {str(row.params.get("model.backbone", results.base.model.backbone)) for row in results.rows}
    return ", ".join(sorted(tried))


def config_table(results: SearchResults) -> Table:
    """Returns the parameters of the winner, of the cheapest tied trial if that is another one, and of the base run."""
    rows = {row.number: row for row in results.rows}
    verdict, base = results.verdict, results.base.model_dump(mode="json")
    columns = {f"trial {verdict.winner}, the winner": rows[verdict.winner]}
    if verdict.best_set.cheapest != verdict.winner:
        columns[f"trial {verdict.best_set.cheapest}, cheapest tied"] = rows[verdict.best_set.cheapest]
    paths = [path for path in results.search.space if any(path in row.params for row in columns.values())]
    frame = pd.DataFrame({"parameter": [*paths, "AUROC", "training images"]})
    for heading, row in columns.items():
        params = [_format_value(row.params.get(path)) for path in paths]
        frame[heading] = [*params, format_decimal(row.value), f"{row.images_seen:,}"]
    first = rows[1] if results.search.base_params() is not None else None
    base_results = [format_decimal(first.value), f"{first.images_seen:,}"] if first else ["", ""]
    frame["base run"] = [*(_format_value(get_path(base, path)) for path in paths), *base_results]
    return Table("best-config", frame, "The best config")


def next_steps(results: SearchResults) -> MarkedList:
    """Returns the next steps with their commands, to be typed in the search's folder."""
    verdict = results.verdict
    steps = [
        ("train", "Train the winner again, without Ray.", "chex train best.yaml"),
        ("predict", "Predict new images with its weights.", "chex predict best.safetensors IMAGES"),
        (
            "evaluate",
            "Evaluate them on images that were not used for selection.",
            "chex evaluate best.safetensors --data TREE",
        ),
        ("export", "Write the winner with a model card, for use on other machines.", "chex-search export . OUT"),
    ]
    if verdict.best_set.cheapest != verdict.winner:
        cheap = f"If training is expensive, use trial {verdict.best_set.cheapest}: it may be as good."
        steps.append(("cheaper", cheap, ""))
    if len(verdict.best_set.trials) > 1:
        steps.append(
            (
                "confirm",
                "Train the best configs on new seeds, to separate luck from a better config.",
                "chex-search confirm .",
            )
        )
    if verdict.unfinished:
        steps.append(("resume", "Finish the unfinished trials.", "chex-search resume ."))
    elif any(sum(each.may_be_best for each in verdict.strategies.of(param)) > 1 for param in verdict.strategies.params):
        more = f"chex-search extend . --trials {len(results.rows)}"
        steps.append(("extend", "Run as many trials again, to compare values with more data.", more))
    if verdict.ensemble:
        ensemble = verdict.ensemble
        gain = (
            f"The average of {len(ensemble.members)} reports' probabilities reaches "
            f"{format_decimal(ensemble.auroc)} on these images; on other patients like these, expect "
            f"{format_signed_interval(ensemble.gain)} compared with the winner alone."
        )
        steps.append(("ensemble", gain, ""))
    return MarkedList([step[:2] for step in steps], [step[2] for step in steps])


def _confirmation(folder: Path) -> list[Section]:
    """Returns the results of `chex-search confirm`, if it was run."""
    if not (folder / CONFIRM / CONFIRMED).is_file():
        return []
    frame = pd.read_csv(folder / CONFIRM / CONFIRMED)
    lines = (folder / CONFIRM / CONFIRM_TEXT).read_text(encoding="utf-8").splitlines()
    rows = [
        {
            "trial": str(int(trial)),
            "in the search": format_decimal(before),
            "retrained": format_decimal(again),
            "95 % interval": f"{format_decimal(low)} to {format_decimal(high)}",
            "sd of seeds": format_decimal(spread),
            "paired difference from the first": format_signed_interval(Estimate(*difference)) if position else "-",
        }
        for position, (trial, before, again, low, high, spread, *difference) in enumerate(frame.to_numpy().tolist())
    ]
    table = Table("confirmed", frame, "The best configs on new seeds", display=pd.DataFrame(rows))
    return [Section("Trained again on new seeds", [lines[0], table, *lines[lines.index("", 3) + 1 :]])]


def _importances(verdict: Verdict) -> list[Part]:
    results = verdict.importances
    if results is None or results.why:
        return [f"Not available: {results.why if results else 'not computed'}."]
    return [importances_plot(results)]


def _winner_parts(results: SearchResults, recall: float) -> list[Part]:
    predictions, verdict = results.predictions, results.verdict
    unit = {"image": ("image", "images"), "study": ("study", "studies")}[results.base.data.eval_unit]
    probability = predictions.probability[
        best_report(results.chart_data.winning_trial, predictions.trials, predictions.images)
    ]
    metrics = evaluate_probabilities(
        predictions.truth,
        probability,
        predictions.patients,
        predictions.observations,
        recall,
        rng_for(results.base.seed, "interval"),
    )
    heading = (
        f"Trial {verdict.winner} on {len(predictions.paths):,} {unit[1]} that selected it; these values are optimistic."
    )
    notes = EvaluationNotes(metrics, predictions.truth, probability, heading, unit, recall)
    parts = [part for section in evaluation_page(notes).sections for part in section.parts]
    if len(predictions.observations) > 1:
        return [heading, *parts]
    curves = [replace(part, wide=False) for part in parts if isinstance(part, StaticPlot) and part.name != "confusion"]
    other_parts = [part for part in parts if not isinstance(part, StaticPlot) or part.name == "confusion"]
    return [heading, *other_parts, Columns(curves, min_width=340)]


def _lowest_scored_positives(results: SearchResults) -> list[Part]:
    probability = results.predictions.probability[
        best_report(results.chart_data.winning_trial, results.predictions.trials, results.predictions.images)
    ]
    search = results.search.model_copy(update={"base": results.base})
    return [
        "The positives to which the winner gives the lowest probabilities.",
        *false_negatives(results.folder, search, results.predictions, probability),
    ]


def trials_table(results: SearchResults) -> Table:
    """Returns a table with one row per trial, the best first."""
    verdict, space = results.verdict, results.search.space
    intervals = {one.trial: one.auroc for one in verdict.trials}
    records = []
    for row in sorted(results.rows, key=lambda row: (row.value != row.value, -row.value)):
        standing = "winner" if row.number == verdict.winner else "tied" if row.number in verdict.best_set.trials else ""
        interval = intervals.get(row.number)
        records.append(
            {
                "trial": row.number,
                "state": STATES.get(row.state, row.state),
                "best?": standing,
                "AUROC": row.value,
                "95 % interval": f"{format_decimal(interval.low)} to {format_decimal(interval.high)}"
                if interval
                else "",
                "% done": row.percent,
                "images": row.images_seen,
                "minutes": float(row.report.get("seconds", 0)) / 60,
                **{path: row.params.get(path) for path in space},
                "error": row.error,
            }
        )
    frame = pd.DataFrame(records)
    if not frame["error"].any():
        frame = frame.drop(columns="error")
    formats: dict[str, Callable[[Any], str]] = {"AUROC": format_decimal, "minutes": lambda value: f"{value:.1f}"}
    formats |= dict.fromkeys(space, _format_value)
    return Table("trials", frame, "Trials, the best first", formats, max_rows=len(frame), sortable=True)


def _format_value(value: Any) -> str:
    integer = isinstance(value, float) and value == int(value) and abs(value) < 1e15
    return "-" if value is None else f"{value:,.0f}" if integer else format_value(value)


def _cost(results: SearchResults) -> list[Part]:
    rows = results.rows
    seconds = {row.number: float(row.report.get("seconds", 0)) for row in rows}
    total = sum(row.images_seen for row in rows)
    frame = pd.DataFrame(
        [
            {
                "trials": label,
                "count": len(interval),
                "images": sum(row.images_seen for row in interval),
                "share of images": format_percent(sum(row.images_seen for row in interval) / max(1, total)),
                "hours of trials": sum(seconds[row.number] for row in interval) / 3600,
            }
            for label, interval in [
                *((label, [row for row in rows if row.state == state]) for state, label in STATES.items()),
                ("all", list(rows)),
            ]
            if interval
        ]
    )
    return [
        f"{total:,} training images in {format_duration(results.seconds)} of this search, {len(rows)} of "
        f"{results.search.budget.trials} trials started.{_images_saved_by_pruning(rows)}",
        Table("spent", frame, "Cost of trials"),
        *teacher_lines(results.folder),
    ]


def _images_saved_by_pruning(rows: Sequence[TrialRecord]) -> str:
    pruned = [row for row in rows if row.state == "pruned" and row.step]
    saved = sum(row.images_seen * (row.report["steps"] / row.step - 1) for row in pruned)
    return f" Pruning saved about {saved:,.0f} images." if pruned else ""


def _environment(results: SearchResults) -> list[Part]:
    run, sampler = results.base, results.search.resolved_sampler()
    device = run.device
    threads = {None: "all threads", 1: "one thread"}.get(device.threads, f"{device.threads} threads")
    seeds = (
        f"Seeds: {run.seed} of the base run (weights, order, augmentation), {sampler.seed} of the sampler "
        f"({sampler.kind}), {run.data.split_seed} of the split. Trials ran on {device.kind} with {threads}, "
        f"amp {device.amp}."
    )
    recorded = environments(results.folder)
    if not recorded:
        return [seeds, "Versions and machine were not recorded."]
    names = dict.fromkeys(name for one in recorded for name in one)
    frame = pd.DataFrame({"": list(names)})
    for position, one in enumerate(recorded, start=1):
        frame["value" if len(recorded) == 1 else f"environment {position}"] = [one.get(name, "") for name in names]
    return [seeds, Table("environment", frame, "Environment of the search")]
