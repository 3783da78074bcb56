"""A verdict on a folder that a search left, made by hand."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chex.cohort.split import EvaluationSet
from chex.config import to_yaml
from chex.data import prediction_files
from chex.errors import InputError
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_text
from chex.statistics.metrics import METRIC, auroc
from search.analysis.verdict import Verdict, analyze, backbone_sizes, load_verdict
from search.command import main
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.optimize.samplers import AUROC_OF
from search.space.space import Space
from search.trials.layout import CONFIG, STUDY, trial_folder
from search.trials.predictions import Predictions, load_predictions, write_labels
from search.trials.study_store import StudyStore
from search.trials.trial import State, TrialRecord

NAMES = ("Cardiomegaly", "Edema", "Fracture")
UNITS, REPORTS = 80, 3
SPACE = {
    "policy.default": {"choice": ["ones", "zeros"]},
    "policy.Edema": {"choice": ["ones", "ignore"]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
}
BASE = {"policy.default": "zeros", "policy.Edema": None}
STATES: tuple[State, ...] = ("finished",) * 8 + ("pruned", "failed", "pending")


def scored() -> EvaluationSet:
    rng = np.random.default_rng(0)
    truth = (rng.random((UNITS, 3)) < 0.4).astype(np.float32)
    truth[:, 2] = 0
    truth[::7, 1] = np.nan
    places = np.arange(UNITS)
    patients = np.array([f"patient{place // 2:05d}" for place in places])
    return EvaluationSet(places, places, np.array([f"valid/{place}.jpg" for place in places]), patients, truth)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of 11 trials, the 3rd of which is the best that ended."""
    folder = tmp_path_factory.mktemp("search")
    search = SearchConfig.model_validate({"base": {"data": {"root": "tree"}}, "space": SPACE, "budget": {"trials": 11}})
    write_text(folder / CONFIG, to_yaml(search))
    on, rng = scored(), np.random.default_rng(1)
    write_labels(folder, on, NAMES)
    book = StudyStore(folder, search.search_space())
    for place, state in enumerate(STATES):
        params = {
            "policy.default": ("ones", "zeros")[place % 2],
            "policy.Edema": ("ones", "ignore")[place // 2 % 2],
            "optimizer.lr": 1e-4 * (place + 1),
        }
        number = book.create_trial(params)
        strength = 1.5 if number in (3, 10, 11) else 0.3 + 0.02 * place
        given = [_given(on.truth, strength + 0.1 * report, rng) for report in range(REPORTS)]
        home = trial_folder(folder, number)
        home.mkdir(parents=True)
        reports = {100 * (report + 1): probability for report, probability in enumerate(given)}
        prediction_files.save_probabilities(home, NAMES, reports, on.digest(NAMES))
        for k in range(REPORTS):
            book.add_report(number, k + 1, _told(on.truth, given[: k + 1], k))
        if state != "pending":
            book.finish_trial(number, state, 0.7 + 0.01 * place)
    book.close()
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "some-search"))


def _given(truth: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    given: np.ndarray = 1 / (1 + np.exp(-strength * np.nan_to_num(truth) - rng.normal(size=truth.shape)))
    return given.astype(np.float32)


def _told(truth: np.ndarray, given: Sequence[np.ndarray], place: int) -> dict[str, float]:
    values = [np.mean([auroc(truth[:, k], own[:, k]) for k in (0, 1)]) for own in given]
    return {
        METRIC: float(max(values)),
        "auroc": float(values[-1]),
        **{f"{AUROC_OF}{NAMES[k]}": float(auroc(truth[:, k], given[-1][:, k])) for k in (0, 1)},
        "percent": 30 * place + 40,
        "images_seen": 100 * (place + 1),
    }


def rows(folder: Path) -> list[TrialRecord]:
    book = StudyStore(folder, load_search_folder(folder).search_space())
    found = book.trials()
    book.close()
    return found


def verdict(folder: Path, those: Sequence[TrialRecord] | None = None) -> Verdict | None:
    return analyze(those or rows(folder), load_predictions(folder), space_of(folder), BASE, 0, {})


def space_of(folder: Path) -> Space:
    return load_search_folder(folder).search_space()


def test_the_winner_is_the_ledgers_and_its_corrected_auroc_is_lower(folder: Path) -> None:
    found = verdict(folder)
    assert found is not None
    assert found.winner == 3
    assert found.naive_auroc.value == pytest.approx(rows(folder)[2].value)
    assert found.debiased_auroc.value < found.naive_auroc.value
    assert found.debiased_auroc.low < found.debiased_auroc.value < found.debiased_auroc.high
    assert (found.finished, found.pruned, found.failed, found.unfinished) == (8, 1, 1, 1)
    assert (found.units, found.patients, found.reports) == (80, 40, 27)
    assert [trial.trial for trial in found.trials] == list(range(1, 10))
    assert found.positives[2] == 0


def test_of_equal_trials_the_winner_is_the_one_whose_weights_the_search_keeps(folder: Path) -> None:
    known, there = load_predictions(folder), rows(folder)
    known.probability[known.trials == 2] = known.probability[known.trials == 3]
    lower = [{**told, "auroc": told["auroc"] - 1e-15, METRIC: told[METRIC] - 1e-15} for told in there[2].reports]
    there[1] = replace(there[1], reports=tuple(lower))  # of the same reports, by another round-off
    found = analyze(there, known, {}, {}, 0, {})
    assert found is not None
    assert found.winner == 3
    assert found.trials[1].auroc == found.trials[2].auroc


def test_trials_that_failed_or_have_not_ended_change_nothing(folder: Path) -> None:
    there = rows(folder)
    known = load_predictions(folder)
    few = known.trials <= 9
    part = Predictions(
        known.observations,
        known.paths,
        known.patients,
        known.truth,
        known.trials[few],
        known.images[few],
        known.probability[few],
    )
    found, without = verdict(folder), analyze(there[:9], part, space_of(folder), BASE, 0, {})
    assert found is not None
    assert without is not None
    assert (found.debiased_auroc, found.best_set, found.strategies) == (
        without.debiased_auroc,
        without.best_set,
        without.strategies,
    )


def test_a_parameter_of_an_observation_is_judged_by_that_observation_s_auroc(folder: Path) -> None:
    found = verdict(folder)
    assert found is not None
    assert [(each.param, each.value, each.outcome, each.trials, each.finished) for each in found.strategies.values] == [
        ("policy.default", "ones", "mean", 5, 4),
        ("policy.default", "zeros", "mean", 4, 4),
        ("policy.Edema", "ones", "Edema", 5, 4),
        ("policy.Edema", "ignore", "Edema", 4, 4),
    ]
    assert {each.reference for each in found.strategies.of("policy.default")} == {"zeros"}
    assert [each.param for each in found.strategies.slopes] == ["optimizer.lr"]


def test_the_cheapest_of_equals_has_the_smaller_backbone(folder: Path) -> None:
    there = [
        TrialRecord(
            row.number, row.state, {"model.backbone": "resnet18" if row.number == 2 else "resnet50"}, row.reports
        )
        for row in rows(folder)
    ]
    known = load_predictions(folder)
    known.probability[known.trials == 2] = known.probability[known.trials == 3]
    found = analyze(there, known, {}, {}, 0, backbone_sizes(there))
    assert found is not None
    assert {2, 3} <= set(found.best_set.trials)
    assert (found.best_set.cheapest, found.best_set.backbone, found.best_set.images) == (2, "resnet18", 300)


def test_a_backbone_that_does_not_exist_has_no_size() -> None:
    failed = TrialRecord(1, "failed", {"model.backbone": "resnot50"})
    known = TrialRecord(2, "finished", {"model.backbone": "test_resnet"}, ({"percent": 100},))
    assert list(backbone_sizes([failed, known])) == ["test_resnet"]


def test_the_same_seed_gives_the_same_verdict(folder: Path) -> None:
    assert repr(load_verdict(folder)) == repr(load_verdict(folder))


def test_the_whole_verdict_has_importances_and_an_ensemble_and_changes_no_file(folder: Path) -> None:
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    heard: list[str] = []
    found = load_verdict(folder, heard.append)
    assert found.ensemble is not None
    assert found.importances is not None
    assert found.importances.why == "9 trials have a result, and importances need 20"
    assert any(line.startswith("ensembles: bag 1 of ") for line in heard)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_search_in_which_all_failed_has_no_verdict(folder: Path) -> None:
    failed = [TrialRecord(row.number, "failed", row.params, row.reports) for row in rows(folder)]
    assert verdict(folder, failed) is None


def test_the_command_prints_a_verdict_that_fits_a_terminal(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verdict", str(folder)]) == 0
    told = capsys.readouterr().out
    assert "\n\nTrial 3 wins: AUROC ." in told
    assert max(map(len, told.splitlines())) <= 80


def test_folders_without_a_search_without_trials_and_without_results_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verdict", str(folder / "nothing")]) == 2
    assert (
        "holds no search (no search.yaml in it); give a folder that `chex-search run` made" in capsys.readouterr().err
    )
    book = folder / STUDY
    content = book.read_bytes()
    book.unlink()
    with pytest.raises(InputError, match=r"no trial has started yet; continue it: chex-search resume "):
        load_verdict(folder)
    book.write_bytes(content)
    for number in range(1, 10):
        (trial_folder(folder, number) / run_folder.PROBABILITIES).unlink()
    with pytest.raises(
        InputError, match=r"no trial has ended with a result; wait for the first, or continue it: chex-s"
    ):
        load_verdict(folder)
