"""The phantom's tables: a row per image with its path, its labels, and the truth and visible signs behind them."""

import numpy as np
import pandas as pd

from chex.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE
from chex.phantom.counts import TRAIN, VALID
from chex.phantom.labeler import (
    Labels,
    apportion,
    chance_of_truth,
    hidden_categories,
    radiologist_truth,
    train_labels,
    visible_signs,
)
from chex.phantom.patients import Studies, draw_studies

TREE = "CheXpert-v1.0-small"
CSV_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS)

LATERAL_IS_UPRIGHT = 2.0
"""A study with a lateral is mostly PA: what that takes off its score for AP, in standard deviations of acuity."""


def train_table(images: int, positive_given_uncertain: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """The train split: one row per image, exactly `images` of them, in whole studies.

    Columns: CSV_COLUMNS (labels 1, 0, -1, NaN for blank; AP/PA is "" for laterals), `study` (0-based number within
    the split) and, per scored observation, `<obs> truth` (0 or 1), `<obs> strength` and `<obs> mimic` (0..1, 0 is
    nothing to see). With 223,414 images every published count of label, view, projection and sex comes out exact
    (Irvin et al. 2019; counts of train.csv).
    """
    studies = draw_studies(TRAIN, images, rng)
    labels = train_labels(studies, rng)
    chance = chance_of_truth(labels, positive_given_uncertain)
    truth = {name: rng.random(len(studies.patient)) < chance[name] for name in FIVE}
    return _assemble(studies, labels, labels, truth, rng)


def valid_table(images: int, positive_given_uncertain: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """The valid split, as `train_table` but one study a patient and radiologists' labels: only 1 and 0, no blank.

    A hidden labeler category decides, as in train, how visible a sign is. Positives per observation have the shares of
    CheXpert's 234 validation images, and their exact counts when `images` is 234.
    """
    studies = draw_studies(VALID, images, rng)
    hidden = hidden_categories(studies, positive_given_uncertain)
    truth = radiologist_truth(studies, chance_of_truth(hidden, positive_given_uncertain), rng)
    labels = {name: np.where(truth[name], POSITIVE, NEGATIVE).astype(np.int8) for name in OBSERVATIONS}
    return _assemble(studies, labels, hidden, truth, rng)


TRUTH_COLUMNS = ("Path", *(column for name in FIVE for column in (name, f"{name} strength")))
"""Of `truth_table`."""


def truth_table(table: pd.DataFrame) -> pd.DataFrame:
    """What was planted: Path and, per scored observation, its truth (`<obs>`, 0 or 1) and `<obs> strength` (0..1)."""
    columns = {"Path": table["Path"]}
    for name in FIVE:
        columns |= {name: table[f"{name} truth"], f"{name} strength": table[f"{name} strength"].round(4)}
    return pd.DataFrame(columns)


def _views(studies: Studies, rng: np.random.Generator) -> pd.DataFrame:
    """One row per image: Path, study, Frontal/Lateral, AP/PA."""
    size = studies.images
    study = np.repeat(np.arange(len(size)), size)
    number = np.arange(len(study)) - np.repeat(np.cumsum(size) - size, size) + 1
    frontal = np.array(list("".join(studies.shapes))) == "F"
    kind = np.where(frontal, "frontal", "lateral")
    folder = _folders(studies)
    path = [f"{folder[s]}/view{n}_{k}.jpg" for s, n, k in zip(study, number, kind, strict=True)]
    bedside = studies.acuity - LATERAL_IS_UPRIGHT * (np.char.count(studies.shapes, "L") > 0)
    projection = np.full(len(study), "", dtype=object)
    projection[frontal] = _projections(bedside[study[frontal]], studies.census.projections, rng)
    return pd.DataFrame(
        {"Path": path, "study": study, "Frontal/Lateral": np.char.capitalize(kind), "AP/PA": projection}
    )


def _folders(studies: Studies) -> list[str]:
    census, patient = studies.census, studies.patient
    number = np.arange(len(patient)) - np.searchsorted(patient, patient) + 1
    named = zip(patient + census.first_patient, number, strict=True)
    return [f"{TREE}/{census.split}/patient{p:05d}/study{n}" for p, n in named]


def _projections(bedside: np.ndarray, published: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """AP for the highest scores, then PA, in the published shares of frontal images."""
    number = apportion(np.array(list(published.values()), dtype=float), len(bedside))
    score = bedside + 0.3 * rng.standard_normal(len(bedside))
    projection = np.empty(len(bedside), dtype=object)
    projection[np.argsort(-score, kind="stable")] = np.repeat(np.array(list(published), dtype=object), number)
    return projection


def _assemble(
    studies: Studies, labels: Labels, category: Labels, truth: Labels, rng: np.random.Generator
) -> pd.DataFrame:
    """The table of the images: `labels` are what the CSV says, `category` what decides how visible the `truth` is."""
    views = _views(studies, rng)
    study = views["study"].to_numpy()
    columns = {"Sex": studies.sex[study], "Age": studies.age[study]}
    for name in OBSERVATIONS:
        columns[name] = np.where(labels[name] == BLANK, np.nan, labels[name].astype(float))[study]
    for name in FIVE:
        strength, mimic = visible_signs(category[name], truth[name], rng)
        columns |= {
            f"{name} truth": truth[name].astype(int)[study],
            f"{name} strength": strength[study],
            f"{name} mimic": mimic[study],
        }
    table = pd.concat([views, pd.DataFrame(columns)], axis=1)
    return table[[*CSV_COLUMNS, "study", *(name for name in table if name not in (*CSV_COLUMNS, "study"))]]
