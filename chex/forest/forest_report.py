"""`chex forest`: reports how well a metadata forest predicts a label, with plots and a probability table.

The source work is the earlier study whose metadata forest and whose figures this report compares with (PUBLISHED).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from chex.data.tables import ImageTable
from chex.errors import InputError, suggest
from chex.forest.cross_validation import (
    BEFORE,
    INSIDE,
    PROTOCOLS,
    RATES,
    Cases,
    Fold,
    Splits,
    cases,
    cross_validate,
    patient_splits,
)
from chex.forest.metadata_forest import LEAF, ROWS_A_TREE, TREES, feature_names, forest_probabilities
from chex.forest.resampling import CANDIDATES, NEIGHBOURS, VARIANTS
from chex.reporting.console import ProgressCallback, format_decimal, progress_bar
from chex.reporting.plot_style import SERIES_COLORS, new_figure, save_png
from chex.runtime.atomic_io import atomic_write, write_text
from chex.runtime.output_folder import check_claim, claim
from chex.schema.labels import FIVE, OBSERVATIONS
from chex.uncertainty.probability_tables import TABLE, write_probabilities

REPORT, FOLDS, ROC, IMPORTANCES = "report.txt", "folds.csv", "roc.png", "importances.png"

FIGURES: dict[str, Callable[[Fold], float]] = {
    "ROC-AUC": lambda fold: fold.scores.auroc,
    "precision": lambda fold: fold.scores.precision,
    "recall": lambda fold: fold.scores.recall,
}

PUBLISHED_TARGET = "Cardiomegaly"
PUBLISHED = {
    "plain": (0.743, 0.363, 0.109),
    "oversampled": (0.848, 0.727, 0.88),
    "SMOTENC": (0.896, 0.776, 0.886),
    "SMOTE": (0.896, 0.776, 0.886),
}
"""The source work's FIGURES for PUBLISHED_TARGET, in order. It has one SMOTE, whose figures stand for both here."""

CLUES, TOO_GOOD = 3, 0.99
"""The number of features that the report names, and the ROC-AUC from which it warns that one may repeat the target."""

EXPLAINED = {
    BEFORE: (
        "Rows are resampled first and split at random afterwards, as in the source work. This is optimistic: copies",
        "of a test row, rows made from it, and other images of its patient with the same labels are among the rows",
        "trained on, so that remembering pays; and in all but `plain` half of the test rows are of the rarer class,",
        "which lifts precision by itself.",
    ),
    INSIDE: (
        "A patient's images are all on one side, only training rows are resampled, and test rows are as in the table.",
        "This is what to expect of new patients.",
    ),
}


@dataclass(frozen=True)
class ForestReport:
    """The results for one target."""

    known: Cases
    seed: int
    folds: list[Fold]
    missing_ages: int


def report_forests(
    records: ImageTable, rows: np.ndarray, targets: Sequence[str], folds: int, seed: int, out: Path | None
) -> int:
    """Prints a report per target and writes it, folds.csv, plots and probabilities.csv into `out`. Returns 0.

    Only the training `rows` (int64) of `records` are used. Without `out` the folder is results/forest-<target>. Each of
    several targets has a subfolder; probabilities.csv is common. Raises InputError, before the work starts, for a wrong
    option and for a target with too few positives or negatives.
    """
    chosen = chosen_targets(targets)
    folder = forest_folder(chosen, out)
    _check_options(folds, seed, folder)
    tables = [cases(records, rows, name) for name in chosen]
    with progress_bar("splitting by patient") as advance:
        splits = _all_splits(tables, folds, seed, advance)
    with progress_bar("fitting forests") as advance:
        results, probabilities = _fit(records, rows, tables, splits, seed, advance)
    claim(folder, "forest")
    for result in results:
        home = folder if len(results) == 1 else folder / _file_name(result.known.target)
        print(_write(result, home), end="\n\n")
    write_probabilities(folder / TABLE, records.paths, chosen, probabilities)
    print(_table_note(folder / TABLE, probabilities))
    return 0


def forest_folder(targets: Sequence[str], out: Path | None) -> Path:
    """Returns `out`, or without it results/forest-<target>."""
    return out or Path("results") / f"forest-{'five' if targets == FIVE else '+'.join(map(_file_name, targets))}"


def chosen_targets(names: Sequence[str]) -> tuple[str, ...]:
    """Returns the observations that `--target` names; `five` are those of the competition.

    Raises InputError for an unknown or repeated name.
    """
    chosen = FIVE if list(names) == ["five"] else tuple(names)
    for name in chosen:
        if name not in OBSERVATIONS:
            raise InputError(f"--target {name}: not an observation; {suggest(name, (*OBSERVATIONS, 'five'))}")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"--target {' '.join(names)}: names an observation twice; name each once")
    return chosen


def _check_options(folds: int, seed: int, folder: Path) -> None:
    if folds < 2:
        raise InputError(
            f"--folds {folds}: a forest is tested on patients left out, for which 2 folds are the least; "
            "give --folds 2 or more"
        )
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed {seed}: a seed is a whole number from 0 to {2**32 - 1}; give one of these")
    check_claim(folder, "forest")


def _all_splits(tables: Sequence[Cases], folds: int, seed: int, advance: ProgressCallback) -> list[Splits]:
    splits = []
    for known in tables:
        splits.append(patient_splits(known, folds, seed))
        advance(len(splits), len(tables))
    return splits


def _fit(
    records: ImageTable,
    rows: np.ndarray,
    tables: Sequence[Cases],
    splits: Sequence[Splits],
    seed: int,
    advance: ProgressCallback,
) -> tuple[list[ForestReport], np.ndarray]:
    """Returns a result per table, and the probabilities (N, targets). `advance` counts all fits in one progress bar."""
    each = [len(PROTOCOLS) * len(VARIANTS) * len(parts) for parts in splits]
    before = np.cumsum([0, len(tables), *each]).tolist()

    def counted(start: int) -> ProgressCallback:
        return lambda done, _: advance(start + done, before[-1])

    targets = tuple(known.target for known in tables)
    probabilities = forest_probabilities(records, rows, targets, seed, counted(before[0]))
    missing = int(np.isnan(records.ages[rows]).sum())
    results = [
        ForestReport(known, seed, cross_validate(known, parts, seed, counted(start)), missing)
        for known, parts, start in zip(tables, splits, before[1:], strict=False)
    ]
    return results, probabilities


def _write(result: ForestReport, folder: Path) -> str:
    """Writes report, folds and plots of a target into `folder`, and returns the text to print."""
    folder.mkdir(parents=True, exist_ok=True)
    text = report(result)
    write_text(folder / REPORT, text + "\n")
    with atomic_write(folder / FOLDS) as beside:
        folds_table(result.folds).to_csv(beside, index=False, float_format="%.6f")
    draw_roc(result, folder / ROC)
    draw_importances(result, folder / IMPORTANCES)
    return f"{text}\n\n{folder}: {REPORT}, {FOLDS}, {ROC}, {IMPORTANCES}"


def report(result: ForestReport) -> str:
    """Returns the report of one target as text."""
    blocks = [
        _head(result),
        *(_protocol(result, protocol) for protocol in PROTOCOLS),
        _gap(result) + _clues(result),
        _fine_print(result),
    ]
    return "\n\n".join("\n".join(lines) for lines in blocks)


def _head(result: ForestReport) -> list[str]:
    known = result.known
    positives = int(known.positive.sum())
    return [
        f"Metadata forest: {known.target} from sex, age and the other 13 observations' labels, no pixels",
        f"{len(known.positive):,} certain rows of {len(np.unique(known.patients)):,} patients, {positives:,} of them "
        f"positive ({100 * positives / len(known.positive):.1f} %); blank counts as negative",
        f"{known.uncertain:,} uncertain rows left out; {max(fold.number for fold in result.folds)} folds, "
        f"seed {result.seed}, threshold .5; mean over folds, in brackets their standard deviation",
    ]


def _protocol(result: ForestReport, protocol: str) -> list[str]:
    published = result.known.target == PUBLISHED_TARGET
    widths = "".join(f"{name:<22}" if published else f"{name:<14}" for name in FIGURES)
    lines = [protocol.capitalize(), *EXPLAINED[protocol], "", f"  {'':<13}{widths}".rstrip()]
    if published:
        lines.append(f"  {'':<13}" + ("ours        source    " * len(FIGURES)).rstrip())
    return [*lines, *(f"  {variant:<13}{_cells(result, protocol, variant)}" for variant in VARIANTS)]


def _cells(result: ForestReport, protocol: str, variant: str) -> str:
    ours = [summary(result.folds, protocol, variant, name) for name in FIGURES]
    cells = [f"{format_decimal(mean)} ({format_decimal(spread)})" for mean, spread in ours]
    if result.known.target != PUBLISHED_TARGET:
        return "".join(f"{cell:<14}" for cell in cells).rstrip()
    source = [format_decimal(value) for value in PUBLISHED[variant]]
    return "".join(f"{cell:<12}{value:<10}" for cell, value in zip(cells, source, strict=True)).rstrip()


def _gap(result: ForestReport) -> list[str]:
    gaps = []
    for variant in VARIANTS:
        optimistic, honest = (summary(result.folds, protocol, variant, "ROC-AUC")[0] for protocol in PROTOCOLS)
        gaps.append(f"{variant} {optimistic - honest:+.3f}")
    return [f"What the first protocol adds to ROC-AUC: {', '.join(gaps)}"]


def _clues(result: ForestReport) -> list[str]:
    mean = _importances(result.folds).mean(axis=0)
    names = feature_names(result.known.target)
    first = ", ".join(f"{names[place]} {format_decimal(mean[place])}" for place in np.argsort(-mean)[:CLUES])
    lines = [f"The plain forest goes by {first} (shares of the decrease in impurity; they favour age)"]
    if summary(result.folds, INSIDE, "plain", "ROC-AUC")[0] >= TOO_GOOD:
        lines.append(
            f"A ROC-AUC of {format_decimal(TOO_GOOD)} or more without pixels: check whether one of these "
            "repeats the target."
        )
    return lines


def _fine_print(result: ForestReport) -> list[str]:
    lines = [
        f"{TREES} trees a forest, {LEAF} rows or more in a leaf. Labels are coded 0 negative, 1 blank, 2 uncertain,",
        "3 positive. Both SMOTEs make a new row between a row of the rarer class and one of its "
        f"{NEIGHBOURS} nearest neighbours;",
        "SMOTENC gives it labels that exist, SMOTE also values between them (1.4), which betray a row that was made.",
    ]
    if result.known.target == PUBLISHED_TARGET:
        lines.append("The source work has one SMOTE; its figures stand beside both forms.")
    if min(result.known.positive.sum(), (~result.known.positive).sum()) > CANDIDATES:
        lines.append(
            f"The rarer class is large: neighbours are looked for among {CANDIDATES:,} of its rows, evenly spaced."
        )
    if len(result.known.positive) > ROWS_A_TREE:
        lines.append(f"A table of so many rows: each tree draws {ROWS_A_TREE:,} of them, or that share once resampled.")
    if result.missing_ages:
        lines.append(
            f"{result.missing_ages:,} missing ages count as the median age of the rows that a forest learns from."
        )
    for name, reason in (("ROC-AUC", "with one class"), ("precision", "without a probability of .5 or more")):
        undefined = sum(np.isnan(FIGURES[name](fold)) for fold in result.folds)
        if undefined:
            lines.append(f"Test folds {reason}: {undefined}. {name} is averaged over the others.")
    return lines


def _table_note(path: Path, probabilities: np.ndarray) -> str:
    cells, images = (~np.isnan(probabilities)).sum(), (~np.isnan(probabilities)).any(axis=1).sum()
    if not cells:
        return f"{path}: empty, because no label is uncertain"
    return f"{path}: the plain forest's probability of positive for {cells:,} uncertain cells of {images:,} images"


def summary(folds: Sequence[Fold], protocol: str, variant: str, figure: str) -> tuple[float, float]:
    """Returns mean and standard deviation (n - 1) of a metric over the folds that define it, NaN without any."""
    chosen = [FIGURES[figure](fold) for fold in folds if (fold.protocol, fold.variant) == (protocol, variant)]
    defined = [value for value in chosen if not np.isnan(value)]
    mean = float(np.mean(defined)) if defined else float("nan")
    return mean, float(np.std(defined, ddof=1)) if len(defined) > 1 else float("nan")


def folds_table(folds: Sequence[Fold]) -> pd.DataFrame:
    """Returns a row per protocol, variant and fold, with metrics in [0, 1], NaN where undefined."""
    return pd.DataFrame(
        [
            {
                "protocol": fold.protocol,
                "variant": fold.variant,
                "fold": fold.number,
                "train_rows": fold.trained,
                "test_rows": fold.tested,
                "test_positives": fold.positives,
                **{name: figure(fold) for name, figure in FIGURES.items()},
            }
            for fold in folds
        ]
    )


def draw_roc(result: ForestReport, path: Path) -> None:
    """Writes a PNG of the mean ROC curve of each variant under both protocols."""
    figure, axes = new_figure(6.4, 6)
    axes.plot([0, 1], [0, 1], color="#999999", linewidth=0.8, linestyle=":")
    for protocol, line, name in ((BEFORE, (0, (5, 2)), "optimistic"), (INSIDE, "solid", "honest")):
        for place, (variant, marker) in enumerate(zip(VARIANTS, "osD^", strict=True)):
            curve = _mean_curve(result.folds, protocol, variant)
            auroc = format_decimal(summary(result.folds, protocol, variant, "ROC-AUC")[0])
            (drawn,) = axes.plot(
                RATES, curve, color=SERIES_COLORS[place], linewidth=1.4, label=f"{variant}, {name}: {auroc}"
            )
            drawn.set(linestyle=line, marker=marker, markersize=5, markevery=(10 + 10 * place, 40))
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1.01), aspect="equal")
    axes.set_title(f"{result.known.target} from metadata: ROC, mean over folds", fontsize=11)
    axes.legend(loc="lower right", fontsize=8.5, title="variant, protocol: ROC-AUC", title_fontsize=8.5, handlelength=4)
    save_png(figure, path)


def _mean_curve(folds: Sequence[Fold], protocol: str, variant: str) -> np.ndarray:
    curves = [fold.curve for fold in folds if (fold.protocol, fold.variant) == (protocol, variant)]
    defined = [curve for curve in curves if not np.isnan(curve).any()]
    return np.mean(defined, axis=0) if defined else np.full(len(RATES), np.nan)


def draw_importances(result: ForestReport, path: Path) -> None:
    """Writes a PNG of the feature importances of the plain forest, mean and standard deviation over honest folds."""
    each = _importances(result.folds)
    order = np.argsort(each.mean(axis=0))
    names = np.array(feature_names(result.known.target))
    figure, axes = new_figure(7, 4.6)
    axes.barh(
        names[order],
        each.mean(axis=0)[order],
        xerr=each.std(axis=0, ddof=1)[order],
        color=SERIES_COLORS[0],
        ecolor="black",
    )
    axes.set(xlabel="share of the decrease in impurity (plain forest, folds by patient)", ylabel="")
    axes.set_title(f"{result.known.target}: what the forest goes by", fontsize=11)
    save_png(figure, path)


def _importances(folds: Sequence[Fold]) -> np.ndarray:
    """Returns the feature importances of the plain forest in the honest folds, float (folds, 15)."""
    chosen = [fold for fold in folds if (fold.protocol, fold.variant) == (INSIDE, "plain")]
    return np.stack([fold.importances for fold in chosen])


def _file_name(observation: str) -> str:
    return observation.replace(" ", "-")
