"""Computes tables that summarise a tree's CSVs: pure functions of image tables."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pandas as pd

from chex.data.tables import ImageTable
from chex.schema.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.uncertainty.policies import POLICIES
from chex.uncertainty.policy_config import PolicyConfig
from chex.uncertainty.targets import targets

ADULT, AGE_CAP = 18, 90
"""CheXpert's patients are adults, and its ages stop at 90 years."""

KINDS = {"positive": POSITIVE, "uncertain": UNCERTAIN, "negative": NEGATIVE, "blank": BLANK}
"""The kinds of labels, in the order of tables and charts."""

AS_LABELLED = "as labelled"
"""The entry of the column `policy` for labels to which no policy is applied."""

MOST_VALUES = 8
"""The largest number of values of a free-text column that are counted separately."""


def sizes(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Counts, per split, rows, studies, patients, frontal and lateral images."""
    return pd.DataFrame(
        {
            "split": split,
            "rows": len(records),
            "studies": count_distinct(records.studies),
            "patients": count_distinct(records.patients),
            "frontal": int(records.frontal.sum()),
            "lateral": int((~records.frontal).sum()),
        }
        for split, records in splits.items()
    )


def non_blank_counts(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Counts, per column of the CSVs, the rows of each split that are not blank (for Age: that are numbers)."""

    def counts(records: ImageTable) -> list[int]:
        metadata_counts = [
            len(records),
            int((records.sexes != "").sum()),
            int((~np.isnan(records.ages)).sum()),
            len(records),
            int((records.projections != "").sum()),
        ]
        return [*metadata_counts, *(records.labels != BLANK).sum(axis=0).tolist()]

    columns = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]
    return pd.DataFrame({"column": columns} | {split: counts(records) for split, records in splits.items()})


def views(records: ImageTable) -> pd.DataFrame:
    """Counts frontal and lateral images per value of the AP/PA column, and in total."""
    projections = group_rare_values(records.projections)
    standard = [name for name in ("AP", "PA", "LL", "RL") if name in projections]
    value_names = [*standard, *sorted(set(projections) - {*standard, "blank"}), "blank"]
    rows = []
    for name, is_view in (("Frontal", records.frontal), ("Lateral", ~records.frontal)):
        of_view = projections[is_view]
        rows.append(
            {"view": name} | {value: int((of_view == value).sum()) for value in value_names} | {"all": len(of_view)}
        )
    return pd.DataFrame(rows)


def sexes(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Counts, per split and sex, images and patients, and their shares (0 to 1) of the split.

    A patient whose rows differ in sex counts once for each sex.
    """
    rows = []
    for split, records in splits.items():
        value_names = group_rare_values(records.sexes)
        patient_count = count_distinct(records.patients)
        for sex in pd.Series(value_names).value_counts().index.astype(str):
            of_sex = value_names == sex
            images, patients = int(of_sex.sum()), count_distinct(records.patients[of_sex])
            rows.append(
                {
                    "split": split,
                    "sex": sex,
                    "images": images,
                    "share of images": images / len(records),
                    "patients": patients,
                    "share of patients": patients / patient_count,
                }
            )
    return pd.DataFrame(rows)


def ages(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Returns, per split, the rows with an age, and mean, standard deviation, quartiles and extremes in years.

    The statistics are NaN if no row has an age; the standard deviation also if only one row has an age.
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


def under_age(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Returns the rows of patients under 18: split, path, age in years, sex."""
    rows = []
    for split, records in splits.items():
        young = records.take(np.flatnonzero(records.ages < ADULT))
        rows.append(pd.DataFrame({"split": split, "path": young.paths, "age": young.ages, "sex": young.sexes}))
    return pd.concat(rows, ignore_index=True)


def group_sizes(records: ImageTable) -> dict[str, np.ndarray]:
    """Returns int64 arrays with one entry per group: images per study, studies per patient, images per patient."""
    of_study = pd.Series(records.patients).groupby(records.studies).agg(["first", "size"])
    return {
        "images per study": of_study["size"].to_numpy(),
        "studies per patient": of_study["first"].value_counts().to_numpy(),
        "images per patient": pd.Series(records.patients).value_counts().to_numpy(),
    }


def group_size_table(splits: Mapping[str, ImageTable]) -> pd.DataFrame:
    """Counts, per split and kind of group, the groups with 1, 2, 3, 4 to 9, 10 or more members; mean, maximum."""
    rows = []
    for split, records in splits.items():
        for group, counts in group_sizes(records).items():
            rows.append(
                {
                    "split": split,
                    "group": group,
                    "1": int((counts == 1).sum()),
                    "2": int((counts == 2).sum()),
                    "3": int((counts == 3).sum()),
                    "4 to 9": int(((counts >= 4) & (counts < 10)).sum()),
                    "10 or more": int((counts >= 10).sum()),
                    "mean": float(counts.mean()),
                    "maximum": int(counts.max()),
                }
            )
    return pd.DataFrame(rows)


def label_counts(records: ImageTable) -> pd.DataFrame:
    """Counts, per observation in the CSV's order, the rows that are positive, uncertain, negative and blank.

    `uncertain of rows` and `uncertain of mentioned` are shares, 0 to 1; the latter is NaN if all are blank.
    """
    counts = {kind: (records.labels == code).sum(axis=0) for kind, code in KINDS.items()}
    table = pd.DataFrame({"observation": OBSERVATIONS} | counts)
    mentioned = len(records) - table["blank"]
    table["uncertain of rows"] = table["uncertain"] / len(records)
    table["uncertain of mentioned"] = table["uncertain"] / mentioned.where(mentioned > 0)
    return table


def balance(labels: np.ndarray, policies: Iterable[str]) -> pd.DataFrame:
    """Returns each observation's class balance `as labelled` and under each of `policies`.

    `labels` is int8 (N, 14). `positives` is the sum of the targets over the counted cells and `negatives` the sum of
    1 - target; `ignored` is the number of cells that are not counted. As labelled, uncertain and blank cells are not
    counted; under a policy, blank is negative, and a cell of the class uncertain is not counted. `policies` must not
    need a probability table. `share positive` (0 to 1) is NaN if no cell is counted, `negatives per positive` if none
    is positive.
    """
    positives, negatives = (labels == POSITIVE).sum(axis=0), (labels == NEGATIVE).sum(axis=0)
    frames = [_balance(AS_LABELLED, positives, negatives, len(labels) - positives - negatives)]
    for policy in policies:
        values, weights = _targets_of_policy(labels, policy)
        positives = (values * weights).sum(axis=0)
        frames.append(_balance(policy, positives, weights.sum(axis=0) - positives, (weights == 0).sum(axis=0)))
    table = pd.concat(frames, ignore_index=True)
    order = table["observation"].map({name: order for order, name in enumerate(OBSERVATIONS)})
    return table.loc[order.sort_values(kind="stable").index].reset_index(drop=True)


def _targets_of_policy(labels: np.ndarray, policy: str) -> tuple[np.ndarray, np.ndarray]:
    low, high = POLICIES[policy].bounds or (None, None)
    target = targets(labels, OBSERVATIONS, {"default": PolicyConfig(kind=policy, low=low, high=high)}, seed=0)
    counted = target.weights * (1 - target.uncertain_class)
    return target.values.astype(np.float64), counted.astype(np.float64)


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
    table["negatives per positive"] = table["negatives"] / table["positives"].where(table["positives"] > 0)
    return table


def co_occurrence(labels: np.ndarray, kind: str) -> pd.DataFrame:
    """Returns float64 (14, 14): of the images where the row's observation is `kind`, the share where the column's is.

    `labels` is int8 (N, 14), `kind` one of KINDS. Rows of observations that are never `kind` are NaN.
    """
    is_kind = (labels == KINDS[kind]).astype(np.float64)
    both = is_kind.T @ is_kind
    counts = np.diag(both)[:, None]
    shares = np.divide(both, counts, out=np.full_like(both, np.nan), where=counts > 0)
    return pd.DataFrame(shares, index=list(OBSERVATIONS), columns=list(OBSERVATIONS))


def differing_studies(records: ImageTable) -> np.ndarray:
    """Returns the studies whose rows do not all have the same labels."""
    _, first, study = np.unique(records.studies, return_index=True, return_inverse=True)
    return np.unique(records.studies[(records.labels != records.labels[first[study]]).any(axis=1)])


def differing_patients(patients: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the patients whose rows do not all have the same value; both arrays are str (N,)."""
    pairs = pd.DataFrame({"patient": patients, "value": values}).drop_duplicates()
    return pairs.loc[pairs["patient"].duplicated(), "patient"].unique().astype(str)


def group_rare_values(values: np.ndarray) -> np.ndarray:
    """Returns str (N,): `values` with "" as `blank` and all but the most frequent values as `other values`."""
    series = pd.Series(np.where(values == "", "blank", values), dtype=object)
    counts = series.value_counts()
    return series.where(series.isin(counts.index[:MOST_VALUES]), "other values").to_numpy(dtype=str)


def count_distinct(values: np.ndarray) -> int:
    """Counts the different values."""
    return int(pd.Series(values).nunique())


def join_names(names: Iterable[str], format_name: Callable[[str], str] = str) -> str:
    """Returns `a, b and c`; "" for no names."""
    *others, last = [format_name(name) for name in names] or [""]
    return f"{', '.join(others)} and {last}" if others else last
