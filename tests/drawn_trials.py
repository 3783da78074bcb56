"""Five trials to draw: finished, stopped, failed, the winner and one that has not ended; some texts are markup."""

import json
from typing import Any

import numpy as np
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.statistics.metrics import METRIC
from search.report.chart_style import ChartData
from search.space.space import Param, Space
from search.trials.predictions import Predictions
from search.trials.trial import State, TrialRecord

SPACE: Space = {
    "policy.default": Param(CategoricalDistribution(["zeros", "<b>ones</b>"])),
    "optimizer.momentum": Param(FloatDistribution(0.5, 0.9), {"policy.default": ("zeros",)}),
    "optimizer.lr": Param(FloatDistribution(1e-4, 1e-2, log=True)),
    "schedule.epochs": Param(IntDistribution(1, 4)),
    "model.dropout": Param(CategoricalDistribution([0.5])),
}


def row(number: int, state: State, value: float, percent: int = 100, **params: Any) -> TrialRecord:
    given = {"policy.default": "zeros", "optimizer.momentum": 0.7, "optimizer.lr": 1e-3, "schedule.epochs": 2} | params
    reports = tuple(
        {
            "step": percent // 2 * step,
            "steps": 100,
            "percent": percent // 2 * step,
            "images_seen": 100 * step,
            "auroc": value,
            METRIC: value,
        }
        for step in (1, 2)
    )
    return TrialRecord(number, state, given, reports, "<i>boom</i>" if state == "failed" else "")


WINNING = {"policy.default": "<b>ones</b>", "optimizer.lr": 1e-2, "schedule.epochs": 4}
ROWS = [
    row(1, "finished", 0.8),
    row(2, "pruned", 0.7, percent=50),
    row(3, "failed", 0.9),
    TrialRecord(4, "finished", WINNING, row(4, "finished", 0.85).reports),
    row(5, "pending", 0.6, percent=50),
]
CHART_DATA = ChartData(ROWS, winner=4, tied=frozenset({1, 4}), space=SPACE)
ORDER = [2, 1, 4, 3]


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in json.loads(figure.to_json())["data"]}


def contender(number: int, value: float, state: State = "finished", **params: Any) -> TrialRecord:
    reports = tuple(
        {"auroc": auroc, METRIC: best, "images_seen": 8 * position, "percent": 50 * position}
        for position, (auroc, best) in enumerate([(value, value), (value - 0.1, value)], start=1)
    )
    return TrialRecord(number, state, params or {"optimizer.lr": number / 1000}, reports)


def kept(rows: list[TrialRecord], units: int = 40) -> Predictions:
    """Two reports a trial, the first of them better."""
    rng = np.random.default_rng(0)
    truth = (np.arange(units) % 3 == 0).astype(np.float32)[:, None]
    given = (
        rng.random((2 * len(rows), units, 1)).astype(np.float32) + truth * np.tile([0.6, 0.2], len(rows))[:, None, None]
    )
    trials = np.repeat([one.number for one in rows], 2)
    names = np.arange(units).astype(str)
    return Predictions(("Edema",), names, names, truth, trials, np.tile([8, 16], len(rows)), given)
