"""Draws charts of the tables and images. Each has a caption of one sentence that is computed from the data."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from chex.data.tables import ImageTable
from chex.explore.image_stats import SHEET, ImageSample, ImageStats
from chex.explore.summary_tables import AS_LABELLED, KINDS, group_sizes, join_names
from chex.reporting.console import format_percent
from chex.reporting.html_report import StaticPlot
from chex.reporting.plot_style import SERIES_COLORS, new_figure, new_panels
from chex.schema.labels import FIVE

WIDTH = 6.4
"""Inches; at this width text stays legible when a phone shows the whole picture."""

SHADES = {"positive": SERIES_COLORS[0], "uncertain": SERIES_COLORS[2], "negative": "#b5b5b5", "blank": "#efefef"}
"""The colours of labels, from dark to light so that they differ in a gray print; uncertain is also hatched."""

ROWS_TO_COMPARE = 20
"""An observation needs at least this many rows, or its shares are not named as the strongest pair."""


def ages(splits: Mapping[str, ImageTable]) -> StaticPlot:
    """Draws the share of each split's rows per five years of age."""
    known = {split: records.ages[~np.isnan(records.ages)].astype(np.float64) for split, records in splits.items()}
    known = {split: years for split, years in known.items() if len(years)}
    top = max([years.max() for years in known.values()], default=90)
    bins = np.arange(min([0.0, *(years.min() for years in known.values())]) // 5 * 5, top + 5.1, 5)
    figure, axes = new_figure(WIDTH, 3.4)
    for position, (split, years) in enumerate(known.items()):
        shares = np.histogram(years, bins)[0] / len(years)
        first = position == 0
        axes.stairs(
            shares, bins, label=split, fill=first, color="#c9d8ea" if first else SERIES_COLORS[1], linewidth=1.8
        )
        axes.axvline(years.mean(), color=SERIES_COLORS[position], linestyle=("-", "--")[position % 2], linewidth=1.2)
    axes.set(xlabel="age in years, in steps of five (vertical lines: means)", ylabel="share of the split's rows")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(axis="x", visible=False)
    if known:
        axes.legend(frameon=False, loc="upper left")
    means = [
        f"{split}.csv's rows average {years.mean():.1f} years (sd {years.std():.1f})" for split, years in known.items()
    ]
    return StaticPlot(
        "ages", figure, f"{join_names(means) or 'no row has an age'}.", "Histogram of ages, train and valid"
    )


def groups(train: ImageTable) -> StaticPlot:
    """Draws the number of studies and images per patient."""
    counts = group_sizes(train)
    figure, panes = new_panels(1, 2, WIDTH, 3.0)
    for axes, what in zip(panes, ("studies per patient", "images per patient"), strict=True):
        histogram = np.bincount(counts[what])
        axes.bar(np.arange(1, len(histogram)), histogram[1:], width=1.0, color=SERIES_COLORS[0])
        axes.set(xlabel=what, yscale="log", ylim=(0.7, histogram.max() * 1.6))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panes[0].set_ylabel("patients (log scale)")
    images = counts["images per patient"]
    most = np.sort(images)[::-1][: max(1, len(images) // 10)]
    reading = (
        f"{format_percent(float((images == 1).mean()))} of train.csv's patients have one image; the largest number is "
        f"{images.max():,}; the 10 % of patients with the most images have "
        f"{format_percent(float(most.sum() / images.sum()))} of all rows."
    )
    return StaticPlot("groups", figure, reading, "Studies and images per patient in train.csv, logarithmic bars")


def labels(counts: pd.DataFrame, split: str) -> StaticPlot:
    """Draws the share of a split's rows per kind of label; `counts` is summary_tables.label_counts."""
    figure, axes = new_figure(WIDTH, 4.6)
    whole = counts[list(KINDS)].sum(axis=1)
    _stack(axes, list(counts["observation"]), {kind: counts[kind] / whole for kind in KINDS})
    axes.legend(ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(-0.35, 1.0), columnspacing=1.2)
    most, least = counts.iloc[counts["positive"].argmax()], counts.iloc[counts["blank"].argmax()]
    reading = f"{most['observation']} is positive most often ({format_percent(most['positive'] / whole[0])} of rows)"
    if least["blank"]:
        reading += f"; {least['observation']} is blank most often ({format_percent(least['blank'] / whole[0])})"
    name = f"labels-{split}"
    return StaticPlot(
        name, figure, f"{reading}.", f"Positive, uncertain, negative and blank per observation in {split}"
    )


def uncertain(counts: pd.DataFrame) -> StaticPlot:
    """Draws the uncertain labels per observation, most first; `counts` is summary_tables.label_counts of train."""
    ordered = counts.sort_values("uncertain", ascending=False, kind="stable")
    figure, axes = new_figure(WIDTH, 4.6)
    places = np.arange(len(ordered))
    axes.barh(places, ordered["uncertain of rows"], color=SHADES["uncertain"], hatch="///", edgecolor="white")
    for position, share, count in zip(places, ordered["uncertain of rows"], ordered["uncertain"], strict=True):
        axes.annotate(
            f"{format_percent(share)}  ({count:,})", (share, position), (4, 0), textcoords="offset points", va="center"
        )
    _named_rows(axes, list(ordered["observation"]))
    axes.set_xlim(0, max(1.4 * ordered["uncertain of rows"].max(), 0.01))
    axes.set_xlabel("share of train.csv's rows (and their number)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    total = int(ordered["uncertain"].sum())
    if not total:
        return StaticPlot("uncertain", figure, "no label is uncertain.", "Uncertain labels per observation: none")
    leading = ordered[ordered["uncertain"] > 0].head(3)
    reading = (
        f"{join_names(leading['observation'])} have the most, {format_percent(leading['uncertain'].sum() / total)} of "
        f"all {total:,} uncertain labels."
        if len(leading) > 1
        else f"all {total:,} uncertain labels are of {leading['observation'].iloc[0]}."
    )
    return StaticPlot("uncertain", figure, reading, "Uncertain labels per observation, most first")


def balance(table: pd.DataFrame) -> StaticPlot:
    """Draws positive, negative and ignored cells of the scored observations; `table` is summary_tables.balance."""
    policies = list(dict.fromkeys(table["policy"]))
    figure, panes = new_panels(len(FIVE), 1, WIDTH, 0.55 + len(FIVE) * (0.45 + 0.21 * len(policies)))
    swings = {}
    for axes, name in zip(panes, FIVE, strict=True):
        rows_of_name = table[table["observation"] == name]
        cells = rows_of_name["positives"] + rows_of_name["negatives"] + rows_of_name["ignored"]
        parts = {"positive": "positives", "negative": "negatives", "blank": "ignored"}
        _stack(
            axes,
            list(rows_of_name["policy"]),
            {kind: rows_of_name[column] / cells for kind, column in parts.items()},
            "not counted",
        )
        for position, (share, ratio) in enumerate(
            zip(rows_of_name["share positive"], rows_of_name["negatives per positive"], strict=True)
        ):
            text = f"{format_percent(share)}  1 : {ratio:.2f}" if ratio == ratio else format_percent(share)
            axes.annotate(text, (1.01, position), va="center", annotation_clip=False)
        axes.set_title(name, loc="left", fontsize="medium", fontweight="bold")
        axes.tick_params(axis="x", labelbottom=axes is panes[-1])
        after = rows_of_name.loc[rows_of_name["policy"] != AS_LABELLED, ["policy", "share positive"]].dropna()
        if len(after):
            swings[name] = after.sort_values("share positive", kind="stable").iloc[[0, -1]]
    figure.legend(*panes[0].get_legend_handles_labels(), ncols=3, frameon=False, loc="outside upper left")
    panes[-1].set_xlabel("share of rows (right: positives among counted cells, and ratio of positives to negatives)")
    return StaticPlot(
        "balance",
        figure,
        _swing(swings),
        "Class balance of the five scored observations as labelled and under each policy, stacked bars",
    )


def _swing(swings: dict[str, pd.DataFrame]) -> str:
    widths = {
        name: float(pair["share positive"].iloc[1] - pair["share positive"].iloc[0]) for name, pair in swings.items()
    }
    if not widths or max(widths.values()) == 0:
        return "no policy changes the balance: none of the five observations has an uncertain label."
    name = max(widths, key=lambda each: widths[each])
    (low, least), (high, most) = swings[name].itertuples(index=False)
    return (
        f"the policy matters most for {name}: of the counted cells, {format_percent(least)} are positive under {low} "
        f"and {format_percent(most)} under {high}."
    )


def co_occurrence(shares: pd.DataFrame, counts: np.ndarray, kind: str) -> StaticPlot:
    """Draws summary_tables.co_occurrence as a heat map, without observations that are never `kind`.

    `counts` is int (14,): how many rows of each observation are `kind`; at least two must not be 0.
    """
    some = np.flatnonzero(counts)
    names = [str(name) for name in shares.index[some]]
    counts = counts[some]
    off_diagonal = shares.to_numpy()[np.ix_(some, some)]
    np.fill_diagonal(off_diagonal, np.nan)
    darkest = max(float(np.nanmax(off_diagonal)), 0.1)
    figure, axes = new_figure(7.6, 1.8 + 0.32 * len(some))
    axes.imshow(np.nan_to_num(off_diagonal), cmap="Greys", vmin=0, vmax=1.15 * darkest, aspect="auto")
    for row, column in np.argwhere(~np.isnan(off_diagonal)):
        colour = "white" if off_diagonal[row, column] > 0.7 * darkest else "black"
        axes.text(
            column, row, f"{100 * off_diagonal[row, column]:.0f}", ha="center", va="center", fontsize=8, color=colour
        )
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.set_xticks(range(len(some)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(some)), [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)])
    axes.tick_params(length=0)
    text = f"Of the rows where the observation on the left is {kind} (number): % where the one below is {kind} too"
    figure.suptitle(text, x=0.02, ha="left", fontsize=10)
    enough = np.where(counts[:, None] >= ROWS_TO_COMPARE, off_diagonal, np.nan)
    reading = f"no observation is {kind} in {ROWS_TO_COMPARE} rows or more, which is too few to compare."
    if not np.isnan(enough).all():
        row, column = np.unravel_index(int(np.nanargmax(enough)), enough.shape)
        reading = (
            f"the strongest pair: where {names[row]} is {kind}, {names[column]} is {kind} too in "
            f"{format_percent(float(enough[row, column]))} of rows."
        )
    if len(some) < len(shares):
        reading += f" Omitted because never {kind}: {join_names(name for name in shares.index if name not in names)}."
    return StaticPlot(
        f"co-occurrence-{kind}", figure, reading, f"Heat map: how often two observations are {kind} together", wide=True
    )


def image_sizes(stats: ImageStats) -> StaticPlot:
    """Draws width against height of the sampled images."""
    figure, axes = new_figure(WIDTH, 3.6)
    axes.scatter(stats.widths, stats.heights, s=18, color=SERIES_COLORS[0], alpha=0.35, linewidths=0)
    axes.set(xlabel="width in pixels", ylabel="height in pixels")
    axes.margins(0.08)
    pairs = pd.Series(zip(stats.widths, stats.heights, strict=True)).value_counts()
    (width, height), count = pairs.index[0], int(pairs.iloc[0])
    longer = np.maximum(stats.widths, stats.heights)
    reading = (
        f"{len(pairs):,} different sizes among {len(stats):,} images, most often {width:,} x {height:,} ({count:,}); "
        f"the longer side is {longer.min():,} to {longer.max():,} pixels."
    )
    return StaticPlot("image-sizes", figure, reading, "Scatter of image widths and heights")


def brightness(stats: ImageStats) -> StaticPlot:
    """Draws a histogram of the sampled images' mean gray."""
    figure, axes = new_figure(WIDTH, 3.0)
    axes.hist(stats.means, bins=list(range(0, 257, 8)), color=SERIES_COLORS[0], edgecolor="white", linewidth=0.5)
    axes.set(xlabel="mean gray of an image (0 black, 255 white)", ylabel="images", xlim=(0, 256))
    axes.grid(axis="x", visible=False)
    reading = (
        f"images average {stats.means.mean():.0f} of 255, from {stats.means.min():.0f} to {stats.means.max():.0f}, "
        f"with a mean contrast (sd within an image) of {stats.deviations.mean():.0f}."
    )
    return StaticPlot("brightness", figure, reading, "Histogram of the images' mean gray")


def extremes(samples: Sequence[ImageSample]) -> StaticPlot:
    """Draws the darkest and the brightest sampled images, a row each."""
    reading = "the darkest images are above, the brightest below: look for blank, inverted or cropped images."
    return _sheet("extremes", samples, max(1, len(samples) // 2), reading, "The darkest and the brightest images")


def contact_sheet(samples: Sequence[ImageSample]) -> StaticPlot:
    """Draws a row of images per scored observation, captioned with label, sex and age."""
    shown = sum(bool(sample.path) for sample in samples)
    doubtful = any(sample.path and sample.caption.startswith("uncertain") for sample in samples)
    advice = "compare the uncertain ones with their neighbours" if doubtful else "none of them is uncertain"
    reading = f"{shown} images of train.csv, one row per observation; {advice}."
    return _sheet("contact-sheet", samples, len(SHEET), reading, "Images per scored observation: positive to negative")


def _sheet(name: str, samples: Sequence[ImageSample], across: int, reading: str, alt: str) -> StaticPlot:
    down = max(1, len(samples) // across)
    figure, panes = new_panels(down, across, 7.4, 0.1 + 1.95 * down)
    for axes in panes:
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#b5b5b5")
    for position, (axes, sample) in enumerate(zip(panes, samples, strict=False)):
        axes.imshow(sample.pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_xlabel(sample.caption, fontsize=9, labelpad=2)
        if position % across == 0:
            axes.set_title(sample.group, loc="left", fontsize=10, fontweight="bold")
    return StaticPlot(name, figure, reading, alt, wide=True)


def _stack(axes: Axes, names: list[str], shares: Mapping[str, pd.Series], blank: str = "blank") -> None:
    left = np.zeros(len(names))
    for kind, share in shares.items():
        axes.barh(
            np.arange(len(names)),
            share,
            left=left,
            height=0.78,
            color=SHADES[kind],
            hatch="////" if kind == "uncertain" else None,
            edgecolor="white" if kind == "uncertain" else "#8a8a8a",
            linewidth=0.4,
            label=blank if kind == "blank" else kind,
        )
        left += share.to_numpy()
    _named_rows(axes, names)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")


def _named_rows(axes: Axes, names: list[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
