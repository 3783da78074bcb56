"""The uncertain labels of the phantom depend on each other as in CheXpert's train.csv (counted there)."""

import numpy as np
import pandas as pd
import pytest

from chex.phantom.published_counts import TRAIN
from chex.phantom.table import train_table
from chex.phantom.write import POSITIVE_GIVEN_UNCERTAIN
from chex.schema.labels import FIVE, OBSERVATIONS

IMAGES = 60_000


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return train_table(IMAGES, POSITIVE_GIVEN_UNCERTAIN, np.random.default_rng(0))


@pytest.fixture(scope="module")
def uncertain(table: pd.DataFrame) -> pd.DataFrame:
    return table[list(OBSERVATIONS)] == -1


def lift(labels: pd.DataFrame, one: str, other: str) -> float:
    """How much more often both labels occur together than they would if they were independent."""
    both = labels[one] & labels[other]
    return float(both.mean() / (labels[one].mean() * labels[other].mean()))


def test_about_as_many_images_have_an_uncertain_label(uncertain: pd.DataFrame) -> None:
    assert uncertain.any(axis=1).mean() == pytest.approx(85_056 / TRAIN.images, rel=0.04)
    number = uncertain[list(FIVE)].sum(axis=1)
    assert (number > 0).mean() == pytest.approx(64_085 / TRAIN.images, rel=0.04)
    assert (number == 2).mean() == pytest.approx(22_949 / TRAIN.images, rel=0.12)


def test_an_uncertain_consolidation_comes_with_atelectasis_and_not_with_pneumonia(uncertain: pd.DataFrame) -> None:
    assert lift(uncertain, "Consolidation", "Atelectasis") == pytest.approx(4.8, rel=0.06)
    assert lift(uncertain, "Consolidation", "Pneumonia") == pytest.approx(0.44, abs=0.1)


@pytest.mark.parametrize(
    ("name", "after_uncertain", "after_others"), [("Cardiomegaly", 0.141, 0.029), ("Pleural Effusion", 0.120, 0.045)]
)
def test_doubt_returns_in_the_patients_next_study(
    table: pd.DataFrame, name: str, after_uncertain: float, after_others: float
) -> None:
    studies = table.groupby("study").first()
    patient = studies["Path"].str.split("/").str[2].to_numpy()
    doubtful, same = (studies[name] == -1).to_numpy(), patient[1:] == patient[:-1]
    before, now = doubtful[:-1][same], doubtful[1:][same]
    assert now[before].mean() == pytest.approx(after_uncertain, abs=0.03)
    assert now[~before].mean() == pytest.approx(after_others, abs=0.01)


def test_an_enlarged_heart_and_mediastinum_are_rarely_labelled_together(table: pd.DataFrame) -> None:
    assert lift(table[list(OBSERVATIONS)] == 1, "Cardiomegaly", "Enlarged Cardiomediastinum") == pytest.approx(
        1.5, abs=0.2
    )


def test_nearly_every_image_has_a_label(table: pd.DataFrame) -> None:
    assert table[list(OBSERVATIONS)].isna().all(axis=1).sum() == round(12 / TRAIN.images * IMAGES)
