import json
from typing import Any

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from chex.figures import Estimate
from chex.metrics import METRIC
from search.importance import Importances
from search.ledger import State, TrialRow
from search.rivals import Rivalry
from search.search_charts import (
    MARKS,
    Drawn,
    curves_plot,
    found_over_images,
    importances_plot,
    interval,
    parallel,
    rival_plots,
    rivals_in_words,
    signed,
    slices,
    spent_at_end,
)
from search.space import Knob, Space
from search.stopping import Stopping

SPACE: Space = {
    "policy.default": Knob(CategoricalDistribution(["zeros", "<b>ones</b>"])),
    "optimizer.momentum": Knob(FloatDistribution(0.5, 0.9), {"policy.default": ("zeros",)}),
    "optimizer.lr": Knob(FloatDistribution(1e-4, 1e-2, log=True)),
    "schedule.epochs": Knob(IntDistribution(1, 4)),
    "model.dropout": Knob(CategoricalDistribution([0.5])),
}
NONE = Estimate(float("nan"), float("nan"), float("nan"))


def row(number: int, state: State, value: float, percent: int = 100, **knobs: Any) -> TrialRow:
    given = {"policy.default": "zeros", "optimizer.momentum": 0.7, "optimizer.lr": 1e-3, "schedule.epochs": 2} | knobs
    reports = tuple(
        {"percent": percent // 2 * step, "images_seen": 100 * step, "auroc": value, METRIC: value} for step in (1, 2)
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


def rivalry(first: str, second: str, average: Estimate, verdict: Any) -> Rivalry:
    best = Estimate(0.01, -0.1, 0.1)
    return Rivalry("policy.default", first, second, (3, 4), "mean", best, average, 0.95, verdict)


def test_what_was_spent_when_a_trial_ended_counts_those_that_ended_before() -> None:
    assert spent_at_end(ROWS, ORDER) == {2: 200, 1: 400, 4: 600, 3: 800}


def test_each_ended_trial_has_a_mark_whose_shape_tells_how_it_ended() -> None:
    plot = found_over_images(DRAWN, ORDER, Estimate(0.82, 0.75, 0.88))
    found = traces(plot.figure)
    assert {name: (trace["x"], trace["y"]) for name, trace in found.items() if trace["mode"] == "markers"} == {
        "finished": ([400], [0.8]),
        "stopped": ([200], [0.7]),
        "failed": ([800], [pytest.approx(0.68)]),
        "winner, trial 4": ([600], [0.85]),
        "winner, expected on new patients": ([pytest.approx(840)], [0.82]),
    }
    shapes = {trace["marker"]["symbol"] for trace in found.values() if trace["mode"] == "markers"}
    assert len(shapes) == 5
    assert found["best so far"]["x"] == [200, 400, 600, 800]
    assert found["best so far"]["y"] == [0.7, 0.8, 0.85, 0.85]
    assert plot.reading == "the winner, trial 4, was the last to end with a result: more trials may find more."


def test_a_winner_that_was_found_early_is_said_to_be() -> None:
    told = found_over_images(DRAWN, [4, 1, 2, 3], Estimate(0.82, 0.75, 0.88)).reading
    assert told == (
        "the winner, trial 4, ended when 200 of 800 images (25.0 %) were spent; 2 trials that ended later brought "
        "nothing better."
    )


def test_values_that_differ_are_told_with_the_better_first() -> None:
    pairs = [
        rivalry("ones", "zeros", Estimate(-0.02, -0.03, -0.01), "different"),
        rivalry("ignore", "zeros", Estimate(0.01, -0.03, 0.04), "tied"),
        rivalry("ignore", "ones", NONE, "untested"),
    ]
    assert rivals_in_words(pairs) == (
        "zeros is better than ones by .020 (.010 to .030); ignore and zeros are not told apart; "
        "ignore and ones have too few finished trials to compare averages."
    )
    assert rivals_in_words(pairs[1:2] * 9) == "the data tell no two values apart."
    assert "9 other pairs are not told apart" in rivals_in_words([pairs[0], *pairs[1:2] * 9])


def test_a_pair_that_differs_is_set_in_bold_and_averages_that_nobody_knows_are_left_out() -> None:
    (known,) = rival_plots([rivalry("<a>", "b", Estimate(-0.02, -0.03, -0.01), "different")])
    assert known.figure.layout.yaxis.ticktext == ("<b>&lt;a&gt; \N{MINUS SIGN} b<br>3 and 4 finished</b>",)
    assert set(traces(known.figure)) == {"average trials", "best trials"}
    (unknown,) = rival_plots([rivalry("a", "b", NONE, "untested")])
    assert set(traces(unknown.figure)) == {"best trials"}


def test_a_line_passes_below_the_axis_of_a_knob_that_its_trial_lacks() -> None:
    plot = parallel(DRAWN)
    found = traces(plot.figure)
    assert set(found) == {"failed (1)", "others (2)", "not told from the best (1)", "winner (1)"}
    heights = found["winner (1)"]["y"]
    assert heights[1] < 0
    assert heights[2:5] == [1.0, 1.0, 1.0]
    assert found["failed (1)"]["y"][4] is None
    assert "(none)" in [note.text for note in plot.figure.layout.annotations]
    assert "among the 2 trials that are not told from the best" in plot.reading


def test_a_picture_a_knob_leaves_out_those_that_do_not_vary() -> None:
    plots = slices(DRAWN)
    assert [plot.alt for plot in plots] == [f"AUROC over {path}" for path in list(SPACE)[:4]]
    assert plots[0].reading == "best finished: <b>ones</b> .850, zeros .800."
    assert plots[3].reading == "the best finished trial has 4."
    places = [x for trace in plots[0].figure.data for x in trace.x]
    assert {round(place) for place in places} == {0, 1}


def test_where_a_stopped_trial_ends_is_marked() -> None:
    plot = curves_plot(DRAWN, Stopping())
    found = traces(plot.figure)
    assert found["stopped (1)"]["marker"]["symbol"] == MARKS["stopped"][0]
    assert found["stopped (1)"]["x"] == [25, 50, None]
    assert plot.reading == (
        "1 of 5 trials were stopped, at 50 % of their schedules; the best of them, trial 2, had reached .700."
    )
    by_images = traces(curves_plot(DRAWN, Stopping(unit="images", grace=100)).figure)
    assert by_images["stopped (1)"]["x"] == [100, 200, None]


def test_what_matters_most_is_named() -> None:
    found = Importances({"optimizer.lr": 0.7, "model.dropout": 0.3}, {"model.dropout": 0.9, "optimizer.lr": 0.1}, "")
    assert importances_plot(found).reading == (
        "optimizer.lr explains most of the differences between trials, 70.0 %; model.dropout matters most for being "
        "among the best tenth."
    )


def test_no_text_of_a_trial_or_a_value_is_markup_to_plotly() -> None:
    plots = [found_over_images(DRAWN, ORDER, NONE), parallel(DRAWN), curves_plot(DRAWN, None), *slices(DRAWN)]
    plots += rival_plots([rivalry("<b>ones</b>", "zeros", NONE, "untested")])
    drawn = "".join(plot.figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">") for plot in plots)
    assert "<b>ones" not in drawn
    assert "<i>boom" not in drawn
    assert "&lt;b&gt;ones" in drawn
    assert "&lt;i&gt;boom" in drawn


def test_differences_have_their_sign() -> None:
    assert signed(Estimate(0.02, -0.01, 0.05)) == "+.020 (\N{MINUS SIGN}.010 to .050)"
    assert interval(Estimate(0.5, 0.25, 0.75)) == ".500 (.250 to .750)"
    assert signed(NONE) == interval(Estimate(np.nan, 0, 1)) == "-"
