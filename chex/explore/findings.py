"""What stands out in a tree: each a sentence with its number. A pure function of records and of the films looked at."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from chex.console import percent
from chex.explore.films import Look, identical
from chex.explore.tallies import ADULT, AGE_CAP, differing_patients, differing_studies, distinct, listed
from chex.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN, columns
from chex.records import Records, repeated_rows

FEW = 10
"""Films of one class in valid.csv below which an AUROC says little."""

FEW_NEGATIVES = 0.05
"""Share of negatives among the positive and negative labels below which nearly all negatives are blanks."""


@dataclass(frozen=True)
class Finding:
    """One thing that stands out."""

    weight: Literal["refused", "mind", "fact"]
    """refused: no run starts on such a tree; mind: it bears on what can be learnt or concluded; fact: good to know."""
    text: str
    """One sentence."""


@dataclass(frozen=True)
class Films:
    """What is known of the films; `there` is bool (N_train + N_valid,), train first."""

    there: np.ndarray
    looked: Look | None
    """None where no film is there."""


def findings(train: Records, valid: Records, films: Films) -> list[Finding]:
    """All that stands out, the gravest first; empty for a tree without anything to tell."""
    found = [
        *_files(train, valid, films),
        *_splits(train, valid),
        *_one_class(train, valid),
        *_negatives(train),
        *_contradictions(train, valid),
        *_people(train, valid),
        *_labels(train, valid),
    ]
    return sorted(found, key=lambda finding: ("refused", "mind", "fact").index(finding.weight))


def _files(train: Records, valid: Records, films: Films) -> Iterable[Finding]:
    paths = np.concatenate([train.paths, valid.paths])
    missing = paths[~films.there]
    if len(missing) == len(paths):
        yield Finding("refused", f"None of the {len(paths):,} films is there: this page is of the two tables alone.")
    elif len(missing):
        yield Finding("refused", f"{_of(len(missing), len(paths), 'films')} are missing, first {missing[0]}.")
    if films.looked is None:
        return
    looked = films.looked
    if looked.damaged:
        told = _of(len(looked.damaged), looked.looked_at, "films looked at")
        yield Finding("refused", f"{told} cannot be decoded, first {looked.damaged[0]}.")
    groups = identical(looked)
    if groups:
        several = sum(map(len, groups))
        yield Finding(
            "mind",
            f"{_of(several, looked.looked_at, 'films looked at')} have the same pixels as another of them, "
            f"first {listed(groups[0][:3])}.",
        )
    uniform = looked.paths[looked.deviations < 1]
    if len(uniform):
        told = _of(len(uniform), looked.looked_at, "films looked at")
        yield Finding("mind", f"{told} show nothing (one gray throughout), first {uniform[0]}.")


def _splits(train: Records, valid: Records) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        repeated = repeated_rows(records)
        if len(repeated):
            told = _many(len(repeated), "row", "repeats a Path", "repeat a Path")
            yield Finding("refused", f"In {split} {told} of an earlier row, first {records.paths[repeated[0]]}.")
    shared = np.intersect1d(train.patients, valid.patients)
    if len(shared):
        told = _many(len(shared), "patient", "is", "are")
        yield Finding("refused", f"{told} in both train.csv and valid.csv, first {shared[0]}.")


def _one_class(train: Records, valid: Records) -> Iterable[Finding]:
    never = [name for name, codes in _by_observation(train) if not np.isin(codes, (POSITIVE, UNCERTAIN)).any()]
    if never:
        yield Finding(
            "mind",
            f"{_naming(never)} no positive and no uncertain label in train.csv's {len(train):,} rows: "
            "nothing can be learnt there.",
        )
    few = []
    for name, codes in _by_observation(valid):
        certain = codes[codes != UNCERTAIN]
        positives = int((certain == POSITIVE).sum())
        negatives = len(certain) - positives
        if min(positives, negatives) == 0:
            lacking = "positive" if positives == 0 else "negative"
            yield Finding(
                "mind",
                f"{name} has 0 {lacking} labels among valid.csv's {len(certain):,} certain ones: "
                "its AUROC is undefined there.",
            )
        elif min(positives, negatives) < FEW:
            few.append(f"{name} ({positives:,} positive, {negatives:,} negative)")
    if few:
        yield Finding("mind", f"Fewer than {FEW} of one class in valid.csv, where AUROC says little: {listed(few)}.")


def _negatives(train: Records) -> Iterable[Finding]:
    few = []
    for name, codes in _by_observation(train):
        positives, negatives = int((codes == POSITIVE).sum()), int((codes == NEGATIVE).sum())
        if positives and negatives / (positives + negatives) < FEW_NEGATIVES:
            few.append(f"{name} ({negatives:,} negative, {positives:,} positive)")
    if few:
        yield Finding("mind", f"Hardly ever called negative in train.csv, so that blanks must serve: {listed(few)}.")


def _contradictions(train: Records, valid: Records) -> Iterable[Finding]:
    ill = columns([name for name in OBSERVATIONS if name not in ("No Finding", "Support Devices")])
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        healthy = records.labels[:, OBSERVATIONS.index("No Finding")] == POSITIVE
        rows = np.flatnonzero(healthy & (records.labels[:, ill] == POSITIVE).any(axis=1))
        if len(rows):
            told = _many(len(rows), "row", "has", "have")
            yield Finding(
                "mind", f"In {split} {told} both No Finding and a finding positive, first {records.paths[rows[0]]}."
            )
        studies = differing_studies(records)
        if len(studies):
            told = _of(len(studies), distinct(records.studies), "studies")
            yield Finding("mind", f"Labels differ within {told} of {split}, first {studies[0]}.")
        people = differing_patients(records.patients, records.sexes)
        if len(people):
            told = _many(len(people), "patient", "changes sex", "change sex")
            yield Finding("mind", f"In {split} {told} between rows, first {people[0]}.")
    blank = int((valid.labels == BLANK).sum())
    if blank:
        yield Finding(
            "fact", f"{_of(blank, valid.labels.size, 'labels')} of valid.csv are blank and count as negative."
        )
    uncertain = int((valid.labels == UNCERTAIN).sum())
    if uncertain:
        yield Finding("mind", f"{_of(uncertain, valid.labels.size, 'labels')} of valid.csv are uncertain: not scored.")


def _people(train: Records, valid: Records) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        young = np.flatnonzero(records.ages < ADULT)
        if len(young):
            low, high = records.ages[young].min(), records.ages[young].max()
            age = f"age {low:g}" if low == high else f"ages {low:g} to {high:g}"
            told = _many(len(young), "row", "is", "are")
            yield Finding(
                "mind", f"In {split} {told} of a patient under {ADULT} ({age}), first {records.paths[young[0]]}."
            )
        ageless = int(np.isnan(records.ages).sum())
        if ageless:
            yield Finding("mind", f"In {split} {_many(ageless, 'row', 'has', 'have')} no number as Age.")
        odd = np.flatnonzero(~np.isin(records.sexes, ("Female", "Male")))
        if len(odd):
            told = _many(len(odd), "row", "has", "have")
            yield Finding(
                "mind",
                f"In {split} {told} a Sex other than Female and Male ({_values(records.sexes[odd])}), "
                f"first {records.patients[odd[0]]}.",
            )
        above, capped = int((records.ages > AGE_CAP).sum()), int((records.ages == AGE_CAP).sum())
        if above:
            told = _many(above, "row", "is", "are")
            yield Finding("mind", f"In {split} {told} above {AGE_CAP} years, up to {np.nanmax(records.ages):g}.")
        elif capped:
            told = _of(capped, len(records), "rows")
            yield Finding("fact", f"{told} of {split} are at {AGE_CAP} years, where CheXpert caps ages.")


def _labels(train: Records, valid: Records) -> Iterable[Finding]:
    for split, records in (("train.csv", train), ("valid.csv", valid)):
        blank = np.flatnonzero((records.labels == BLANK).all(axis=1))
        if len(blank):
            yield Finding(
                "fact",
                f"{_of(len(blank), len(records), 'rows')} of {split} have no label at all, "
                f"first {records.paths[blank[0]]}.",
            )
    uncertain = train.labels == UNCERTAIN
    if uncertain.any():
        five = uncertain[:, columns(FIVE)]
        most = int(uncertain.sum(axis=0).argmax())
        yield Finding(
            "fact",
            f"{_many(int(uncertain.sum()), 'label', 'of train.csv is', 'of train.csv are')} uncertain, in "
            f"{_of_rows(uncertain)}; {int(five.sum()):,} of them lie among the five scored observations, "
            f"in {_of_rows(five)}.",
        )
        yield Finding(
            "fact",
            f"Most often uncertain is {OBSERVATIONS[most]}: {_of_rows(uncertain[:, [most]])} of train.csv.",
        )


def _by_observation(records: Records) -> Iterable[tuple[str, np.ndarray]]:
    return zip(OBSERVATIONS, records.labels.T, strict=True)


def _of_rows(cells: np.ndarray) -> str:
    rows = int(cells.any(axis=1).sum())
    return f"{rows:,} row{'' if rows == 1 else 's'} ({percent(rows / len(cells))})"


def _of(part: int, whole: int, what: str) -> str:
    return f"{part:,} of {whole:,} {what} ({percent(part / whole)})"


def _many(count: int, what: str, verb: str, verbs: str) -> str:
    return f"{count:,} {what} {verb}" if count == 1 else f"{count:,} {what}s {verbs}"


def _naming(names: list[str]) -> str:
    return f"{listed(names)} {'has' if len(names) == 1 else 'have'}"


def _values(values: np.ndarray) -> str:
    different = sorted({str(value)[:40] or "blank" for value in values})
    return listed(different[:3]) if len(different) <= 3 else f"{', '.join(different[:3])}, ..."
