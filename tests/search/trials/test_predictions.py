from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.cohort.split import EvaluationSet
from chex.data import prediction_files
from chex.errors import InputError
from chex.runtime import run_folder
from search.trials.layout import trial_folder
from search.trials.predictions import FILE, LABELS, gather, load_predictions, write_labels

OBSERVATIONS = ("Cardiomegaly", "Edema")
UNITS = 6


@pytest.fixture
def scored() -> EvaluationSet:
    truth = np.array([[0, 1], [1, 0], [0, np.nan], [1, 1], [np.nan, 0], [0, 0]], dtype=np.float32)
    places = np.arange(UNITS)
    return EvaluationSet(places, places, np.array([f"valid/{n}.jpg" for n in places]), np.array(list("aabbcd")), truth)


def trial(folder: Path, scored: EvaluationSet, number: int, images: Sequence[int]) -> np.ndarray:
    """A trial's own file; its probabilities (R, U, K)."""
    home = trial_folder(folder, number)
    home.mkdir(parents=True)
    given = np.random.default_rng(number).random((len(images), *scored.truth.shape), dtype=np.float32)
    reports = dict(zip(images, given, strict=True))
    prediction_files.save_probabilities(home, OBSERVATIONS, reports, scored.digest(OBSERVATIONS))
    return given


def test_what_trials_gave_comes_back_bit_for_bit_gathered_or_not(tmp_path: Path, scored: EvaluationSet) -> None:
    write_labels(tmp_path, scored, OBSERVATIONS)
    second, first = trial(tmp_path, scored, 2, [8]), trial(tmp_path, scored, 1, [8, 16])
    apart = load_predictions(tmp_path)
    gather(tmp_path, [2])
    between = load_predictions(tmp_path)
    gather(tmp_path, [1, 2])
    for found in (apart, between, load_predictions(tmp_path)):
        assert found.observations == OBSERVATIONS
        assert found.patients.tolist() == list("aabbcd")
        np.testing.assert_array_equal(found.truth, scored.truth)
        np.testing.assert_array_equal(found.probability, np.concatenate([first, second]))
        assert (found.trials.tolist(), found.images.tolist()) == ([1, 1, 2], [8, 16, 8])
    assert not list(tmp_path.glob("trials/*/*.parquet"))


def test_a_trial_that_was_gathered_and_not_yet_removed_counts_once(tmp_path: Path, scored: EvaluationSet) -> None:
    write_labels(tmp_path, scored, OBSERVATIONS)
    trial(tmp_path, scored, 1, [8])
    own = trial_folder(tmp_path, 1) / run_folder.PROBABILITIES
    content = own.read_bytes()
    gather(tmp_path, [1])
    own.write_bytes(content)
    assert len(load_predictions(tmp_path).trials) == 1
    gather(tmp_path, [1])
    assert len(load_predictions(tmp_path).trials) == 1
    assert not own.exists()


@pytest.mark.parametrize("gathered", [False, True])
def test_probabilities_of_other_labels_are_refused(tmp_path: Path, scored: EvaluationSet, gathered: bool) -> None:
    write_labels(tmp_path, scored, OBSERVATIONS)
    trial(tmp_path, scored, 1, [8])
    if gathered:
        gather(tmp_path, [1])
    table = pd.read_csv(tmp_path / LABELS)
    table.loc[0, "Edema"] = 0.0
    table.to_csv(tmp_path / LABELS, index=False)
    with pytest.raises(
        InputError, match=r"parquet: its labels have the digest '\w{16}', and labels.csv has \w{16}; fig"
    ):
        load_predictions(tmp_path)


def test_a_folder_without_labels_and_a_search_without_reports_are_told(tmp_path: Path, scored: EvaluationSet) -> None:
    with pytest.raises(InputError, match=r"labels.csv: missing; give a folder that `chex-search run` made"):
        load_predictions(tmp_path)
    write_labels(tmp_path, scored, OBSERVATIONS)
    with pytest.raises(InputError, match=r"no trial has made a report yet; wait for the first, or resume the search"):
        load_predictions(tmp_path)
    gather(tmp_path, [1])
    assert not (tmp_path / FILE).exists()
