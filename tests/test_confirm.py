from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chex.config import RunConfig, dump, override, validated
from chex.errors import InputError
from chex.metrics import METRIC
from search.confirm import best_configs, confirming, settled_base, told
from search.ledger import State, TrialRow
from search.predictions import Predictions
from search.search_config import SearchConfig
from search.selection import kept_report
from search.study import BASE


def row(number: int, value: float, state: State = "finished", **knobs: Any) -> TrialRow:
    reports = tuple(
        {"auroc": auroc, METRIC: best, "images_seen": 8 * place, "percent": 50 * place}
        for place, (auroc, best) in enumerate([(value, value), (value - 0.1, value)], start=1)
    )
    return TrialRow(number, state, knobs or {"optimizer.lr": number / 1000}, reports)


def kept(rows: list[TrialRow], units: int = 40) -> Predictions:
    """Two reports a trial, the first of them better."""
    rng = np.random.default_rng(0)
    truth = (np.arange(units) % 3 == 0).astype(np.float32)[:, None]
    given = (
        rng.random((2 * len(rows), units, 1)).astype(np.float32) + truth * np.tile([0.6, 0.2], len(rows))[:, None, None]
    )
    places = np.repeat([one.number for one in rows], 2)
    names = np.arange(units).astype(str)
    return Predictions(("Edema",), names, names, truth, places, np.tile([8, 16], len(rows)), given)


def test_the_best_configs_are_of_ended_trials_and_each_counts_once_whatever_its_seed() -> None:
    rows = [
        row(1, 0.7),
        row(2, 0.9, seed=1, **{"model.dropout": 0.1}),
        row(3, 0.8, seed=2, **{"model.dropout": 0.1}),
        row(4, 0.95, "running"),
        row(5, 0.96, "failed"),
        row(6, 0.75, "stopped"),
    ]
    assert [each.number for each in best_configs(rows, 3)] == [2, 6, 1]
    with pytest.raises(InputError, match=r"--top 4: the search has 3 different configs with a result; give at most so"):
        best_configs(rows, 4)


def test_every_config_gets_the_same_seeds_that_no_trial_had() -> None:
    search = SearchConfig(
        base=RunConfig(seed=3),
        space={"optimizer.lr": {"loguniform": [1e-4, 1e-1]}, "seed": {"int": [0, 9]}},
        points=({"optimizer.lr": 0.05},),
    )
    chosen = [row(1, 0.9, seed=7, **{"optimizer.lr": 0.01}), row(2, 0.8, seed=2, **{"optimizer.lr": 0.02})]
    again = confirming(search, search.base, chosen, 2)
    assert again.first_points() == [{"optimizer.lr": lr, "seed": seed} for seed in (8, 9) for lr in (0.01, 0.02)]
    assert again.budget.trials == 4
    assert again.stopping is None


def test_what_is_confirmed_is_the_same_on_every_machine_and_one_seed_is_enough(tmp_path: Path) -> None:
    search = SearchConfig(base=RunConfig(), space={"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}, source="gs://films/x")
    settled = override(search.base.model_dump(mode="json"), {"data.root": "/of/the/head", "batches.size": 16})
    (tmp_path / BASE).write_text(dump(validated(RunConfig, settled, "base")))
    base = settled_base(search, tmp_path)
    assert (base.data.root, base.batches.size) == (None, 16)
    again = confirming(search, base, [row(1, 0.9, **{"optimizer.lr": 0.01})], 1)
    assert again.first_points() == [{"optimizer.lr": 0.01, "seed": 1}]


def test_a_trial_keeps_the_weights_of_its_best_report() -> None:
    rows = [row(1, 0.9), row(2, 0.8)]
    there = kept(rows)
    assert [kept_report(each, there.trials, there.images) for each in rows] == [0, 2]


def test_the_text_says_what_differs_and_what_was_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = [row(4, 0.9, **{"optimizer.lr": 0.01}), row(9, 0.88, **{"optimizer.lr": 0.02})]
    runs = [
        row(number, 0.8, state, seed=seed, **each.knobs)
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
    monkeypatch.setattr("search.confirm.load_predictions", lambda folder: kept(runs))
    text = told(chosen, runs, tmp_path, 0, 2)
    assert "Each config trained again on the same 1 new seeds" in text
    assert text.splitlines()[4].startswith("4           .900")
    assert "Nothing shows that trial 4 differs from 9: the cheapest of them may do as well." in text
    assert "1 runs failed" in text
    assert "their seeds are left out." in text
    none = told(chosen, [row(1, 0.8, "failed", seed=1, **chosen[0].knobs)], tmp_path, 0, 1)
    assert none.startswith("No seed was trained to its end with every config (2 runs failed);")
