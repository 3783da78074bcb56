"""Checks counts on a table of seven rows against values computed by hand."""

import numpy as np
import pandas as pd
import pytest

from chex.config import RunConfig
from chex.data.tables import ImageTable
from chex.explore import summary_tables
from chex.schema.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES
from chex.uncertainty.targets import targets

P, N, U, B = POSITIVE, NEGATIVE, UNCERTAIN, BLANK
ATELECTASIS, EDEMA = OBSERVATIONS.index("Atelectasis"), OBSERVATIONS.index("Edema")


@pytest.fixture
def seven() -> ImageTable:
    """Patient 1: a study of two images and one of one; patient 2: a study of three; patient 3: one image."""
    studies = ["1/study1", "1/study1", "1/study2", "2/study1", "2/study1", "2/study1", "3/study1"]
    labels = np.full((7, 14), B, dtype=np.int8)
    labels[:, ATELECTASIS] = [P, P, U, U, N, B, B]
    labels[:, EDEMA] = [P, N, U, B, B, B, P]
    return ImageTable(
        paths=np.array([f"train/patient{study}/view{row}.jpg" for row, study in enumerate(studies)]),
        patients=np.array([f"patient{study[0]}" for study in studies]),
        studies=np.array([f"train/patient{study}" for study in studies]),
        frontal=np.array([True, False, True, True, True, False, True]),
        projections=np.array(["AP", "", "PA", "AP", "LL", "", "XX"]),
        sexes=np.array(["Male", "Male", "Male", "Female", "Female", "Female", ""]),
        ages=np.array([50, 50, 52, 90, 90, 95, np.nan], dtype=np.float32),
        labels=labels,
    )


def row(table: pd.DataFrame, **where: str) -> dict[str, object]:
    """The one row of `table` whose columns have the values in `where`, without those."""
    chosen = table
    for column, value in where.items():
        chosen = chosen[chosen[column] == value]
    assert len(chosen) == 1
    return dict(chosen.drop(columns=list(where)).iloc[0])


def test_rows_studies_patients_and_views_are_counted(seven: ImageTable) -> None:
    assert row(summary_tables.sizes({"train": seven}), split="train") == {
        "rows": 7,
        "studies": 4,
        "patients": 3,
        "frontal": 5,
        "lateral": 2,
    }


def test_non_blank_cells_are_counted_per_column(seven: ImageTable) -> None:
    table = summary_tables.non_blank_counts({"train": seven}).set_index("column")["train"]
    assert len(table) == 19
    chosen = table[["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", "Atelectasis", "Edema", "Fracture"]]
    assert list(chosen) == [7, 6, 6, 7, 5, 5, 4, 0]


def test_views_are_crossed_with_projections_and_unknown_ones_come_before_blank(seven: ImageTable) -> None:
    table = summary_tables.views(seven)
    assert list(table.columns) == ["view", "AP", "PA", "LL", "XX", "blank", "all"]
    assert table.to_numpy().tolist() == [["Frontal", 2, 1, 1, 1, 0, 5], ["Lateral", 0, 0, 0, 0, 2, 2]]


def test_sex_is_counted_per_image_and_per_patient(seven: ImageTable) -> None:
    table = summary_tables.sexes({"train": seven}).drop(columns="split").set_index("sex")
    assert table.loc["Male"].tolist() == [3, 3 / 7, 1, 1 / 3]
    assert table.loc["blank"].tolist() == [1, 1 / 7, 1, 1 / 3]


def test_ages_omit_missing_numbers(seven: ImageTable) -> None:
    result = row(summary_tables.ages({"train": seven}), split="train")
    assert (result["rows"], result["lowest"], result["median"], result["highest"]) == (6, 50, 71, 95)
    assert (result["under 18"], result["90 and above"]) == (0, 3)
    assert result["mean"] == pytest.approx(427 / 6)
    assert result["sd"] == pytest.approx(np.std([50, 50, 52, 90, 90, 95], ddof=1))


def test_without_any_age_the_statistics_are_undefined(seven: ImageTable) -> None:
    result = row(summary_tables.ages({"train": seven.take(np.array([6]))}), split="train")
    assert (result["rows"], result["under 18"]) == (0, 0)
    assert np.isnan(result["mean"])


def test_groups_are_spread_over_their_sizes(seven: ImageTable) -> None:
    table = summary_tables.group_size_table({"train": seven})
    shown = ["1", "2", "3", "4 to 9", "10 or more", "maximum"]
    expected = {
        "images per study": [2, 1, 1, 0, 0, 3],
        "studies per patient": [2, 1, 0, 0, 0, 2],
        "images per patient": [1, 0, 2, 0, 0, 3],
    }
    for what, counts in expected.items():
        result = row(table, group=what)
        assert [result[name] for name in shown] == counts
    assert row(table, group="images per study")["mean"] == 7 / 4


def test_labels_are_counted_per_observation(seven: ImageTable) -> None:
    table = summary_tables.label_counts(seven)
    assert list(table["observation"]) == list(OBSERVATIONS)
    assert list(row(table, observation="Atelectasis").values()) == [2, 2, 1, 2, 2 / 7, 2 / 5]
    assert list(row(table, observation="Edema").values()) == [2, 1, 1, 3, 1 / 7, 1 / 4]
    assert np.isnan(row(table, observation="Fracture")["uncertain of mentioned"])


def test_balance_by_hand(seven: ImageTable) -> None:
    table = summary_tables.balance(seven.labels, ("zeros", "ones", "ignore", "multiclass"))
    expected = {
        "as labelled": [2, 1, 4, 2 / 3, 1 / 2],
        "zeros": [2, 5, 0, 2 / 7, 5 / 2],
        "ones": [4, 3, 0, 4 / 7, 3 / 4],
        "ignore": [2, 3, 2, 2 / 5, 3 / 2],
        "multiclass": [2, 3, 2, 2 / 5, 3 / 2],
    }
    assert list(table["observation"].unique()) == list(OBSERVATIONS)
    for policy, figures in expected.items():
        assert list(row(table, observation="Atelectasis", policy=policy).values()) == pytest.approx(figures)
    assert np.isnan(row(table, observation="Fracture", policy="zeros")["negatives per positive"])


@pytest.mark.parametrize("policy", [name for name in POLICIES if name not in TABLE_POLICIES])
def test_balance_equals_that_of_the_targets_of_a_run(policy: str) -> None:
    labels = np.random.default_rng(0).choice([P, N, U, B], size=(500, 14)).astype(np.int8)
    balance = summary_tables.balance(labels, [policy]).query("policy == @policy")
    config = RunConfig.model_validate({"policy": {"default": policy}})
    treated = targets(labels, OBSERVATIONS, config.policy, config.seed)
    counts = (treated.weights > 0) & (treated.uncertain_class == 0)
    np.testing.assert_allclose(balance["positives"], treated.values.sum(axis=0, where=counts), rtol=1e-5)
    np.testing.assert_allclose(balance["negatives"], (1 - treated.values).sum(axis=0, where=counts), rtol=1e-5)
    np.testing.assert_array_equal(balance["ignored"], (~counts).sum(axis=0))


def test_observations_together_are_shares_of_the_first(seven: ImageTable) -> None:
    positive, uncertain = (summary_tables.co_occurrence(seven.labels, kind) for kind in ("positive", "uncertain"))
    assert positive.loc["Atelectasis", "Edema"] == 1 / 2
    assert uncertain.loc["Atelectasis", "Edema"] == 1 / 2
    assert uncertain.loc["Edema", "Atelectasis"] == 1
    assert positive.loc["Atelectasis", "Atelectasis"] == 1
    assert positive.loc["Fracture"].isna().all()
    assert (positive["Fracture"].dropna() == 0).all()


def test_studies_whose_labels_differ_are_found(seven: ImageTable) -> None:
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 5, 2, 1, 3, 0, 4]):
        findings = summary_tables.differing_studies(seven.take(np.array(order)))
        assert list(findings) == ["train/patient1/study1", "train/patient2/study1"]
    assert list(summary_tables.differing_studies(seven.take(np.array([0, 2, 3, 6])))) == []


def test_only_the_most_frequent_values_of_a_column_are_shown() -> None:
    values = np.array(["often", "often", "", *map(str, range(50))])
    result = summary_tables.group_rare_values(values)
    assert list(result[:2]) == ["often", "often"]
    assert len(set(result)) == summary_tables.MOST_VALUES + 1
    assert list(result).count("other values") == len(values) - 1 - summary_tables.MOST_VALUES


def test_names_are_joined_in_words() -> None:
    assert [summary_tables.join_names(names) for names in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "",
        "a",
        "a and b",
        "a, b and c",
    ]
