import numpy as np

from chex.intervals import Estimate
from search.chart_style import interval, signed


def test_differences_have_their_sign() -> None:
    assert signed(Estimate(0.02, -0.01, 0.05)) == "+.020 (\N{MINUS SIGN}.010 to .050)"
    assert interval(Estimate(0.5, 0.25, 0.75)) == ".500 (.250 to .750)"
    assert signed(Estimate(np.nan, np.nan, np.nan)) == interval(Estimate(np.nan, 0, 1)) == "-"
