import numpy as np
import pandas as pd
import pytest

from chex.phantom.label_simulation import rank_into_categories
from chex.phantom.table import train_table, truth_table, valid_table
from chex.phantom.write import POSITIVE_GIVEN_UNCERTAIN
from chex.schema.labels import FIVE, OBSERVATIONS

OTHERS = [name for name in OBSERVATIONS if name not in ("No Finding", "Support Devices")]


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return train_table(12_000, POSITIVE_GIVEN_UNCERTAIN, np.random.default_rng(0))


@pytest.fixture(scope="module")
def valid() -> pd.DataFrame:
    return valid_table(234, POSITIVE_GIVEN_UNCERTAIN, np.random.default_rng(0))


@pytest.mark.parametrize("images", [20, 37, 234, 1001])
def test_both_splits_have_exactly_the_images_asked_for(images: int) -> None:
    for table in (train_table, valid_table):
        assert len(table(images, POSITIVE_GIVEN_UNCERTAIN, np.random.default_rng(1))) == images


def test_a_study_has_one_patient_one_set_of_labels_and_views_numbered_from_one(train: pd.DataFrame) -> None:
    folder = train["Path"].str.rsplit("/", n=1).str[0]
    assert (train.groupby("study")[list(OBSERVATIONS)].nunique(dropna=False) == 1).all(axis=None)
    assert (folder.groupby(train["study"]).nunique() == 1).all()
    number = train["Path"].str.extract(r"view(\d)_")[0].astype(int)
    assert (number == train.groupby("study").cumcount() + 1).all()


def test_train_has_the_published_shares_of_every_label(train: pd.DataFrame) -> None:
    assert (train["Atelectasis"] == -1).mean() == pytest.approx(33_739 / 223_414, abs=0.002)
    assert (train["Edema"] == 1).mean() == pytest.approx(52_246 / 223_414, abs=0.002)
    assert (train["Cardiomegaly"] == 0).mean() == pytest.approx(11_116 / 223_414, abs=0.002)
    assert train["Consolidation"].isna().mean() == pytest.approx(152_792 / 223_414, abs=0.002)


def test_no_finding_stands_alone(train: pd.DataFrame, valid: pd.DataFrame) -> None:
    for table in (train, valid):
        healthy = table[table["No Finding"] == 1]
        assert len(healthy) > 30
        assert not healthy[OTHERS].isin([1, -1]).any(axis=None)


def test_valid_has_the_radiologists_counts_and_no_uncertain_label(valid: pd.DataFrame) -> None:
    assert valid[list(OBSERVATIONS)].isin([0, 1]).all(axis=None)
    counted = valid[list(OBSERVATIONS)].sum().astype(int).to_list()
    assert counted == [38, 109, 68, 126, 1, 45, 33, 8, 80, 8, 67, 1, 0, 107]


@pytest.mark.parametrize("name", FIVE)
def test_uncertain_labels_are_true_as_often_as_the_config_says(train: pd.DataFrame, name: str) -> None:
    truth = train[f"{name} truth"]
    uncertain = truth[train[name] == -1]
    noise = 4 * np.sqrt(0.25 / train.loc[train[name] == -1, "study"].nunique())
    assert uncertain.mean() == pytest.approx(POSITIVE_GIVEN_UNCERTAIN[name], abs=noise)
    assert truth[train[name] == 1].mean() > 0.9
    assert truth[train[name].isna()].mean() < 0.06


@pytest.mark.parametrize("name", FIVE)
def test_uncertain_labels_are_faint_signs_or_mimics(train: pd.DataFrame, name: str) -> None:
    true, strength, mimic = (train[f"{name} {column}"] for column in ("truth", "strength", "mimic"))
    uncertain = train[name] == -1
    assert ((strength > 0) == (true == 1)).all()
    assert (mimic[true == 1] == 0).all()
    assert (mimic[uncertain & (true == 0)] > 0).all()
    assert (mimic[~uncertain & (true == 0)] > 0).mean() < 0.1
    if name != "Consolidation":
        assert strength[uncertain & (true == 1)].mean() < 0.5 * strength[(train[name] == 1) & (true == 1)].mean()


def test_diseases_occur_together_as_in_patients(train: pd.DataFrame) -> None:
    positive = train[list(OBSERVATIONS)] == 1
    together = positive.astype(float).corr()
    assert together.loc["Edema", "Pleural Effusion"] > 0.15
    assert together.loc["Atelectasis", "Pleural Effusion"] > 0.15
    assert together.loc["Consolidation", "Pneumonia"] > 0.08
    assert positive.loc[positive["Consolidation"], "Lung Opacity"].mean() > 0.75
    assert train["Age"][positive["Cardiomegaly"]].mean() > train["Age"].mean() + 4
    devices = positive["Support Devices"].groupby(train["AP/PA"]).mean()
    assert devices["AP"] > 2 * devices["PA"]


def test_ages_and_sexes_are_as_published(train: pd.DataFrame) -> None:
    assert train["Age"].mean() == pytest.approx(60.4, abs=1.5)
    assert train["Age"].std() == pytest.approx(17.8, abs=1.5)
    assert train["Age"].max() == 90
    assert not train["Age"].between(1, 17).any()
    assert (train["Sex"] == "Male").mean() == pytest.approx(0.594, abs=0.002)


def test_the_truth_table_has_truth_and_strength_of_the_five_observations(valid: pd.DataFrame) -> None:
    truth = truth_table(valid)
    assert list(truth) == ["Path", *(column for name in FIVE for column in (name, f"{name} strength"))]
    assert (truth[list(FIVE)] == valid[list(FIVE)]).all(axis=None)


def test_the_highest_scores_get_the_first_category_and_the_counts_are_met() -> None:
    rng = np.random.default_rng(3)
    scores, images = rng.random(500), rng.choice([1, 2, 3], 500, p=[0.8, 0.15, 0.05])
    wanted = np.array([120, 60, images.sum() - 180])
    category = rank_into_categories(scores, images, wanted)
    assert np.bincount(category, weights=images).tolist() == wanted.tolist()
    single = images == 1
    assert scores[single & (category == 0)].min() > scores[single & (category == 1)].max()


def test_all_get_the_last_category_where_no_image_is_wanted() -> None:
    assert rank_into_categories(np.arange(5.0), np.ones(5, dtype=int), np.zeros(3)).tolist() == [2] * 5
