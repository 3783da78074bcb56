from pathlib import Path

import pytest

from chex.config import RunConfig, apply_overrides, to_yaml, validate
from chex.errors import InputError
from search.analysis.selection import best_report
from search.config.search_config import SearchConfig
from search.engine.confirm import best_configs, confirmation_search, confirmation_summary, resolved_base
from search.trials.layout import BASE
from tests.drawn_trials import contender, kept


def test_the_best_configs_come_from_ended_trials_and_count_once_for_all_seeds() -> None:
    rows = [
        contender(1, 0.7),
        contender(2, 0.9, seed=1, **{"model.dropout": 0.1}),
        contender(3, 0.8, seed=2, **{"model.dropout": 0.1}),
        contender(4, 0.95, "running"),
        contender(5, 0.96, "failed"),
        contender(6, 0.75, "pruned"),
    ]
    assert [each.number for each in best_configs(rows, 3)] == [2, 6, 1]
    with pytest.raises(
        InputError, match=r"--top 4: the search has 3 different configs with a result; give at most that"
    ):
        best_configs(rows, 4)


def test_every_config_gets_the_same_unused_seeds() -> None:
    search = SearchConfig(
        base=RunConfig(seed=3),
        space={"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "seed": {"int": [0, 9]}},
        initial_points=({"optimizer.lr": 0.05},),
    )
    chosen = [contender(1, 0.9, seed=7, **{"optimizer.lr": 0.01}), contender(2, 0.8, seed=2, **{"optimizer.lr": 0.02})]
    confirmation = confirmation_search(search, search.base, chosen, 2)
    assert confirmation.initial_params() == [
        {"optimizer.lr": lr, "seed": seed} for seed in (8, 9) for lr in (0.01, 0.02)
    ]
    assert confirmation.budget.trials == 4
    assert confirmation.pruning is None


def test_a_confirmation_is_the_same_on_every_machine_and_works_with_one_seed(tmp_path: Path) -> None:
    search = SearchConfig(
        base=RunConfig(), space={"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, data_uri="gs://images/x"
    )
    resolved = apply_overrides(search.base.model_dump(mode="json"), {"data.root": "/of/the/head", "batches.size": 16})
    (tmp_path / BASE).write_text(to_yaml(validate(RunConfig, resolved, "base")))
    base = resolved_base(search, tmp_path)
    assert (base.data.root, base.batches.size) == (None, 16)
    confirmation = confirmation_search(search, base, [contender(1, 0.9, **{"optimizer.lr": 0.01})], 1)
    assert confirmation.initial_params() == [{"optimizer.lr": 0.01, "seed": 1}]


def test_a_trial_is_scored_at_its_best_report() -> None:
    rows = [contender(1, 0.9), contender(2, 0.8)]
    predictions = kept(rows)
    assert [best_report(each, predictions.trials, predictions.images) for each in rows] == [0, 2]


def test_the_text_names_the_differences_and_the_failed_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = [contender(4, 0.9, **{"optimizer.lr": 0.01}), contender(9, 0.88, **{"optimizer.lr": 0.02})]
    runs = [
        contender(number, 0.8, state, seed=seed, **each.params)
        for number, (each, seed, state) in enumerate(
            [
                (chosen[0], 1, "finished"),
                (chosen[1], 1, "finished"),
                (chosen[0], 2, "finished"),
                (chosen[1], 2, "failed"),
            ],
            start=1,
        )
    ]
    monkeypatch.setattr("search.engine.confirm.load_predictions", lambda folder: kept(runs))
    text = confirmation_summary(chosen, runs, tmp_path, 0, 2)
    assert "Each config was trained again on the same 1 new seeds" in text
    assert text.splitlines()[4].startswith("4           .900")
    assert "Nothing shows that trial 4 differs from 9: the cheapest of them may be as good." in text
    assert "1 runs failed" in text
    assert "their seeds are left out." in text
    none = confirmation_summary(chosen, [contender(1, 0.8, "failed", seed=1, **chosen[0].params)], tmp_path, 0, 1)
    assert none.startswith("No seed has a finished run of every config (2 runs failed);")
