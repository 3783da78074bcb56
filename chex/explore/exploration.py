"""`chex explore`: reads a tree, looks at its films, writes the page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from chex.console import percent, progress_bar
from chex.errors import InputError
from chex.explore import charts, films, tallies
from chex.explore.findings import Films, Finding, findings
from chex.labels import FIVE
from chex.output_folder import check_claim, claim
from chex.page import Page, Part, Points, Section, Table, write_page
from chex.records import Records, check_root, read_records
from chex.seeds import stream
from chex.uncertainty import POLICIES, TABLE_POLICIES


@dataclass(frozen=True)
class Explored:
    """What an exploration leaves."""

    page: Path
    findings: list[Finding]


def explore(root: Path, out: Path, count: int, seed: int = 0) -> Explored:
    """Writes the page of the tree at `root` into `out`, after a look at `count` of its films, drawn by `seed`.

    A tree that no run would start on, for missing films, repeated paths or shared patients, is explored all the same.
    Raises InputError for a tree whose CSVs cannot be read row by row, a count below 1, and an `out` that may not
    be used (see `check_claim`).
    """
    if count < 1:
        raise InputError(f"--films: {count} is refused, it should be 1 or more; leave it out to look at 500 films")
    check_root(root, "TREE", option="")
    check_claim(out, "exploration", tree=root)
    with progress_bar("reading the tables") as advance:
        splits = {}
        for done, split in enumerate(("train", "valid")):
            advance(done, 2)
            splits[split] = read_records(root / f"{split}.csv")
    train, valid = splits["train"], splits["valid"]
    paths = np.concatenate([train.paths, valid.paths])
    with progress_bar("finding the films") as advance:
        there = films.present(root, paths, advance)
    looked = None
    if there.any():
        with progress_bar("looking at films") as advance:
            looked = films.look(root, paths[there], count, stream(seed, "look at films"), advance)
    found = findings(train, valid, Films(there, looked))
    sections = [
        _found(found),
        _size(splits),
        _views(splits),
        _ages(splits),
        _sexes(splits),
        _groups(splits),
        _labels(splits),
        _balance(train),
        _together(train),
        *_films(root, train, there[: len(train)], looked, seed),
    ]
    name = root.resolve().name
    lead = (
        f"What the tables of {root} say of its {len(paths):,} rows, what stands out, and how its films look: "
        "to be read before anything is trained on them."
    )
    claim(out, "exploration", tree=root)
    with progress_bar("drawing the page") as advance:
        page = write_page(Page(f"{name}: what the tree holds", lead, sections), out, advance)
    return Explored(page, found)


def _found(found: list[Finding]) -> Section:
    if not found:
        return Section("Findings", ["Nothing stands out: each check below found nothing to tell."])
    how = (
        "refused: no run starts on this tree before it is put right. mind: it bears on what can be learnt or "
        "concluded. fact: good to know."
    )
    return Section("Findings", [how, Points([(each.weight, each.text) for each in found])])


def _size(splits: Mapping[str, Records]) -> Section:
    filled = tallies.filled(splits)
    rows = {split: len(records) for split, records in splits.items()}
    for split in splits:
        filled[f"share of {split}"] = filled[split] / rows[split]
    return Section(
        "Rows, studies, patients",
        [
            Table("sizes", tallies.sizes(splits), "What each split holds"),
            Table(
                "filled",
                filled,
                "Rows that are not blank, per column",
                _percent(*(f"share of {split}" for split in splits)),
            ),
        ],
    )


def _views(splits: Mapping[str, Records]) -> Section:
    parts: list[Part] = []
    for split, records in splits.items():
        blank = records.projections == ""
        lateral = int((blank & ~records.frontal).sum())
        text = f"In {split}.csv AP/PA is blank in {int(blank.sum()):,} rows, of which {lateral:,} are laterals"
        if lateral == blank.sum() == (~records.frontal).sum():
            text += ": it says how a frontal film was taken, so that a blank there is a lateral and no gap."
        else:
            text += f"; {int((~records.frontal).sum()) - lateral:,} laterals have it filled."
        parts += [text, Table(f"views-{split}", tallies.views(records), f"Views against AP/PA in {split}.csv, rows")]
    return Section("Views", parts)


def _ages(splits: Mapping[str, Records]) -> Section:
    parts: list[Part] = [
        charts.ages(splits),
        Table(
            "ages",
            tallies.ages(splits),
            "Ages in years",
            dict.fromkeys(("lowest", "Q1", "median", "Q3", "highest"), _short),
        ),
    ]
    young = tallies.under_age(splits)
    if len(young):
        parts.append(Table("under-18", young, "Patients under 18, row by row", {"age": _short}, most=20))
    return Section("Ages", parts)


def _sexes(splits: Mapping[str, Records]) -> Section:
    form = _percent("share of images", "share of patients")
    return Section("Sex", [Table("sexes", tallies.sexes(splits), "Sex per image and per patient", form)])


def _groups(splits: Mapping[str, Records]) -> Section:
    table = Table("groups", tallies.spread(splits), "How many studies and patients have 1, 2, 3 ... images and studies")
    return Section("Studies and images a patient", [charts.groups(splits["train"]), table])


def _labels(splits: Mapping[str, Records]) -> Section:
    parts: list[Part] = []
    form = _percent("uncertain of rows", "uncertain of mentioned")
    for split, records in splits.items():
        counts = tallies.label_counts(records)
        if split == "train":
            parts += [charts.uncertain(counts)]
        parts += [
            charts.labels(counts, split),
            Table(f"labels-{split}", counts, f"Labels in {split}.csv, rows per observation", form),
        ]
    return Section("Labels", parts)


def _balance(train: Records) -> Section:
    policies = [name for name in POLICIES if name not in TABLE_POLICIES]
    table = tallies.balance(train.labels, policies)
    whole = dict.fromkeys(("positives", "negatives"), lambda value: f"{value:,.0f}")
    form = {**whole, **_percent("share positive")}
    scored = table[table["observation"].isin(FIVE)]
    return Section(
        "Class balance under each policy",
        [
            "A policy decides what uncertain labels count as; under every policy blank counts as negative. As "
            "labelled, uncertain and blank labels are not counted; under multiclass, uncertain is a class of its own "
            "and not counted here. Smoothed policies give an uncertain label a share of a positive. What "
            f"{tallies.listed(TABLE_POLICIES)} give depends on a table that is yet to be made.",
            charts.balance(table),
            Table(
                "balance-five", scored, "Class balance of the five scored observations in train.csv", form, folded=True
            ),
            Table("balance", table, "Class balance of all 14 observations in train.csv", form, folded=True, most=1000),
        ],
    )


def _together(train: Records) -> Section:
    parts: list[Part] = []
    for kind in ("positive", "uncertain"):
        counts = (train.labels == tallies.KINDS[kind]).sum(axis=0)
        if np.count_nonzero(counts) < 2:
            parts.append(f"Fewer than two observations are ever {kind} in train.csv.")
            continue
        shares = tallies.together(train.labels, kind)
        parts.append(charts.together(shares, counts, kind))
        table = pd.concat([pd.Series(shares.index, index=shares.index, name="where this is"), shares], axis=1)
        caption = f"Share of rows where both are {kind}, of the rows where the first is"
        parts.append(Table(f"together-{kind}", table, caption, _percent(*shares.columns), folded=True))
    return Section("Observations together", parts)


def _films(root: Path, train: Records, there: np.ndarray, looked: films.Look | None, seed: int) -> list[Section]:
    if looked is None:
        return [Section("Films", ["None of the films is there: this page is of the two tables alone."])]
    if not len(looked):
        return [Section("Films", [f"None of the {looked.looked_at:,} films looked at could be decoded."])]
    measures = pd.DataFrame(
        {
            "path": looked.paths,
            "width": looked.widths,
            "height": looked.heights,
            "mean gray": looked.means,
            "sd of gray": looked.deviations,
        }
    ).sort_values("mean gray", kind="stable")
    grays = dict.fromkeys(("mean gray", "sd of gray"), lambda value: f"{value:.1f}")
    darkest = films.extremes(root, looked)
    shots = films.contact_sheet(root, train, there, stream(seed, "contact sheet"))
    told = f"{looked.looked_at:,} films, drawn at random, were opened; {len(looked):,} of them could be decoded."
    caption = "The films looked at, darkest first"
    parts: list[Part] = [told, _sizes(looked), charts.brightness(looked)]
    if darkest:
        parts.append(charts.extremes(darkest))
    parts.append(Table("films", measures, caption, grays, folded=True, most=20))
    sheet = pd.DataFrame(
        {
            "observation": [shot.group for shot in shots],
            "caption": [shot.caption.replace("\n", ", ") for shot in shots],
            "path": [shot.path for shot in shots],
        }
    )
    return [
        Section("Films", parts),
        Section(
            "Contact sheet",
            [
                charts.contact_sheet(shots),
                Table("contact-sheet", sheet, "The films of the sheet, row by row", folded=True),
            ],
        ),
    ]


def _sizes(looked: films.Look) -> Part:
    widths, heights = np.unique(looked.widths), np.unique(looked.heights)
    if len(widths) == len(heights) == 1:
        return f"All of them are {widths[0]:,} pixels wide and {heights[0]:,} high."
    return charts.film_sizes(looked)


def _percent(*names: str) -> dict[str, Callable[[float], str]]:
    return dict.fromkeys(names, percent)


def _short(value: float) -> str:
    return f"{value:g}"
