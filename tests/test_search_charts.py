import itertools
from typing import Any

import pytest

from chex.intervals import Estimate
from search.chart_style import MARKS
from search.importance import Importances
from search.knob_charts import parallel, slices
from search.rivals import Rivalry
from search.search_charts import (
    curves_plot,
    found_over_images,
    importances_plot,
    rival_plots,
    rivals_in_words,
    spent_at_end,
)
from search.stopping import Stopping
from tests.drawn_trials import DRAWN, ORDER, ROWS, traces

NONE = Estimate(float("nan"), float("nan"), float("nan"))


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
        "winner, expected on other patients like these": ([pytest.approx(840)], [0.82]),
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
    ((known, _),) = rival_plots([rivalry("<a>", "b", Estimate(-0.02, -0.03, -0.01), "different")], {})
    assert known.figure.layout.yaxis.ticktext == ("<b>&lt;a&gt; \N{MINUS SIGN} b<br>3 and 4 finished</b>",)
    assert set(traces(known.figure)) == {"average trials", "best trials"}
    assert traces(known.figure)["average trials"]["error_x"]
    assert "error_x" not in traces(known.figure)["best trials"]  # nothing that would look like a test
    ((unknown, _),) = rival_plots([rivalry("a", "b", NONE, "untested")], {})
    assert set(traces(unknown.figure)) == {"best trials"}


def test_of_many_pairs_a_first_look_has_those_of_the_chosen_value_and_those_that_differ() -> None:
    values = ["forest", "ignore", "multiclass", "ones", "zeros"]
    pairs = [rivalry(a, b, Estimate(0.01, -0.03, 0.04), "tied") for a, b in itertools.combinations(values, 2)]
    ((few, everything),) = rival_plots(pairs, {"policy.default": "ones"})
    assert everything is None
    assert len(few.figure.layout.yaxis.ticktext) == 10
    pairs.append(rivalry("forest", "zzz", Estimate(0.02, 0.01, 0.03), "different"))
    ((first, everything),) = rival_plots(pairs, {"policy.default": "ones"})
    told = [text.partition("<br>")[0] for text in first.figure.layout.yaxis.ticktext]
    named = ["ones \N{MINUS SIGN} forest", "ones \N{MINUS SIGN} ignore", "ones \N{MINUS SIGN} multiclass"]
    assert told == [*named, "ones \N{MINUS SIGN} zeros", "<b>forest \N{MINUS SIGN} zzz"]
    assert traces(first.figure)["average trials"]["x"] == pytest.approx([-0.01, -0.01, -0.01, 0.01, 0.02])
    assert everything
    assert len(everything.figure.layout.yaxis.ticktext) == 11
    assert first.reading == everything.reading


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
        "optimizer.lr explains the largest share of the differences between trials, 70.0 %; model.dropout matters "
        "most for being among the best tenth."
    )


def test_no_text_of_a_trial_or_a_value_is_markup_to_plotly() -> None:
    plots = [found_over_images(DRAWN, ORDER, NONE), parallel(DRAWN), curves_plot(DRAWN, None), *slices(DRAWN)]
    plots += [plot for plot, _ in rival_plots([rivalry("<b>ones</b>", "zeros", NONE, "untested")], {})]
    drawn = "".join(plot.figure.to_json().replace("\\u003c", "<").replace("\\u003e", ">") for plot in plots)
    assert "<b>ones" not in drawn
    assert "<i>boom" not in drawn
    assert "&lt;b&gt;ones" in drawn
    assert "&lt;i&gt;boom" in drawn
