import numpy as np
import pytest

from chex.statistics.metrics import METRIC
from search.analysis.effect_draws import TermDraws
from search.analysis.strategies import COLUMNS, Strategies, config_draws, credible_set, search_strategies, strategies
from search.analysis.trial_terms import Term
from search.trials.trial import TrialRecord

POLICIES = ("zeros", "ones", "ignore")
NONE = np.zeros(1)
TERMS = (
    *(Term("policy.Edema", policy, 0, NONE) for policy in POLICIES),
    *(Term("model.backbone", name, None, NONE) for name in ("densenet121", "resnet50")),
    Term("optimizer.lr", "", None, NONE),
    Term("optimizer.lr", "squared", None, NONE),
)


def table(means: list[float], spread: float = 0.001, base: str = "zeros") -> Strategies:
    drawn = np.random.default_rng(0).normal(means, spread, (2000, len(TERMS)))
    trials = [
        TrialRecord(number + 1, "pruned" if number % 2 else "finished", {"policy.Edema": POLICIES[number % 3]})
        for number in range(7)
    ]
    return strategies(TermDraws(TERMS, drawn, drawn[:, :1]), trials, ["Edema"], {"policy.Edema": base})


def test_a_value_is_compared_with_the_base_run_s_and_with_the_mean_of_the_others() -> None:
    found = table([0.0, 0.03, 0.01, 0, 0, 0, 0]).of("policy.Edema")
    assert [each.value for each in found] == list(POLICIES)
    assert [each.effect.value for each in found] == pytest.approx([0, 0.03, 0.01], abs=0.001)
    assert [each.over_others.value for each in found] == pytest.approx([-0.02, 0.025, -0.005], abs=0.001)
    assert {(each.outcome, each.reference) for each in found} == {("Edema", "zeros")}
    assert [(each.trials, each.finished) for each in found] == [(3, 2), (2, 1), (2, 1)]


def test_without_the_base_run_s_value_the_most_frequent_one_is_the_reference() -> None:
    assert {each.reference for each in table([0] * 7, base="multiclass").of("policy.Edema")} == {"zeros"}
    assert {each.outcome for each in table([0] * 7).of("model.backbone")} == {"mean"}


def test_what_is_clear_is_claimed_and_what_is_not_is_not() -> None:
    found = table([0.0, 0.03, 0.0, 0, 0.0, 0.02, 0])
    assert [each.claim for each in found.of("policy.Edema")] == ["worse", "better", "worse"]
    assert [each.claim for each in found.of("model.backbone")] == ["", ""]
    assert [(each.param, each.claim) for each in found.slopes] == [("optimizer.lr", "better")]


def test_all_claims_hold_together() -> None:
    spread = 0.03 / 2.1  # each difference alone excludes 0 with 98 %, the three of them together do not with 95 %
    found = table([0.0, 0.0, 0.0, 0.0, 0.03, 0.03, 0], spread)
    assert [each.claim for each in found.slopes] == ["better"]
    assert not any(each.claim for each in found.values)


def test_the_values_that_may_be_the_best_hold_it_with_95_percent() -> None:
    assert credible_set(np.array([0.5, 0.02, 0.46, 0.02])).tolist() == [True, False, True, False]
    assert credible_set(np.array([0.02, 0.98])).tolist() == [False, True]
    assert [each.may_be_best for each in table([0.0, 0.03, 0.0, 0, 0, 0, 0]).of("policy.Edema")] == [False, True, False]


def test_few_trials_have_no_table() -> None:
    found = search_strategies([TrialRecord(1, "finished", {}, ({METRIC: 0.7},))], {}, ["Edema"], {}, [], 0)
    assert found == Strategies(final_aurocs={1: 0.7})


def test_the_csv_has_a_row_for_each_value_and_each_number() -> None:
    written = table([0.0, 0.03, 0.0, 0, 0.0, 0.02, 0]).table()
    assert tuple(written.columns) == COLUMNS
    assert written["param"].tolist() == ["policy.Edema"] * 3 + ["model.backbone"] * 2 + ["optimizer.lr"]
    assert written["value"].isna().tolist() == [False] * 5 + [True]
    assert tuple(Strategies().table().columns) == COLUMNS


def test_a_config_has_the_mean_over_observations_of_its_effects() -> None:
    terms = (
        Term("policy.Edema", "ones", 0, np.array([1.0, 0.0])),
        Term("model.backbone", "resnet50", None, np.array([1.0, 1.0])),
    )
    draws = TermDraws(terms, np.array([[0.04, 0.01]]), np.array([[0.8, 0.7]]))
    assert config_draws(draws) == pytest.approx(np.array([[0.78, 0.76]]))
