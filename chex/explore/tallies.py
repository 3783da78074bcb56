"""Tables of what a tree's CSVs say. Pure functions of records; one row or one column a fact."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from chex.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.records import Records
from chex.uncertainty import BOUNDS, PolicyConfig, targets

ADULT, AGE_CAP = 18, 90
"""CheXpert's patients are adults, and its ages stop at 90 years."""

KINDS = {"positive": POSITIVE, "uncertain": UNCERTAIN, "negative": NEGATIVE, "blank": BLANK}
"""What a label can be, in the order in which tables and pictures show it."""

AS_LABELLED = "as labelled"
"""Stands in a policy's place for the labels before any policy."""

MOST_VALUES = 8
"""How many values of a free column get a row of their own."""


def sizes(splits: Mapping[str, Records]) -> pd.DataFrame:
    """Per split: how many rows, studies, patients, frontal and lateral films."""
    return pd.DataFrame(
        {
            "split": split,
            "rows": len(records),
            "studies": distinct(records.studies),
            "patients": distinct(records.patients),
            "frontal": int(records.frontal.sum()),
            "lateral": int((~records.frontal).sum()),
        }
        for split, records in splits.items()
    )


def filled(splits: Mapping[str, Records]) -> pd.DataFrame:
    """Per column of the CSVs: in how many rows of each split it is not blank (for Age: is a number)."""

    def counts(records: Records) -> list[int]:
        described = [
            len(records),
            int((records.sexes != "").sum()),
            int((~np.isnan(records.ages)).sum()),
            len(records),
            int((records.projections != "").sum()),
        ]
        return [*described, *(records.labels != BLANK).sum(axis=0).tolist()]

    columns = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]
    return pd.DataFrame({"column": columns} | {split: counts(records) for split, records in splits.items()})


def views(records: Records) -> pd.DataFrame:
    """Frontal and lateral films against the AP/PA column: rows, per value of that column, and in all."""
    projections = few_values(records.projections)
    usual = [name for name in ("AP", "PA", "LL", "RL") if name in projections]
    named = [*usual, *sorted(set(projections) - {*usual, "blank"}), "blank"]
    rows = []
    for name, is_view in (("Frontal", records.frontal), ("Lateral", ~records.frontal)):
        of_view = projections[is_view]
        rows.append({"view": name} | {value: int((of_view == value).sum()) for value in named} | {"all": len(of_view)})
    return pd.DataFrame(rows)


def sexes(splits: Mapping[str, Records]) -> pd.DataFrame:
    """Per split and sex: images and patients, and their shares (0 to 1) of the split's.

    A patient whose rows differ in sex counts once for each of them.
    """
    rows = []
    for split, records in splits.items():
        named = few_values(records.sexes)
        everyone = distinct(records.patients)
        for sex in pd.Series(named).value_counts().index.astype(str):
            of_sex = named == sex
            images, patients = int(of_sex.sum()), distinct(records.patients[of_sex])
            rows.append(
                {
                    "split": split,
                    "sex": sex,
                    "images": images,
                    "share of images": images / len(records),
                    "patients": patients,
                    "share of patients": patients / everyone,
                }
            )
    return pd.DataFrame(rows)


def ages(splits: Mapping[str, Records]) -> pd.DataFrame:
    """Per split: rows with an age, its mean, standard deviation, quartiles and extremes in years, and counts of rows.

    The statistics are NaN where no row has an age (the deviation: where only one has).
    """
    rows = []
    for split, records in splits.items():
        known = pd.Series(records.ages[~np.isnan(records.ages)], dtype=np.float64)
        rows.append(
            {
                "split": split,
                "rows": len(known),
                "mean": known.mean(),
                "sd": known.std(),
                "lowest": known.min(),
                "Q1": known.quantile(0.25),
                "median": known.median(),
                "Q3": known.quantile(0.75),
                "highest": known.max(),
                "under 18": int((known < ADULT).sum()),
                "90 and above": int((known >= AGE_CAP).sum()),
            }
        )
    return pd.DataFrame(rows)


def under_age(splits: Mapping[str, Records]) -> pd.DataFrame:
    """The rows of patients under 18: split, path, age in years, sex."""
    rows = []
    for split, records in splits.items():
        young = records.take(np.flatnonzero(records.ages < ADULT))
        rows.append(pd.DataFrame({"split": split, "path": young.paths, "age": young.ages, "sex": young.sexes}))
    return pd.concat(rows, ignore_index=True)


def group_sizes(records: Records) -> dict[str, np.ndarray]:
    """int64 arrays, one entry a group: images per study, studies per patient, images per patient."""
    of_study = pd.Series(records.patients).groupby(records.studies).agg(["first", "size"])
    return {
        "images a study": of_study["size"].to_numpy(),
        "studies a patient": of_study["first"].value_counts().to_numpy(),
        "images a patient": pd.Series(records.patients).value_counts().to_numpy(),
    }


def spread(splits: Mapping[str, Records]) -> pd.DataFrame:
    """Per split and kind of group: how many groups have 1, 2, 3, 4 to 9 and 10 or more members; mean and most."""
    rows = []
    for split, records in splits.items():
        for what, counts in group_sizes(records).items():
            rows.append(
                {
                    "split": split,
                    "what": what,
                    "1": int((counts == 1).sum()),
                    "2": int((counts == 2).sum()),
                    "3": int((counts == 3).sum()),
                    "4 to 9": int(((counts >= 4) & (counts < 10)).sum()),
                    "10 or more": int((counts >= 10).sum()),
                    "mean": float(counts.mean()),
                    "most": int(counts.max()),
                }
            )
    return pd.DataFrame(rows)


def label_counts(records: Records) -> pd.DataFrame:
    """Per observation, in the CSV's order: rows positive, uncertain, negative and blank.

    `uncertain of rows` and `uncertain of mentioned` are shares, 0 to 1; the latter is NaN where all is blank.
    """
    counts = {kind: (records.labels == code).sum(axis=0) for kind, code in KINDS.items()}
    table = pd.DataFrame({"observation": OBSERVATIONS} | counts)
    mentioned = len(records) - table["blank"]
    table["uncertain of rows"] = table["uncertain"] / len(records)
    table["uncertain of mentioned"] = table["uncertain"] / mentioned.where(mentioned > 0)
    return table


def balance(labels: np.ndarray, policies: Iterable[str]) -> pd.DataFrame:
    """Per observation, before any policy (`as labelled`) and under each of `policies`: its class balance.

    `labels` is int8 (N, 14). `positives` and `negatives` are sums of the targets and of what they lack to 1, over cells
    that count; `ignored` is how many cells do not count. As labelled, those are the uncertain and the blank ones; under
    a policy, blank is negative, and a cell of a class of its own counts as neither. No policy may need a probability
    table. `share positive` (0 to 1) and `negatives a positive` are NaN where nothing counts or
    nothing is positive.
    """
    positives, negatives = (labels == POSITIVE).sum(axis=0), (labels == NEGATIVE).sum(axis=0)
    frames = [_balance(AS_LABELLED, positives, negatives, len(labels) - positives - negatives)]
    for policy in policies:
        values, weights = _treated(labels, policy)
        positives = (values * weights).sum(axis=0)
        frames.append(_balance(policy, positives, weights.sum(axis=0) - positives, (weights == 0).sum(axis=0)))
    table = pd.concat(frames, ignore_index=True)
    place = table["observation"].map({name: place for place, name in enumerate(OBSERVATIONS)})
    return table.loc[place.sort_values(kind="stable").index].reset_index(drop=True)


def _treated(labels: np.ndarray, policy: str) -> tuple[np.ndarray, np.ndarray]:
    low, high = BOUNDS.get(policy, (None, None))
    treated = targets(labels, OBSERVATIONS, {"default": PolicyConfig(kind=policy, low=low, high=high)}, seed=0)
    counted = treated.weights * (1 - treated.doubt)
    return treated.values.astype(np.float64), counted.astype(np.float64)


def _balance(policy: str, positives: np.ndarray, negatives: np.ndarray, ignored: np.ndarray) -> pd.DataFrame:
    table = pd.DataFrame(
        {
            "observation": OBSERVATIONS,
            "policy": policy,
            "positives": positives.astype(np.float64),
            "negatives": negatives.astype(np.float64),
            "ignored": ignored.astype(np.int64),
        }
    )
    counted = table["positives"] + table["negatives"]
    table["share positive"] = table["positives"] / counted.where(counted > 0)
    table["negatives a positive"] = table["negatives"] / table["positives"].where(table["positives"] > 0)
    return table


def together(labels: np.ndarray, kind: str) -> pd.DataFrame:
    """float64 (14, 14): of the rows where the row's observation is `kind`, the share where the column's is too.

    `labels` is int8 (N, 14), `kind` one of KINDS. NaN in the rows of observations that never are.
    """
    hits = (labels == KINDS[kind]).astype(np.float64)
    both = hits.T @ hits
    counts = np.diag(both)[:, None]
    shares = np.divide(both, counts, out=np.full_like(both, np.nan), where=counts > 0)
    return pd.DataFrame(shares, index=list(OBSERVATIONS), columns=list(OBSERVATIONS))


def differing_studies(records: Records) -> np.ndarray:
    """str: the studies whose rows do not all have the same labels."""
    _, first, study = np.unique(records.studies, return_index=True, return_inverse=True)
    return np.unique(records.studies[(records.labels != records.labels[first[study]]).any(axis=1)])


def differing_patients(patients: np.ndarray, values: np.ndarray) -> np.ndarray:
    """str: the patients whose rows do not all have the same of `values`; both are str (N,)."""
    pairs = pd.DataFrame({"patient": patients, "value": values}).drop_duplicates()
    return pairs.loc[pairs["patient"].duplicated(), "patient"].unique().astype(str)


def few_values(values: np.ndarray) -> np.ndarray:
    """str (N,): `values` with "" as `blank`, and all beyond the most frequent few as `other values`."""
    series = pd.Series(np.where(values == "", "blank", values), dtype=object)
    counts = series.value_counts()
    return series.where(series.isin(counts.index[:MOST_VALUES]), "other values").to_numpy(dtype=str)


def distinct(values: np.ndarray) -> int:
    """How many different values there are."""
    return int(pd.Series(values).nunique())


def listed(names: Iterable[str], shown: Callable[[str], str] = str) -> str:
    """`a, b and c`; "" for none."""
    *others, last = [shown(name) for name in names] or [""]
    return f"{', '.join(others)} and {last}" if others else last
