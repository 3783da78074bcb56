"""Five trials to draw: finished, stopped, failed, the winner and one that has not ended; some texts are markup."""

import json
from typing import Any

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.metrics import METRIC
from search.chart_style import Drawn
from search.ledger import State, TrialRow
from search.space import Knob, Space

SPACE: Space = {
    "policy.default": Knob(CategoricalDistribution(["zeros", "<b>ones</b>"])),
    "optimizer.momentum": Knob(FloatDistribution(0.5, 0.9), {"policy.default": ("zeros",)}),
    "optimizer.lr": Knob(FloatDistribution(1e-4, 1e-2, log=True)),
    "schedule.epochs": Knob(IntDistribution(1, 4)),
    "model.dropout": Knob(CategoricalDistribution([0.5])),
}


def row(number: int, state: State, value: float, percent: int = 100, **knobs: Any) -> TrialRow:
    given = {"policy.default": "zeros", "optimizer.momentum": 0.7, "optimizer.lr": 1e-3, "schedule.epochs": 2} | knobs
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
    return TrialRow(number, state, given, reports, "<i>boom</i>" if state == "failed" else "")


WINNING = {"policy.default": "<b>ones</b>", "optimizer.lr": 1e-2, "schedule.epochs": 4}
ROWS = [
    row(1, "finished", 0.8),
    row(2, "stopped", 0.7, percent=50),
    row(3, "failed", 0.9),
    TrialRow(4, "finished", WINNING, row(4, "finished", 0.85).reports),
    row(5, "waiting", 0.6, percent=50),
]
DRAWN = Drawn(ROWS, winner=4, tied=frozenset({1, 4}), space=SPACE)
ORDER = [2, 1, 4, 3]


def traces(figure: Any) -> dict[str, Any]:
    return {trace["name"]: trace for trace in json.loads(figure.to_json())["data"]}
