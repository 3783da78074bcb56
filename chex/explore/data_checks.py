"""Checks a tree and returns findings, each a sentence with numbers: pure functions of tables and image statistics."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chex.data.tables import ImageTable, duplicate_rows
from chex.explore.image_stats import ImageStats, identical
from chex.explore.summary_tables import (
    ADULT,
    AGE_CAP,
    count_distinct,
    differing_patients,
    differing_studies,
    join_names,
)
from chex.reporting.console import format_percent
from chex.schema.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, label_columns

FEW_IMAGES = 10
"""If valid.csv has fewer images of one class than this, an AUROC is unreliable."""

FEW_NEGATIVES = 0.05
"""Below this share of negatives among the positive and negative labels, nearly all negatives are blanks."""


@dataclass(frozen=True)
class Finding:
    """One result of the checks."""

    severity: Literal["refused", "warning", "note"]
    """refused: no run starts on this tree; warning: it limits what a run can show; note: for information."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class ImageChecks:
    """The facts about image files that `check_data` needs."""

    exists: np.ndarray
    """bool (N_train + N_valid,): whether each image is a file; those of train.csv come first."""
    stats: ImageStats | None
    """None if no image exists."""


def check_data(train: ImageTable, valid: ImageTable, images: ImageChecks) -> list[Finding]:
    """Returns all findings, the most severe first; none for a clean tree."""
    findings = [
        *_files(train, valid, images),
        *_splits(train, valid),
        *_one_class(train, valid),
        *_negatives(train),
        *_contradictions(train, valid),
        *_people(train, valid),
        *_labels(train, valid),
    ]
    return sorted(findings, key=lambda finding: ("refused", "warning", "note").index(finding.severity))


def _files(train: ImageTable, valid: ImageTable, images: ImageChecks) -> Iterable[Finding]:
    paths = np.concatenate([train.paths, valid.paths])
    missing = paths[~images.exists]
    if len(missing) == len(paths):
        yield Finding("refused", f"None of the {len(paths):,} images exists: this page covers only the two tables.")
    elif len(missing):
        yield Finding("refused", f"{format_share(len(missing), len(paths), 'images')} are missing, first {missing[0]}.")
    if images.stats is None:
        return
    stats = images.stats
    if stats.damaged:
        text = format_share(len(stats.damaged), stats.opened, "sampled images")
        yield Finding("refused", f"{text} cannot be decoded, first {stats.damaged[0]}.")
    duplicate_groups = identical(stats)
    if duplicate_groups:
        duplicates = sum(map(len, duplicate_groups))
        yield Finding(
            "warning",
            f"{format_share(duplicates, stats.opened, 'sampled images')} have the same pixels as another of them, "
            f"first {join_names(duplicate_groups[0][:3])}.",
        )
    uniform = stats.paths[stats.deviations < 1]
    if len(uniform):
        text = format_share(len(uniform), stats.opened, "sampled images")
        yield Finding("warning", f"{text} are empty (a single gray value), first {uniform[0]}.")


def _splits(train: ImageTable, valid: ImageTable) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        repeated = duplicate_rows(records)
        if len(repeated):
            text = format_count(len(repeated), "row", "repeats a Path", "repeat a Path")
            yield Finding("refused", f"In {split} {text} of an earlier row, first {records.paths[repeated[0]]}.")
    shared = np.intersect1d(train.patients, valid.patients)
    if len(shared):
        text = format_count(len(shared), "patient", "is", "are")
        yield Finding("refused", f"{text} in both train.csv and valid.csv, first {shared[0]}.")


def _one_class(train: ImageTable, valid: ImageTable) -> Iterable[Finding]:
    never = [name for name, codes in _by_observation(train) if not np.isin(codes, (POSITIVE, UNCERTAIN)).any()]
    if never:
        yield Finding(
            "warning",
            f"{format_names_have(never)} no positive and no uncertain label in train.csv's {len(train):,} rows: "
            f"{'it' if len(never) == 1 else 'they'} cannot be learnt.",
        )
    few = []
    for name, codes in _by_observation(valid):
        certain = codes[codes != UNCERTAIN]
        positives = int((certain == POSITIVE).sum())
        negatives = len(certain) - positives
        if min(positives, negatives) == 0:
            lacking = "positive" if positives == 0 else "negative"
            yield Finding(
                "warning",
                f"{name} has 0 {lacking} labels among valid.csv's {len(certain):,} certain ones: "
                "its AUROC is undefined there.",
            )
        elif min(positives, negatives) < FEW_IMAGES:
            few.append(f"{name} ({positives:,} positive, {negatives:,} negative)")
    if few:
        yield Finding(
            "warning",
            f"Fewer than {FEW_IMAGES} of one class in valid.csv, which makes AUROC unreliable: {join_names(few)}.",
        )


def _negatives(train: ImageTable) -> Iterable[Finding]:
    few = []
    for name, codes in _by_observation(train):
        positives, negatives = int((codes == POSITIVE).sum()), int((codes == NEGATIVE).sum())
        if positives and negatives / (positives + negatives) < FEW_NEGATIVES:
            few.append(f"{name} ({negatives:,} negative, {positives:,} positive)")
    if few:
        yield Finding(
            "warning", f"Rarely labelled negative in train.csv, so that negatives are mostly blanks: {join_names(few)}."
        )


def _contradictions(train: ImageTable, valid: ImageTable) -> Iterable[Finding]:
    disease_columns = label_columns([name for name in OBSERVATIONS if name not in ("No Finding", "Support Devices")])
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        healthy = records.labels[:, OBSERVATIONS.index("No Finding")] == POSITIVE
        rows = np.flatnonzero(healthy & (records.labels[:, disease_columns] == POSITIVE).any(axis=1))
        if len(rows):
            text = format_count(len(rows), "row", "has", "have")
            yield Finding(
                "warning", f"In {split} {text} both No Finding and a finding positive, first {records.paths[rows[0]]}."
            )
        studies = differing_studies(records)
        if len(studies):
            text = format_share(len(studies), count_distinct(records.studies), "studies")
            yield Finding("warning", f"Labels differ within {text} of {split}, first {studies[0]}.")
        patients = differing_patients(records.patients, records.sexes)
        if len(patients):
            text = format_count(len(patients), "patient", "changes sex", "change sex")
            yield Finding("warning", f"In {split} {text} between rows, first {patients[0]}.")
    blank = int((valid.labels == BLANK).sum())
    if blank:
        yield Finding(
            "note", f"{format_share(blank, valid.labels.size, 'labels')} of valid.csv are blank and count as negative."
        )
    uncertain = int((valid.labels == UNCERTAIN).sum())
    if uncertain:
        yield Finding(
            "warning",
            f"{format_share(uncertain, valid.labels.size, 'labels')} of valid.csv are uncertain and are not scored.",
        )


def _people(train: ImageTable, valid: ImageTable) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        minors = np.flatnonzero(records.ages < ADULT)
        if len(minors):
            low, high = records.ages[minors].min(), records.ages[minors].max()
            age = f"age {low:g}" if low == high else f"ages {low:g} to {high:g}"
            text = format_count(len(minors), "row", "is", "are")
            yield Finding(
                "warning", f"In {split} {text} of a patient under {ADULT} ({age}), first {records.paths[minors[0]]}."
            )
        without_age = int(np.isnan(records.ages).sum())
        if without_age:
            yield Finding("warning", f"In {split} {format_count(without_age, 'row', 'has', 'have')} no number as Age.")
        unusual = np.flatnonzero(~np.isin(records.sexes, ("Female", "Male")))
        if len(unusual):
            text = format_count(len(unusual), "row", "has", "have")
            yield Finding(
                "warning",
                f"In {split} {text} a Sex other than Female and Male ({format_values(records.sexes[unusual])}), "
                f"first {records.patients[unusual[0]]}.",
            )
        above, capped = int((records.ages > AGE_CAP).sum()), int((records.ages == AGE_CAP).sum())
        if above:
            text = format_count(above, "row", "is", "are")
            yield Finding("warning", f"In {split} {text} above {AGE_CAP} years, up to {np.nanmax(records.ages):g}.")
        elif capped:
            text = format_share(capped, len(records), "rows")
            yield Finding("note", f"{text} of {split} are at {AGE_CAP} years, where CheXpert caps ages.")


def _labels(train: ImageTable, valid: ImageTable) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        blank = np.flatnonzero((records.labels == BLANK).all(axis=1))
        if len(blank):
            yield Finding(
                "note",
                f"{format_share(len(blank), len(records), 'rows')} of {split} have no label at all, "
                f"first {records.paths[blank[0]]}.",
            )
    uncertain = train.labels == UNCERTAIN
    if uncertain.any():
        five = uncertain[:, label_columns(FIVE)]
        most = int(uncertain.sum(axis=0).argmax())
        yield Finding(
            "note",
            f"{format_count(int(uncertain.sum()), 'label', 'of train.csv is', 'of train.csv are')} uncertain, in "
            f"{format_rows(uncertain)}; {int(five.sum()):,} of them are labels of the five scored observations, "
            f"in {format_rows(five)}.",
        )
        yield Finding(
            "note",
            f"{OBSERVATIONS[most]} is uncertain most often: in {format_rows(uncertain[:, [most]])} of train.csv.",
        )


def _by_observation(records: ImageTable) -> Iterable[tuple[str, np.ndarray]]:
    return zip(OBSERVATIONS, records.labels.T, strict=True)


def format_rows(cells: np.ndarray) -> str:
    rows = int(cells.any(axis=1).sum())
    return f"{rows:,} row{'' if rows == 1 else 's'} ({format_percent(rows / len(cells))})"


def format_share(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {whole:,} {what} ({format_percent(part / whole)})"


def format_count(count: int, what: str, verb: str, verbs: str) -> str:
    return f"{count:,} {what} {verb}" if count == 1 else f"{count:,} {what}s {verbs}"


def format_names_have(names: list[str]) -> str:
    return f"{join_names(names)} {'has' if len(names) == 1 else 'have'}"


def format_values(values: np.ndarray) -> str:
    different = sorted({str(value)[:40] or "blank" for value in values})
    return join_names(different[:3]) if len(different) <= 3 else f"{', '.join(different[:3])}, ..."
