"""Features, the plain forest's probabilities, the two protocols and what they refuse."""

from dataclasses import replace

import numpy as np
import pytest
from imblearn.over_sampling import SMOTENC
from scipy import sparse

from chex.data.tables import ImageTable
from chex.errors import InputError
from chex.forest import resampling
from chex.forest.cross_validation import (
    BEFORE,
    INSIDE,
    Cases,
    Fold,
    before_the_split,
    cases,
    cross_validate,
    inside_training_folds,
    patient_splits,
)
from chex.forest.metadata_forest import feature_names, features, forest, forest_probabilities, positive_probability
from chex.forest.resampling import VARIANTS, DenseNeighbors
from chex.schema.labels import BLANK, NEGATIVE, OBSERVATIONS, POSITIVE, UNCERTAIN

HEART, FLUID = OBSERVATIONS.index("Cardiomegaly"), OBSERVATIONS.index("Pleural Effusion")


@pytest.fixture(autouse=True)
def small_forests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chex.forest.metadata_forest.TREES", 10)


def nothing(done: int, total: int) -> None:
    pass


def table(patients: int, images: int, seed: int = 0, positive: float = 0.3, uncertain: float = 0.0) -> ImageTable:
    """Patients with `images` equal rows each, whose labels have nothing to do with one another."""
    rng = np.random.default_rng(seed)
    labels = rng.choice([POSITIVE, NEGATIVE, BLANK], size=(patients, 14)).astype(np.int8)
    labels[:, HEART] = rng.choice(
        [POSITIVE, NEGATIVE, UNCERTAIN], p=[positive, 1 - positive - uncertain, uncertain], size=patients
    )
    of = np.repeat(np.arange(patients), images)
    names = np.array([f"patient{number:05d}" for number in range(patients)])[of]
    studies = np.char.add(np.char.add("train/", names), "/study1")
    paths = [f"{study}/view{view}.jpg" for view, study in enumerate(studies)]
    return ImageTable(
        paths=np.array(paths),
        patients=names,
        studies=studies,
        frontal=np.ones(len(of), bool),
        projections=np.full(len(of), "AP"),
        sexes=rng.choice(["Female", "Male"], size=patients)[of],
        ages=rng.integers(20, 90, size=patients).astype(np.float32)[of],
        labels=labels[of],
    )


def with_labels(records: ImageTable, column: int, values: np.ndarray) -> ImageTable:
    labels = records.labels.copy()
    labels[:, column] = values
    return replace(records, labels=labels)


def every(records: ImageTable) -> np.ndarray:
    return np.arange(len(records))


def heart(records: ImageTable) -> Cases:
    return cases(records, every(records), "Cardiomegaly")


def mean_auroc(folds: list[Fold]) -> float:
    return float(np.mean([fold.scores.auroc for fold in folds]))


@pytest.fixture(scope="module")
def learnable() -> ImageTable:
    """500 images in which uncertain hearts are positive where there is fluid, as certain ones are."""
    records = table(250, 2, uncertain=0.2)
    fluid = np.where(records.labels[:, FLUID] == POSITIVE, POSITIVE, NEGATIVE)
    hearts = np.where(records.labels[:, HEART] == UNCERTAIN, UNCERTAIN, fluid)
    return with_labels(records, HEART, hearts)


def test_features_are_the_other_labels_by_suspicion_then_sex_then_age() -> None:
    records = table(4, 1)
    labels = np.full((4, 14), BLANK, np.int8)
    labels[:, 0] = [NEGATIVE, BLANK, UNCERTAIN, POSITIVE]
    sexes, ages = np.array(["Female", "Male", "Unknown", ""]), np.array([0, 90, np.nan, 1], np.float32)
    coded = features(replace(records, labels=labels, sexes=sexes, ages=ages), "Cardiomegaly")
    assert coded.shape == (4, 15)
    np.testing.assert_array_equal(coded[:, 0], [0, 1, 2, 3])
    np.testing.assert_array_equal(coded[:, -2], [0, 2, 1, 1])
    np.testing.assert_array_equal(coded[:, -1], ages)


def test_the_target_is_no_feature() -> None:
    assert feature_names("Cardiomegaly") == (*(name for name in OBSERVATIONS if name != "Cardiomegaly"), "Sex", "Age")
    records = table(6, 1)
    other = with_labels(records, HEART, np.full(6, BLANK))
    np.testing.assert_array_equal(features(records, "Cardiomegaly"), features(other, "Cardiomegaly"))


def test_only_uncertain_cells_of_the_rows_get_a_probability(learnable: ImageTable) -> None:
    rows = every(learnable)[100:]
    message = forest_probabilities(learnable, rows, ("Cardiomegaly", "Pleural Effusion"), 0, nothing)
    assert message.shape == (500, 2)
    assert message.dtype == np.float32
    uncertain = learnable.labels[:, HEART] == UNCERTAIN
    uncertain[:100] = False
    np.testing.assert_array_equal(~np.isnan(message[:, 0]), uncertain)
    assert np.isnan(message[:, 1]).all()
    assert ((message[uncertain, 0] >= 0) & (message[uncertain, 0] <= 1)).all()


def test_probabilities_follow_what_certain_cells_teach(learnable: ImageTable) -> None:
    message = forest_probabilities(learnable, every(learnable), ("Cardiomegaly",), 0, nothing)[:, 0]
    fluid = learnable.labels[:, FLUID] == POSITIVE
    assert np.nanmean(message[fluid]) > 0.6 > 0.4 > np.nanmean(message[~fluid])


def test_held_out_rows_are_not_learnt_from(learnable: ImageTable) -> None:
    rows, held_out = every(learnable)[100:], every(learnable)[:100]
    labels, ages = learnable.labels.copy(), learnable.ages.copy()
    labels[held_out], ages[held_out], ages[100:120] = POSITIVE, 200, np.nan
    changed = replace(learnable, labels=labels, ages=ages)
    ages = learnable.ages.copy()
    ages[100:120] = np.nan
    message = forest_probabilities(replace(learnable, ages=ages), rows, ("Cardiomegaly",), 0, nothing)
    np.testing.assert_array_equal(message, forest_probabilities(changed, rows, ("Cardiomegaly",), 0, nothing))


def test_probabilities_of_an_observation_do_not_depend_on_the_others_asked_for(learnable: ImageTable) -> None:
    alone = forest_probabilities(learnable, every(learnable), ("Cardiomegaly",), 0, nothing)[:, 0]
    beside = forest_probabilities(learnable, every(learnable), ("Edema", "Cardiomegaly"), 0, nothing)[:, 1]
    np.testing.assert_array_equal(alone, beside)


def test_the_same_seed_gives_the_same_probabilities_and_another_does_not(learnable: ImageTable) -> None:
    first, again, other = (
        forest_probabilities(learnable, every(learnable), ("Cardiomegaly",), seed, nothing) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_progress_counts_observations(learnable: ImageTable) -> None:
    seen: list[tuple[int, int]] = []
    asked = ("Cardiomegaly", "Edema")
    forest_probabilities(learnable, every(learnable), asked, 0, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_a_forest_that_could_learn_one_class_only_is_refused(learnable: ImageTable) -> None:
    hearts = np.where(learnable.labels[:, HEART] == UNCERTAIN, UNCERTAIN, BLANK)
    with pytest.raises(
        InputError,
        match=r"metadata forest: of the \d+ training rows whose label of Cardiomegaly is certain none is positive, and "
        "a forest learns from both; leave this observation out or give more training rows",
    ):
        forest_probabilities(
            with_labels(learnable, HEART, hearts), every(learnable), ("Edema", "Cardiomegaly"), 0, nothing
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_missing_ages_are_filled_even_when_all_are(variant: str) -> None:
    records = table(100, 1)
    for ages in (np.where(np.arange(100) < 30, np.nan, records.ages), np.full(100, np.nan)):
        known = heart(replace(records, ages=ages.astype(np.float32)))
        model = forest(variant, 100, 0).fit(known.features, known.positive)
        assert not np.isnan(positive_probability(model, known.features)).any()


@pytest.mark.parametrize("variant", ["oversampled", "SMOTENC", "SMOTE"])
def test_resampling_makes_both_classes_equal(variant: str) -> None:
    known = heart(table(100, 1))
    made, is_positive = forest(variant, 100, 0)[:-1].fit_resample(known.features, known.positive)
    assert is_positive.sum() == (~is_positive).sum() == (~known.positive).sum()
    whole_labels = (made[:, :14] == made[:, :14].round()).all()
    assert whole_labels == (variant != "SMOTE")


def test_quick_codes_change_nothing_in_smotenc() -> None:
    known = heart(table(150, 1))
    neighbours = DenseNeighbors(n_neighbors=6, algorithm="brute")
    usual = SMOTENC(list(range(14)), random_state=3, k_neighbors=neighbours)
    quick = VARIANTS["SMOTENC"](list(range(14)), 3)
    made = [sampler.fit_resample(known.features, known.positive)[0] for sampler in (usual, quick)]
    np.testing.assert_array_equal(*made)


@pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
def test_neighbours_are_the_exact_ones(algorithm: str) -> None:
    rows = heart(table(150, 1)).features
    distances, found = DenseNeighbors(algorithm=algorithm).fit(sparse.csr_matrix(rows)).kneighbors(rows)
    every_distance = np.linalg.norm(rows[:, None] - rows, axis=2)
    np.testing.assert_allclose(distances, np.sort(every_distance, axis=1)[:, :5], atol=1e-3)
    np.testing.assert_allclose(distances, np.take_along_axis(every_distance, found, axis=1), atol=1e-3)


def test_neighbours_in_a_large_class_come_from_rows_evenly_spaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "CANDIDATES", 5)
    rows = np.arange(9, dtype=float)[:, None]
    found = DenseNeighbors(n_neighbors=2).fit(rows).kneighbors(rows + 0.1, return_distance=False)
    np.testing.assert_array_equal(found[:, 0], [0, 2, 2, 4, 4, 6, 6, 8, 8])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_optimistic_protocol_finds_signal_in_random_labels_and_the_honest_one_does_not(variant: str) -> None:
    known = heart(table(150, 6))
    optimistic = mean_auroc(list(before_the_split(known, variant, 3, seed=0)))
    honest = mean_auroc(list(inside_training_folds(known, variant, patient_splits(known, 3, seed=0), seed=0)))
    assert optimistic > 0.9
    assert 0.35 < honest < 0.65


def test_no_patient_is_on_both_sides_and_every_row_is_tested_once() -> None:
    known = heart(table(60, 3))
    splits = patient_splits(known, 5, seed=0)
    for train, test in splits:
        assert not set(known.patients[train]) & set(known.patients[test])
    np.testing.assert_array_equal(np.sort(np.concatenate([test for _, test in splits])), np.arange(180))


@pytest.mark.parametrize("variant", VARIANTS)
def test_inside_training_folds_test_rows_are_those_of_the_table(variant: str) -> None:
    known = heart(table(60, 3))
    splits = patient_splits(known, 3, seed=0)
    for fold, (train, test) in zip(inside_training_folds(known, variant, splits, seed=0), splits, strict=True):
        assert (fold.trained, fold.tested) == (len(train), len(test))
        assert fold.positives == known.positive[test].sum()


def test_before_the_split_test_rows_are_resampled_too() -> None:
    known = heart(table(60, 3))
    for fold in before_the_split(known, "oversampled", 3, seed=0):
        assert abs(fold.positives / fold.tested - 0.5) < 0.02
    assert sum(fold.tested for fold in before_the_split(known, "plain", 3, seed=0)) == 180


def test_all_variants_under_both_protocols_with_the_same_seed_give_the_same_folds() -> None:
    known = heart(table(40, 2))
    splits = patient_splits(known, 2, seed=0)
    seen: list[tuple[int, int]] = []
    folds = cross_validate(known, splits, 0, lambda done, total: seen.append((done, total)))
    assert seen == [(number, 16) for number in range(1, 17)]
    assert {(fold.protocol, fold.variant, fold.number) for fold in folds} == {
        (protocol, variant, number) for protocol in (BEFORE, INSIDE) for variant in VARIANTS for number in (1, 2)
    }
    again = cross_validate(known, splits, 0, nothing)
    np.testing.assert_array_equal([fold.curve for fold in folds], [fold.curve for fold in again])


@pytest.mark.parametrize("variant", VARIANTS)
def test_another_seed_gives_other_folds(variant: str) -> None:
    known = heart(table(40, 2))
    first, other = (next(before_the_split(known, variant, 2, seed)) for seed in (0, 1))
    assert not np.array_equal(first.curve, other.curve)
    splits = [patient_splits(known, 2, seed) for seed in (0, 1)]
    assert not np.array_equal(splits[0][0][0], splits[1][0][0])


def test_uncertain_rows_and_rows_left_out_are_no_cases() -> None:
    records = table(50, 2, uncertain=0.3)
    known = cases(records, every(records)[:60], "Cardiomegaly")
    uncertain = int((records.labels[:60, HEART] == UNCERTAIN).sum())
    assert known.uncertain == uncertain > 0
    assert len(known.positive) == len(known.features) == len(known.patients) == 60 - uncertain
    assert known.positive.sum() == (records.labels[:60, HEART] == POSITIVE).sum()


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        (3, "positives of 3 patients and 5 folds by patient need 5 at least; choose another target or fewer --folds"),
        (1, "positives of 1 patients and 5 folds by patient need 5 at least; choose another target"),
        (48, "negatives of 2 patients and 5 folds by patient need 5 at least; choose another target or fewer --folds"),
    ],
)
def test_a_class_of_fewer_patients_than_folds_is_refused(patients: int, message: str) -> None:
    records = table(50, 4)
    hearts = np.where(np.arange(200) < 4 * patients, POSITIVE, BLANK)
    with pytest.raises(InputError, match=rf"^--target Cardiomegaly: train.csv has {message}$"):
        patient_splits(heart(with_labels(records, HEART, hearts)), 5, seed=0)


def test_too_few_rows_for_smote_are_refused() -> None:
    hearts = np.where(np.arange(50) < 6, POSITIVE, BLANK)
    with pytest.raises(
        InputError,
        match=r"^--target Cardiomegaly: fold \d trains on \d positive rows of train.csv, and SMOTE with 5 neighbours "
        "needs 6 at least; choose another target$",
    ):
        patient_splits(heart(with_labels(table(50, 1), HEART, hearts)), 5, seed=0)
