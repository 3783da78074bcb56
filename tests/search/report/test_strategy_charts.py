import json

import pytest

from search.analysis.strategies import Strategies
from search.report.strategy_charts import MAY_BE_BEST, describe_values, policy_heatmap, value_plots
from tests.drawn_strategies import drawn_strategies, joined

EDEMA = drawn_strategies("policy.Edema", "ones", "ignore", "zeros", better="ones")
EFFUSION = drawn_strategies("policy.Pleural Effusion", "ones", "zeros")
BACKBONES = drawn_strategies("model.backbone", "<resnet50>", "densenet121", better="<resnet50>")


def test_the_heat_map_has_a_column_for_each_observation_and_a_row_for_each_policy() -> None:
    plot = policy_heatmap(joined(EDEMA, EFFUSION, BACKBONES))
    assert plot
    (cells,) = plot.figure.data
    assert list(cells.x) == ["Edema", "Pleural<br>Effusion"]
    assert list(cells.y) == ["ones", "ignore", "zeros"]
    assert [list(row) for row in cells.text] == [
        [f"<b>+.030</b> {MAY_BE_BEST}", f".000 {MAY_BE_BEST}"],
        [".000", ""],
        ["0", f"0 {MAY_BE_BEST}"],
    ]
    assert cells.hovertext[0][0] == (
        "policy.Edema ones<br>+.030 (.010 to .050) over zeros<br>+.030 (.020 to .040) over the mean of the others<br>"
        "the best with a probability of .970<br>12 trials, 9 finished"
    )
    assert "the reference" in cells.hovertext[2][0]
    assert plot.caption == (
        "proven to be better than the other policies of their observation: ones for Edema (.030 (.020 to .040)). "
        f"Numbers are differences from zeros; {MAY_BE_BEST} marks the policies that may be the best, bold ones differ "
        "from the others by more than chance explains."
    )


def test_one_policy_has_a_plot_of_its_values_and_no_heat_map() -> None:
    assert policy_heatmap(EDEMA) is None
    assert policy_heatmap(Strategies()) is None
    assert list(value_plots(EDEMA)) == ["policy.Edema"]
    assert list(value_plots(joined(EDEMA, EFFUSION, BACKBONES))) == ["model.backbone"]


def test_values_are_escaped_and_what_is_proven_is_bold() -> None:
    (only,) = json.loads(value_plots(BACKBONES)["model.backbone"].figure.to_json())["data"]
    assert only["y"] == ["<b>&lt;resnet50&gt;<br>12 trials</b>", "<b>densenet121<br>12 trials</b>"]
    assert only["marker"]["symbol"] == ["circle", "circle-open"]


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (EDEMA, "ones is better than the others on average for Edema by .030 (.020 to .040); ones may be the best."),
        (EFFUSION, "the data show no difference between values; any of them may be the best."),
        (BACKBONES, "<resnet50> is better than the other by .030 (.020 to .040); <resnet50> may be the best."),
    ],
)
def test_what_is_proven_is_said(table: Strategies, said: str) -> None:
    assert describe_values(table.of(table.params[0])) == said
