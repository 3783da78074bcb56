from typing import Any

import numpy as np
import pytest

from chex.config import RunConfig, apply_overrides
from chex.statistics.metrics import METRIC
from search.analysis.trial_terms import Term, patient_covariance, stage_aurocs, trial_terms
from search.space.space import build_space
from search.trials.trial import State, TrialRecord


def base() -> dict[str, Any]:
    return apply_overrides(RunConfig().model_dump(mode="json"), {"data.observations": ["Pneumonia", "Edema"]})


def trial(number: int, state: State, *means: float) -> TrialRecord:
    best = np.maximum.accumulate(means).tolist()
    reports = tuple(
        {METRIC: highest, "auroc": mean, "auroc/Edema": mean + 0.1, "auroc/Pneumonia": mean - 0.1}
        for mean, highest in zip(means, best, strict=True)
    )
    return TrialRecord(number, state, {}, reports)


def test_stages_are_the_reports_after_which_trials_ended() -> None:
    trials = [trial(1, "finished", 0.6, 0.7, 0.8, 0.75), trial(2, "pruned", 0.5, 0.6)]
    found = stage_aurocs(trials, ["Edema", "Pneumonia"])
    assert found.shape == (2, 2, 2)
    assert found[0] == pytest.approx(np.array([[0.8, 0.6], [0.9, 0.7]]))  # the last report kept the third's weights
    assert found[1, 0] == pytest.approx(np.array([0.7, 0.5]))
    assert np.isnan(found[1, 1]).all()


def test_terms_are_values_that_occur_and_places_in_ranges() -> None:
    raw = {
        "policy.Edema": {"choice": ["zeros", "ones", "smoothed_ones"]},
        "policy.Edema.low": {"uniform": [0.5, 0.8], "condition": {"policy.Edema": "smoothed_ones"}},
        "model.backbone": {"choice": ["densenet121", "resnet50"]},
        "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
        "schedule.epochs": {"int": [1, 3]},
    }
    params = [
        {"policy.Edema": "zeros", "model.backbone": "resnet50", "optimizer.lr": 1e-4, "schedule.epochs": 1},
        {"policy.Edema": "ones", "model.backbone": "resnet50", "optimizer.lr": 1e-2, "schedule.epochs": 3},
        {"policy.Edema": "ones", "model.backbone": "resnet50", "optimizer.lr": 1e-3, "schedule.epochs": 3},
    ]
    terms = trial_terms(params, build_space(raw, base()), ["Pneumonia", "Edema"])
    assert [(term.param, term.value, term.observation) for term in terms] == [
        ("policy.Edema", "zeros", 1),
        ("policy.Edema", "ones", 1),
        ("optimizer.lr", "", None),
        ("optimizer.lr", "squared", None),
        ("schedule.epochs", "", None),
    ]
    assert terms[1].column.tolist() == [0, 1, 1]
    assert terms[2].column == pytest.approx(np.array([-0.5, 0.5, 0]))
    assert all(term.column.sum() == pytest.approx(0) for term in terms if not term.is_effect)


def test_a_number_that_some_trials_lack_is_zero_there() -> None:
    raw = {
        "policy.Edema": {"choice": ["zeros", "smoothed_ones"]},
        "policy.Edema.low": {"uniform": [0.5, 0.8], "condition": {"policy.Edema": "smoothed_ones"}},
    }
    params = [{"policy.Edema": "smoothed_ones", "policy.Edema.low": low} for low in (0.5, 0.8)]
    space = build_space(raw, base())
    terms = trial_terms([*params, {"policy.Edema": "zeros"}], space, ["Edema"])
    assert terms[-1].param == "policy.Edema.low"
    assert terms[-1].column.tolist() == [-0.5, 0.5, 0]


def test_only_what_trials_of_a_value_have_in_common_counts_as_the_patients_part() -> None:
    rng, ones = np.random.default_rng(0), np.arange(40) % 2 == 0
    terms = [Term("policy.Edema", str(value), 0, (ones == value).astype(float)) for value in (False, True)]
    alone = [rng.normal(0, 0.001, (500, 40))]
    common = [alone[0] + np.outer(rng.normal(0, 0.001, 500), ones)]
    contrast = np.array([0, -1, 1])
    variances = [contrast @ patient_covariance(terms, np.ones(1), each) @ contrast for each in (alone, common)]
    assert variances[0] < 0.1 * 500 * 0.001**2
    assert variances[1] == pytest.approx(500 * 0.001**2, rel=0.25)
