import numpy as np

from chex.statistics.intervals import Estimate
from search.report.chart_style import format_interval, format_signed_interval


def test_differences_have_a_sign() -> None:
    assert format_signed_interval(Estimate(0.02, -0.01, 0.05)) == "+.020 (\N{MINUS SIGN}.010 to .050)"
    assert format_interval(Estimate(0.5, 0.25, 0.75)) == ".500 (.250 to .750)"
    assert format_signed_interval(Estimate(np.nan, np.nan, np.nan)) == format_interval(Estimate(np.nan, 0, 1)) == "-"
