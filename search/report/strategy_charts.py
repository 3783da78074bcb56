"""Draws what a search proves about its parameters: the policies of all observations as a heat map, and other values."""

from collections.abc import Sequence

import numpy as np

from chex.reporting.console import format_decimal
from chex.reporting.html_report import InteractivePlot
from chex.reporting.plot_style import SERIES_COLORS
from chex.statistics.intervals import Estimate
from search.analysis.strategies import MEAN, Strategies, ValueEffect
from search.report.chart_style import (
    BLACK,
    GRAY,
    error_bars,
    escape_html,
    format_interval,
    format_signed,
    format_signed_interval,
    new_chart,
    title_layout,
)

POLICY = "policy."
MAY_BE_BEST = "\N{BLACK CIRCLE}"
COLORS = [[0.0, "#e5b878"], [0.5, "#ffffff"], [1.0, "#86b1e0"]]
"""So light that black text can be read on both ends."""
LEAST_RANGE = 0.02
"""The colours of the heat map span at least this difference of AUROC to each side."""


def policy_params(strategies: Strategies) -> list[str]:
    """Returns the parameters of the heat map; none unless there are policies of two or more observations."""
    params = [param for param in strategies.params if param.startswith(POLICY)]
    return params if len(params) > 1 else []


def policy_heatmap(strategies: Strategies) -> InteractivePlot | None:
    """Draws the effect of each policy on the AUROC of its observation; None if there is nothing to draw."""
    params = policy_params(strategies)
    if not params:
        return None
    cells = {(each.value, each.param): each for each in strategies.values if each.param in params}
    policies = list(dict.fromkeys(value for value, _ in cells))
    figure = new_chart(showlegend=False)
    reach = max(LEAST_RANGE, *(abs(each.effect.value) for each in cells.values()))
    rows = [[cells.get((policy, param)) for param in params] for policy in policies]
    names = [escape_html(param.removeprefix(POLICY)).replace(" ", "<br>") for param in params]
    figure.add_heatmap(
        z=[[np.nan if cell is None else cell.effect.value for cell in row] for row in rows],
        x=names,
        y=[escape_html(policy) for policy in policies],
        text=[["" if cell is None else _cell_text(cell) for cell in row] for row in rows],
        texttemplate="%{text}",
        textfont={"color": BLACK, "size": 11},
        hovertext=[["" if cell is None else _hover_text(cell) for cell in row] for row in rows],
        hoverinfo="text",
        colorscale=COLORS,
        zmin=-reach,
        zmax=reach,
        xgap=2,
        ygap=2,
        showscale=False,
    )
    figure.update_xaxes(side="top", showgrid=False, tickfont={"size": 11}, tickangle=0)
    figure.update_yaxes(autorange="reversed", showgrid=False, tickfont={"size": 11})
    return InteractivePlot(
        figure,
        _describe_policies(strategies, params),
        "The policies of each observation: the AUROC at the end of a trial minus that with the reference",
        90 + 34 * len(policies),
    )


def _cell_text(cell: ValueEffect) -> str:
    text = "0" if cell.value == cell.reference else format_signed(cell.effect.value)
    text = f"<b>{text}</b>" if cell.claim else text
    return f"{text} {MAY_BE_BEST}" if cell.may_be_best else text


def _hover_text(cell: ValueEffect) -> str:
    against = (
        "the reference"
        if cell.value == cell.reference
        else f"{format_signed_interval(cell.effect)} over {cell.reference}"
    )
    lines = [
        f"{cell.param} {cell.value}",
        against,
        f"{format_signed_interval(cell.over_others)} over the mean of the others",
        f"the best with a probability of {format_decimal(cell.probability)}",
        f"{cell.trials} trials, {cell.finished} finished",
    ]
    return "<br>".join(map(escape_html, lines))


def _describe_policies(strategies: Strategies, params: Sequence[str]) -> str:
    proven = [
        f"{each.value} for {each.param.removeprefix(POLICY)} ({format_interval(each.over_others)})"
        for each in strategies.values
        if each.param in params and each.claim == "better"
    ]
    told = (
        f"proven to be better than the other policies of their observation: {', '.join(proven)}"
        if proven
        else "no policy is proven to be better than the others of its observation"
    )
    references = " or ".join(dict.fromkeys(each.reference for each in strategies.values if each.param in params))
    return (
        f"{told}. Numbers are differences from {references}; {MAY_BE_BEST} marks the policies that may be the best, "
        "bold ones differ from the others by more than chance explains."
    )


def value_plots(strategies: Strategies) -> dict[str, InteractivePlot]:
    """Draws the effects of the values of each categorical parameter that the heat map does not have."""
    return {
        param: _value_plot(param, strategies.of(param))
        for param in strategies.params
        if param not in policy_params(strategies)
    }


def _value_plot(param: str, values: Sequence[ValueEffect]) -> InteractivePlot:
    of = "" if values[0].outcome == MEAN else f" of {values[0].outcome}"
    reference = values[0].reference
    figure = new_chart(
        title=title_layout(param),
        xaxis_title={"text": f"AUROC{escape_html(of)} minus that with {escape_html(reference)}", "font": {"size": 12}},
        showlegend=False,
    )
    figure.add_scatter(
        x=[each.effect.value for each in values],
        y=[_value_label(each) for each in values],
        error_x=error_bars([each.effect for each in values], SERIES_COLORS[0]),
        mode="markers",
        marker={
            "symbol": ["circle" if each.may_be_best else "circle-open" for each in values],
            "color": [GRAY if each.value == reference else SERIES_COLORS[0] for each in values],
            "size": 10,
        },
        hovertext=[_hover_text(each) for each in values],
        hoverinfo="text",
    )
    figure.add_vline(x=0, line={"color": BLACK, "width": 1})
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return InteractivePlot(figure, describe_values(values), f"Values of {param}", 150 + 40 * len(values))


def _value_label(value: ValueEffect) -> str:
    label = f"{escape_html(value.value)}<br>{value.trials} trials"
    return f"<b>{label}</b>" if value.claim else label


def describe_values(values: Sequence[ValueEffect]) -> str:
    """Says in a sentence which values of a parameter are proven better or worse, and which may be the best."""
    of = "" if values[0].outcome == MEAN else f" for {values[0].outcome}"
    others = "the other" if len(values) == 2 else "the others on average"
    proven = [
        f"{each.value} is {each.claim} than {others}{of} by {format_interval(_size(each))}"
        for each in values
        if each.claim == "better" or (each.claim and len(values) > 2)
    ]
    best = [each.value for each in values if each.may_be_best]
    may_be = f"{', '.join(best)} may be the best" if len(best) < len(values) else "any of them may be the best"
    return f"{'; '.join([*(proven or ['the data show no difference between values']), may_be])}."


def _size(value: ValueEffect) -> Estimate:
    """Returns by how much a value is better or worse than the others."""
    gap = value.over_others
    return gap if value.claim == "better" else Estimate(-gap.value, -gap.high, -gap.low)
