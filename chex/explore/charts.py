"""Pictures of the tables and films, each with a reading computed from what it shows."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from chex.console import percent
from chex.explore.films import SHEET, Look, Shot
from chex.explore.tallies import AS_LABELLED, KINDS, group_sizes, listed
from chex.labels import FIVE
from chex.page import Picture
from chex.pictures import INKS, panels, picture
from chex.records import Records

WIDTH = 6.4
"""Inches: text stays legible when a telephone shows the whole picture."""

SHADES = {"positive": INKS[0], "uncertain": INKS[2], "negative": "#b5b5b5", "blank": "#efefef"}
"""From dark to light, so that a gray print keeps them apart; uncertain is hatched too."""

ROWS_TO_COMPARE = 20
"""Rows an observation needs before its share is called the strongest."""


def ages(splits: Mapping[str, Records]) -> Picture:
    """Share of each split's rows per five years of age."""
    known = {split: records.ages[~np.isnan(records.ages)].astype(np.float64) for split, records in splits.items()}
    known = {split: years for split, years in known.items() if len(years)}
    top = max([years.max() for years in known.values()], default=90)
    bins = np.arange(min([0.0, *(years.min() for years in known.values())]) // 5 * 5, top + 5.1, 5)
    figure, axes = picture(WIDTH, 3.4)
    for place, (split, years) in enumerate(known.items()):
        shares = np.histogram(years, bins)[0] / len(years)
        first = place == 0
        axes.stairs(shares, bins, label=split, fill=first, color="#c9d8ea" if first else INKS[1], linewidth=1.8)
        axes.axvline(years.mean(), color=INKS[place], linestyle=("-", "--")[place % 2], linewidth=1.2)
    axes.set(xlabel="age in years, five to a step (vertical lines: means)", ylabel="share of the split's rows")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    axes.grid(axis="x", visible=False)
    if known:
        axes.legend(frameon=False, loc="upper left")
    means = [
        f"{split}.csv's rows average {years.mean():.1f} years (sd {years.std():.1f})" for split, years in known.items()
    ]
    return Picture("ages", figure, f"{listed(means) or 'no row has an age'}.", "Histogram of ages, train and valid")


def groups(train: Records) -> Picture:
    """How many patients have how many studies and images."""
    counts = group_sizes(train)
    figure, panes = panels(1, 2, WIDTH, 3.0)
    for axes, what in zip(panes, ("studies a patient", "images a patient"), strict=True):
        many = np.bincount(counts[what])
        axes.bar(np.arange(1, len(many)), many[1:], width=1.0, color=INKS[0])
        axes.set(xlabel=what, yscale="log", ylim=(0.7, many.max() * 1.6))
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    panes[0].set_ylabel("patients (log scale)")
    images = counts["images a patient"]
    most = np.sort(images)[::-1][: max(1, len(images) // 10)]
    reading = (
        f"{percent(float((images == 1).mean()))} of train.csv's patients have one image, one has {images.max():,}; "
        f"the tenth with the most images has {percent(float(most.sum() / images.sum()))} of all rows."
    )
    return Picture("groups", figure, reading, "Studies and images per patient in train.csv, logarithmic bars")


def labels(counts: pd.DataFrame, split: str) -> Picture:
    """What share of a split's rows has each kind of label; `counts` is tallies.label_counts."""
    figure, axes = picture(WIDTH, 4.6)
    whole = counts[list(KINDS)].sum(axis=1)
    _stack(axes, list(counts["observation"]), {kind: counts[kind] / whole for kind in KINDS})
    axes.legend(ncols=4, frameon=False, loc="lower left", bbox_to_anchor=(-0.35, 1.0), columnspacing=1.2)
    most, least = counts.iloc[counts["positive"].argmax()], counts.iloc[counts["blank"].argmax()]
    reading = f"{most['observation']} is positive most often ({percent(most['positive'] / whole[0])} of rows)"
    if least["blank"]:
        reading += f"; {least['observation']} is blank most often ({percent(least['blank'] / whole[0])})"
    name = f"labels-{split}"
    return Picture(name, figure, f"{reading}.", f"Positive, uncertain, negative and blank per observation in {split}")


def uncertain(counts: pd.DataFrame) -> Picture:
    """Uncertain labels per observation, most first; `counts` is tallies.label_counts of train."""
    ordered = counts.sort_values("uncertain", ascending=False, kind="stable")
    figure, axes = picture(WIDTH, 4.6)
    places = np.arange(len(ordered))
    axes.barh(places, ordered["uncertain of rows"], color=SHADES["uncertain"], hatch="///", edgecolor="white")
    for place, share, count in zip(places, ordered["uncertain of rows"], ordered["uncertain"], strict=True):
        axes.annotate(f"{percent(share)}  ({count:,})", (share, place), (4, 0), textcoords="offset points", va="center")
    _named_rows(axes, list(ordered["observation"]))
    axes.set_xlim(0, max(1.4 * ordered["uncertain of rows"].max(), 0.01))
    axes.set_xlabel("share of train.csv's rows (and their number)")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    total = int(ordered["uncertain"].sum())
    if not total:
        return Picture("uncertain", figure, "no label is uncertain.", "Uncertain labels per observation: none")
    leading = ordered[ordered["uncertain"] > 0].head(3)
    reading = (
        f"{listed(leading['observation'])} lead and hold {percent(leading['uncertain'].sum() / total)} of the "
        f"{total:,} uncertain labels."
        if len(leading) > 1
        else f"all {total:,} uncertain labels are of {leading['observation'].iloc[0]}."
    )
    return Picture("uncertain", figure, reading, "Uncertain labels per observation, most first")


def balance(table: pd.DataFrame) -> Picture:
    """Positive, negative and ignored cells of the scored observations; `table` is tallies.balance."""
    policies = list(dict.fromkeys(table["policy"]))
    figure, panes = panels(len(FIVE), 1, WIDTH, 0.55 + len(FIVE) * (0.45 + 0.21 * len(policies)))
    swings = {}
    for axes, name in zip(panes, FIVE, strict=True):
        own = table[table["observation"] == name]
        cells = own["positives"] + own["negatives"] + own["ignored"]
        parts = {"positive": "positives", "negative": "negatives", "blank": "ignored"}
        _stack(axes, list(own["policy"]), {kind: own[column] / cells for kind, column in parts.items()}, "not counted")
        for place, (share, ratio) in enumerate(zip(own["share positive"], own["negatives a positive"], strict=True)):
            told = f"{percent(share)}  1 : {ratio:.2f}" if ratio == ratio else percent(share)
            axes.annotate(told, (1.01, place), va="center", annotation_clip=False)
        axes.set_title(name, loc="left", fontsize="medium", fontweight="bold")
        axes.tick_params(axis="x", labelbottom=axes is panes[-1])
        after = own.loc[own["policy"] != AS_LABELLED, ["policy", "share positive"]].dropna()
        if len(after):
            swings[name] = after.sort_values("share positive", kind="stable").iloc[[0, -1]]
    figure.legend(*panes[0].get_legend_handles_labels(), ncols=3, frameon=False, loc="outside upper left")
    panes[-1].set_xlabel("share of rows (right: positives among what counts, and negatives to one positive)")
    return Picture(
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
        return "no policy changes the balance: nothing is uncertain among the five."
    name = max(widths, key=lambda each: widths[each])
    (low, least), (high, most) = swings[name].itertuples(index=False)
    return (
        f"the policy matters most for {name}: of what counts, {percent(least)} is positive under {low} and "
        f"{percent(most)} under {high}."
    )


def together(shares: pd.DataFrame, counts: np.ndarray, kind: str) -> Picture:
    """Heat map of tallies.together, without the observations that never are `kind`; at least two must be.

    `counts` is int (14,): how many rows of each observation are `kind`.
    """
    some = np.flatnonzero(counts)
    names = [str(name) for name in shares.index[some]]
    counts = counts[some]
    off = shares.to_numpy()[np.ix_(some, some)]
    np.fill_diagonal(off, np.nan)
    darkest = max(float(np.nanmax(off)), 0.1)
    figure, axes = picture(7.6, 1.8 + 0.32 * len(some))
    axes.imshow(np.nan_to_num(off), cmap="Greys", vmin=0, vmax=1.15 * darkest, aspect="auto")
    for row, column in np.argwhere(~np.isnan(off)):
        ink = "white" if off[row, column] > 0.7 * darkest else "black"
        axes.text(column, row, f"{100 * off[row, column]:.0f}", ha="center", va="center", fontsize=8, color=ink)
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    axes.set_xticks(range(len(some)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(some)), [f"{name} ({count:,})" for name, count in zip(names, counts, strict=True)])
    axes.tick_params(length=0)
    told = f"Of the rows where the one on the left is {kind} (their number): % where the one below is too"
    figure.suptitle(told, x=0.02, ha="left", fontsize=10)
    enough = np.where(counts[:, None] >= ROWS_TO_COMPARE, off, np.nan)
    reading = f"no observation is {kind} in {ROWS_TO_COMPARE} rows or more, too few to compare."
    if not np.isnan(enough).all():
        row, column = np.unravel_index(int(np.nanargmax(enough)), enough.shape)
        reading = (
            f"read along a row; the strongest pair: where {names[row]} is {kind}, {names[column]} is too in "
            f"{percent(float(enough[row, column]))} of rows."
        )
    if len(some) < len(shares):
        reading += f" Never {kind}, and left out: {listed(name for name in shares.index if name not in names)}."
    return Picture(
        f"together-{kind}", figure, reading, f"Heat map: how often two observations are {kind} together", wide=True
    )


def film_sizes(looked: Look) -> Picture:
    """Width against height of the films looked at."""
    figure, axes = picture(WIDTH, 3.6)
    axes.scatter(looked.widths, looked.heights, s=18, color=INKS[0], alpha=0.35, linewidths=0)
    axes.set(xlabel="width in pixels", ylabel="height in pixels")
    axes.margins(0.08)
    pairs = pd.Series(zip(looked.widths, looked.heights, strict=True)).value_counts()
    (width, height), count = pairs.index[0], int(pairs.iloc[0])
    longer = np.maximum(looked.widths, looked.heights)
    reading = (
        f"{len(pairs):,} different sizes among {len(looked):,} films, most often {width:,} x {height:,} ({count:,}); "
        f"the longer side is {longer.min():,} to {longer.max():,} pixels."
    )
    return Picture("film-sizes", figure, reading, "Scatter of film widths and heights")


def brightness(looked: Look) -> Picture:
    """Mean gray of the films looked at."""
    figure, axes = picture(WIDTH, 3.0)
    axes.hist(looked.means, bins=list(range(0, 257, 8)), color=INKS[0], edgecolor="white", linewidth=0.5)
    axes.set(xlabel="mean gray of a film (0 black, 255 white)", ylabel="films", xlim=(0, 256))
    axes.grid(axis="x", visible=False)
    reading = (
        f"films average {looked.means.mean():.0f} of 255, from {looked.means.min():.0f} to {looked.means.max():.0f}, "
        f"with a contrast (sd within a film) of {looked.deviations.mean():.0f}."
    )
    return Picture("brightness", figure, reading, "Histogram of the films' mean gray")


def extremes(shots: Sequence[Shot]) -> Picture:
    """The darkest and the brightest films looked at, a row each."""
    reading = "the darkest films stand above, the brightest below: look for films that are blank, inverted or cut off."
    return _sheet("extremes", shots, max(1, len(shots) // 2), reading, "The darkest and the brightest films")


def contact_sheet(shots: Sequence[Shot]) -> Picture:
    """A row of films per scored observation, captioned with label, sex and age."""
    shown = sum(bool(shot.path) for shot in shots)
    doubtful = any(shot.path and shot.caption.startswith("uncertain") for shot in shots)
    advice = "compare the uncertain ones with those to either side" if doubtful else "none of them is uncertain"
    reading = f"{shown} films of train.csv, a row an observation; {advice}."
    return _sheet("contact-sheet", shots, len(SHEET), reading, "Films per scored observation: positive to negative")


def _sheet(name: str, shots: Sequence[Shot], across: int, reading: str, alt: str) -> Picture:
    down = max(1, len(shots) // across)
    figure, panes = panels(down, across, 7.4, 0.1 + 1.95 * down)
    for axes in panes:
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set(visible=True, color="#b5b5b5")
    for place, (axes, shot) in enumerate(zip(panes, shots, strict=False)):
        axes.imshow(shot.pixels, cmap="gray", vmin=0, vmax=255)
        axes.set_xlabel(shot.caption, fontsize=9, labelpad=2)
        if place % across == 0:
            axes.set_title(shot.group, loc="left", fontsize=10, fontweight="bold")
    return Picture(name, figure, reading, alt, wide=True)


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
