from search.report.parameter_charts import parallel_coordinates, slice_plots
from tests.drawn_trials import CHART_DATA, SPACE, traces


def test_a_line_passes_below_the_axis_of_a_parameter_that_its_trial_lacks() -> None:
    plot = parallel_coordinates(CHART_DATA)
    series = traces(plot.figure)
    assert set(series) == {"failed (1)", "others (2)", "may be the best (1)", "winner (1)"}
    heights = series["winner (1)"]["y"]
    assert heights[1] < 0
    assert heights[2:5] == [1.0, 1.0, 1.0]
    assert series["failed (1)"]["y"][4] is None
    assert "(none)" in [note.text for note in plot.figure.layout.annotations]
    assert "among the 2 trials that may be the best" in plot.caption


def test_parameters_that_do_not_vary_have_no_slice_plot() -> None:
    plots = slice_plots(CHART_DATA)
    assert [plot.alt for plot in plots] == [f"AUROC over {path}" for path in list(SPACE)[:4]]
    assert plots[0].caption == "best finished: <b>ones</b> .850, zeros .800."
    assert plots[3].caption == "the best finished trial has 4."
    positions = [x for trace in plots[0].figure.data for x in trace.x]
    assert {round(position) for position in positions} == {0, 1}
