from search.knob_charts import parallel, slices
from tests.drawn_trials import DRAWN, SPACE, traces


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
