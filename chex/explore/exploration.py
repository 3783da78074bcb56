"""Implements `chex explore`: reads a tree, samples its images and writes the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from chex.data.tables import ImageTable, check_root, read_table
from chex.errors import InputError
from chex.explore import charts, image_stats, summary_tables
from chex.explore.data_checks import Finding, ImageChecks, check_data
from chex.reporting.console import format_percent, progress_bar
from chex.reporting.html_report import MarkedList, Page, Part, Section, Table, write_page
from chex.runtime.output_folder import check_claim, claim
from chex.runtime.rng import rng_for
from chex.schema.labels import FIVE
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES


@dataclass(frozen=True)
class Exploration:
    """The result of an exploration."""

    page: Path
    findings: list[Finding]


def explore(root: Path, out: Path, count: int, seed: int = 0) -> Exploration:
    """Writes the page of the tree at `root` into `out`, with statistics of `count` images drawn by `seed`.

    Missing images, repeated paths and shared patients, which a run refuses, are findings on the page. Raises InputError
    for a tree whose CSVs cannot be read, a count below 1, or an `out` that may not be used (see `check_claim`).
    """
    if count < 1:
        raise InputError(f"--images: {count} is refused, it should be 1 or more; leave it out to look at 500 images")
    check_root(root, "TREE", option="")
    check_claim(out, "exploration", tree=root)
    with progress_bar("reading the tables") as advance:
        splits = {}
        for done, split in enumerate(("train", "valid")):
            advance(done, 2)
            splits[split] = read_table(root / f"{split}.csv")
    train, valid = splits["train"], splits["valid"]
    paths = np.concatenate([train.paths, valid.paths])
    with progress_bar("finding the images") as advance:
        exists = image_stats.check_files_exist(root, paths, advance)
    stats = None
    if exists.any():
        with progress_bar("reading a sample of images") as advance:
            stats = image_stats.measure_images(root, paths[exists], count, rng_for(seed, "look at films"), advance)
    findings = check_data(train, valid, ImageChecks(exists, stats))
    sections = [
        _findings(findings),
        _sizes_section(splits),
        _views(splits),
        _ages(splits),
        _sexes(splits),
        _groups(splits),
        _labels(splits),
        _balance(train),
        _co_occurrence(train),
        *_image_sections(root, train, exists[: len(train)], stats, seed),
    ]
    name = root.resolve().name
    lead = (
        f"A summary of the {len(paths):,} rows in the tables of {root}, findings to know before training, and "
        "statistics of its images."
    )
    claim(out, "exploration", tree=root)
    with progress_bar("drawing the page") as advance:
        page = write_page(Page(f"{name}: what the tree contains", lead, sections), out, advance)
    return Exploration(page, findings)


def _findings(findings: list[Finding]) -> Section:
    if not findings:
        return Section("Findings", ["The checks have no findings."])
    legend = (
        "refused: no run starts on this tree until it is corrected. warning: it limits what can be learnt or "
        "concluded. note: for information."
    )
    return Section("Findings", [legend, MarkedList([(each.severity, each.text) for each in findings])])


def _sizes_section(splits: Mapping[str, ImageTable]) -> Section:
    non_blank_counts = summary_tables.non_blank_counts(splits)
    rows = {split: len(records) for split, records in splits.items()}
    for split in splits:
        non_blank_counts[f"share of {split}"] = non_blank_counts[split] / rows[split]
    return Section(
        "Rows, studies, patients",
        [
            Table("sizes", summary_tables.sizes(splits), "Content of each split"),
            Table(
                "filled",
                non_blank_counts,
                "Rows that are not blank, per column",
                _percent(*(f"share of {split}" for split in splits)),
            ),
        ],
    )


def _views(splits: Mapping[str, ImageTable]) -> Section:
    parts: list[Part] = []
    for split, records in splits.items():
        blank = records.projections == ""
        lateral = int((blank & ~records.frontal).sum())
        text = f"In {split}.csv AP/PA is blank in {int(blank.sum()):,} rows; {lateral:,} of them are laterals"
        if lateral == blank.sum() == (~records.frontal).sum():
            text += ": the column describes frontal images only, so that a blank means a lateral, not a gap."
        else:
            text += f"; {int((~records.frontal).sum()) - lateral:,} laterals have a value."
        parts += [
            text,
            Table(f"views-{split}", summary_tables.views(records), f"Views against AP/PA in {split}.csv, rows"),
        ]
    return Section("Views", parts)


def _ages(splits: Mapping[str, ImageTable]) -> Section:
    parts: list[Part] = [
        charts.ages(splits),
        Table(
            "ages",
            summary_tables.ages(splits),
            "Ages in years",
            dict.fromkeys(("lowest", "Q1", "median", "Q3", "highest"), _format_short),
        ),
    ]
    minors = summary_tables.under_age(splits)
    if len(minors):
        parts.append(Table("under-18", minors, "Rows of patients under 18", {"age": _format_short}, max_rows=20))
    return Section("Ages", parts)


def _sexes(splits: Mapping[str, ImageTable]) -> Section:
    formats = _percent("share of images", "share of patients")
    return Section("Sex", [Table("sexes", summary_tables.sexes(splits), "Sex per image and per patient", formats)])


def _groups(splits: Mapping[str, ImageTable]) -> Section:
    table = Table(
        "groups",
        summary_tables.group_size_table(splits),
        "How many studies and patients have 1, 2, 3 ... images and studies",
    )
    return Section("Studies and images per patient", [charts.groups(splits["train"]), table])


def _labels(splits: Mapping[str, ImageTable]) -> Section:
    parts: list[Part] = []
    formats = _percent("uncertain of rows", "uncertain of mentioned")
    for split, records in splits.items():
        counts = summary_tables.label_counts(records)
        if split == "train":
            parts += [charts.uncertain(counts)]
        parts += [
            charts.labels(counts, split),
            Table(f"labels-{split}", counts, f"Labels in {split}.csv, rows per observation", formats),
        ]
    return Section("Labels", parts)


def _balance(train: ImageTable) -> Section:
    policies = [name for name in POLICIES if name not in TABLE_POLICIES]
    table = summary_tables.balance(train.labels, policies)
    whole = dict.fromkeys(("positives", "negatives"), lambda value: f"{value:,.0f}")
    formats = {**whole, **_percent("share positive")}
    scored = table[table["observation"].isin(FIVE)]
    return Section(
        "Class balance under each policy",
        [
            "A policy decides what uncertain labels count as; under every policy blank counts as negative. As "
            "labelled, uncertain and blank labels are not counted; under multiclass, uncertain is a class of its own "
            "and not counted here. Smoothed policies give an uncertain label a share of a positive. The targets of "
            f"{summary_tables.join_names(TABLE_POLICIES)} depend on a table that does not exist yet.",
            charts.balance(table),
            Table(
                "balance-five",
                scored,
                "Class balance of the five scored observations in train.csv",
                formats,
                collapsed=True,
            ),
            Table(
                "balance",
                table,
                "Class balance of all 14 observations in train.csv",
                formats,
                collapsed=True,
                max_rows=1000,
            ),
        ],
    )


def _co_occurrence(train: ImageTable) -> Section:
    parts: list[Part] = []
    for kind in ("positive", "uncertain"):
        counts = (train.labels == summary_tables.KINDS[kind]).sum(axis=0)
        if np.count_nonzero(counts) < 2:
            parts.append(f"Fewer than two observations are ever {kind} in train.csv.")
            continue
        shares = summary_tables.co_occurrence(train.labels, kind)
        parts.append(charts.co_occurrence(shares, counts, kind))
        table = pd.concat([pd.Series(shares.index, index=shares.index, name=f"where this is {kind}"), shares], axis=1)
        caption = f"Of the rows where the first observation is {kind}, the share where the second is {kind} too"
        parts.append(Table(f"co-occurrence-{kind}", table, caption, _percent(*shares.columns), collapsed=True))
    return Section("Observations that occur together", parts)


def _image_sections(
    root: Path, train: ImageTable, exists: np.ndarray, stats: image_stats.ImageStats | None, seed: int
) -> list[Section]:
    if stats is None:
        return [Section("Images", ["None of the images exists: this page covers only the two tables."])]
    if not len(stats):
        return [Section("Images", [f"None of the {stats.opened:,} sampled images could be decoded."])]
    measures = pd.DataFrame(
        {
            "path": stats.paths,
            "width": stats.widths,
            "height": stats.heights,
            "mean gray": stats.means,
            "sd of gray": stats.deviations,
        }
    ).sort_values("mean gray", kind="stable")
    grays = dict.fromkeys(("mean gray", "sd of gray"), lambda value: f"{value:.1f}")
    extremes = image_stats.extremes(root, stats)
    samples = image_stats.contact_sheet(root, train, exists, rng_for(seed, "contact sheet"))
    text = f"{stats.opened:,} images were drawn at random and opened; {len(stats):,} of them could be decoded."
    caption = "The sampled images, darkest first"
    parts: list[Part] = [text, _image_sizes(stats), charts.brightness(stats)]
    if extremes:
        parts.append(charts.extremes(extremes))
    parts.append(Table("images", measures, caption, grays, collapsed=True, max_rows=20))
    sheet = pd.DataFrame(
        {
            "observation": [sample.group for sample in samples],
            "caption": [sample.caption.replace("\n", ", ") for sample in samples],
            "path": [sample.path for sample in samples],
        }
    )
    return [
        Section("Images", parts),
        Section(
            "Contact sheet",
            [
                charts.contact_sheet(samples),
                Table("contact-sheet", sheet, "The images of the sheet", collapsed=True),
            ],
        ),
    ]


def _image_sizes(stats: image_stats.ImageStats) -> Part:
    widths, heights = np.unique(stats.widths), np.unique(stats.heights)
    if len(widths) == len(heights) == 1:
        return f"All images are {widths[0]:,} pixels wide and {heights[0]:,} high."
    return charts.image_sizes(stats)


def _percent(*names: str) -> dict[str, Callable[[float], str]]:
    return dict.fromkeys(names, format_percent)


def _format_short(value: float) -> str:
    return f"{value:g}"
