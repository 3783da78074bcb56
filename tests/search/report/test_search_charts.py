import pytest

from chex.statistics.intervals import Estimate
from search.analysis.importance import Importances
from search.optimize.pruning import PruningConfig
from search.report.chart_style import STATE_MARKERS
from search.report.parameter_charts import parallel_coordinates, slice_plots
from search.report.search_charts import (
    auroc_over_images_plot,
    curves_plot,
    images_spent_at_end,
    importances_plot,
)
from search.report.strategy_charts import value_plots
from tests.drawn_strategies import drawn_strategies
from tests.drawn_trials import CHART_DATA, ORDER, ROWS, traces

NONE = Estimate(float("nan"), float("nan"), float("nan"))


def test_images_spent_at_a_trial_s_end_include_earlier_trials() -> None:
    assert images_spent_at_end(ROWS, ORDER) == {2: 200, 1: 400, 4: 600, 3: 800}


def test_each_ended_trial_has_a_marker_that_shows_how_it_ended() -> None:
    plot = auroc_over_images_plot(CHART_DATA, ORDER, Estimate(0.82, 0.75, 0.88))
    series = traces(plot.figure)
    assert {name: (trace["x"], trace["y"]) for name, trace in series.items() if trace["mode"] == "markers"} == {
        "finished": ([400], [0.8]),
        "pruned": ([200], [0.7]),
        "failed": ([800], [pytest.approx(0.68)]),
        "winner, trial 4": ([600], [0.85]),
        "winner, expected on other patients like these": ([pytest.approx(840)], [0.82]),
    }
    shapes = {trace["marker"]["symbol"] for trace in series.values() if trace["mode"] == "markers"}
    assert len(shapes) == 5
    assert series["best so far"]["x"] == [200, 400, 600, 800]
    assert series["best so far"]["y"] == [0.7, 0.8, 0.85, 0.85]
    assert plot.caption == "the winner, trial 4, was the last one with a result: more trials may find a better one."


def test_the_caption_says_that_the_winner_was_found_early() -> None:
    described = auroc_over_images_plot(CHART_DATA, [4, 1, 2, 3], Estimate(0.82, 0.75, 0.88)).caption
    assert described == (
        "the winner, trial 4, ended when 200 of 800 images (25.0 %) had been used; the 2 trials that ended "
        "later were not better."
    )


def test_the_end_of_a_pruned_trial_has_a_marker() -> None:
    plot = curves_plot(CHART_DATA, PruningConfig())
    series = traces(plot.figure)
    assert series["pruned (1)"]["marker"]["symbol"] == STATE_MARKERS["pruned"][0]
    assert series["pruned (1)"]["x"] == [25, 50, None]
    assert plot.caption == (
        "1 of 5 trials were pruned, at 50 % of their schedules; the best of them, trial 2, had reached .700."
    )
    by_images = traces(curves_plot(CHART_DATA, PruningConfig(time_attr="images_seen", grace_period=100)).figure)
    assert by_images["pruned (1)"]["x"] == [100, 200, None]


def test_the_most_important_parameter_is_named() -> None:
    series = Importances({"optimizer.lr": 0.7, "model.dropout": 0.3}, {"model.dropout": 0.9, "optimizer.lr": 0.1}, "")
    assert importances_plot(series).caption == (
        "optimizer.lr explains the largest share of the differences between trials, 70.0 %; model.dropout matters "
        "most for being among the best tenth."
    )


def test_no_text_of_a_trial_or_a_value_is_html_to_plotly() -> None:
    plots = [
        auroc_over_images_plot(CHART_DATA, ORDER, NONE),
        parallel_coordinates(CHART_DATA),
        curves_plot(CHART_DATA, None),
        *slice_plots(CHART_DATA),
    ]
    plots += value_plots(drawn_strategies("policy.default", "<b>ones</b>", "zeros")).values()
    chart_data = "".join(plot.figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">") for plot in plots)
    assert "<b>ones" not in chart_data
    assert "<i>boom" not in chart_data
    assert "&lt;b&gt;ones" in chart_data
    assert "&lt;i&gt;boom" in chart_data
