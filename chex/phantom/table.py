"""Builds the phantom's tables: a row per image with path, labels, and the truth and visible signs behind them."""

import numpy as np
import pandas as pd

from chex.phantom.label_simulation import (
    Labels,
    apportion,
    chance_of_truth,
    hidden_categories,
    radiologist_truth,
    train_labels,
    visible_signs,
)
from chex.phantom.patients import Studies, draw_studies
from chex.phantom.published_counts import TRAIN, VALID
from chex.schema.labels import BLANK, FIVE, NEGATIVE, OBSERVATIONS, POSITIVE

TREE = "CheXpert-v1.0-small"
CSV_COLUMNS = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS)

LATERAL_IS_UPRIGHT = 2.0
"""Subtracted from the AP score of a study with a lateral, which is mostly PA; in standard deviations of acuity."""


def train_table(images: int, positive_given_uncertain: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Returns the train split: exactly `images` rows, one per image, in whole studies.

    Columns: CSV_COLUMNS (labels 1, 0, -1, NaN for blank; AP/PA is "" for laterals), `study` (0-based number within
    the split) and, per scored observation, `<obs> truth` (0 or 1), `<obs> strength` and `<obs> mimic` (0..1, 0 is
    invisible). With 223,414 images every published count of label, view, projection and sex is exact (Irvin et al.
    2019; counts of train.csv).
    """
    studies = draw_studies(TRAIN, images, rng)
    labels = train_labels(studies, rng)
    chance = chance_of_truth(labels, positive_given_uncertain)
    truth = {name: rng.random(len(studies.patient)) < chance[name] for name in FIVE}
    return _assemble(studies, labels, labels, truth, rng)


def valid_table(images: int, positive_given_uncertain: dict[str, float], rng: np.random.Generator) -> pd.DataFrame:
    """Returns the valid split as `train_table` does, with one study per patient and radiologists' labels (1 or 0).

    A hidden labeler category decides how visible a sign is, as in train. The shares of positives are those of
    CheXpert's 234 validation images; their counts are exact when `images` is 234.
    """
    studies = draw_studies(VALID, images, rng)
    hidden = hidden_categories(studies, positive_given_uncertain, rng)
    truth = radiologist_truth(studies, chance_of_truth(hidden, positive_given_uncertain), rng)
    labels = {name: np.where(truth[name], POSITIVE, NEGATIVE).astype(np.int8) for name in OBSERVATIONS}
    return _assemble(studies, labels, hidden, truth, rng)


TRUTH_COLUMNS = ("Path", *(column for name in FIVE for column in (name, f"{name} strength")))
"""The columns of `truth_table`."""


def truth_table(table: pd.DataFrame) -> pd.DataFrame:
    """Returns the planted truth: Path and, per scored observation, `<obs>` (0 or 1) and `<obs> strength` (0..1)."""
    columns = {"Path": table["Path"]}
    for name in FIVE:
        columns |= {name: table[f"{name} truth"], f"{name} strength": table[f"{name} strength"].round(4)}
    return pd.DataFrame(columns)


def _views(studies: Studies, rng: np.random.Generator) -> pd.DataFrame:
    """Returns one row per image: Path, study, Frontal/Lateral, AP/PA."""
    size = studies.images
    study = np.repeat(np.arange(len(size)), size)
    number = np.arange(len(study)) - np.repeat(np.cumsum(size) - size, size) + 1
    frontal = np.array(list("".join(studies.shapes))) == "F"
    kind = np.where(frontal, "frontal", "lateral")
    folder = _folders(studies)
    path = [f"{folder[s]}/view{n}_{k}.jpg" for s, n, k in zip(study, number, kind, strict=True)]
    ap_score = studies.acuity - LATERAL_IS_UPRIGHT * (np.char.count(studies.shapes, "L") > 0)
    projection = np.full(len(study), "", dtype=object)
    projection[frontal] = _projections(ap_score[study[frontal]], studies.census.projections, rng)
    return pd.DataFrame(
        {"Path": path, "study": study, "Frontal/Lateral": np.char.capitalize(kind), "AP/PA": projection}
    )


def _folders(studies: Studies) -> list[str]:
    census, patient = studies.census, studies.patient
    number = np.arange(len(patient)) - np.searchsorted(patient, patient) + 1
    numbered = zip(patient + census.first_patient, number, strict=True)
    return [f"{TREE}/{census.split}/patient{p:05d}/study{n}" for p, n in numbered]


def _projections(ap_score: np.ndarray, published: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    """Assigns AP to the highest scores, then PA, in the published shares of frontal images."""
    number = apportion(np.array(list(published.values()), dtype=float), len(ap_score))
    score = ap_score + 0.3 * rng.standard_normal(len(ap_score))
    projection = np.empty(len(ap_score), dtype=object)
    projection[np.argsort(-score, kind="stable")] = np.repeat(np.array(list(published), dtype=object), number)
    return projection


def _assemble(
    studies: Studies, labels: Labels, category: Labels, truth: Labels, rng: np.random.Generator
) -> pd.DataFrame:
    """Returns the table of the images: `labels` go into the CSV, `category` decides how visible the `truth` is."""
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
