"""Strategy tables that no search has made."""

from chex.statistics.intervals import Estimate
from search.analysis.strategies import MEAN, Claim, Slope, Strategies, ValueEffect


def drawn_strategies(param: str, *values: str, better: str = "", slope: Claim = "") -> Strategies:
    """A table of `param`, whose last value is the reference; `better` is proven to be .03 better than the others."""
    outcome = param.removeprefix("policy.") if param not in ("policy.default", "model.backbone") else MEAN
    effects = []
    for value in values:
        gap = 0.03 if value == better else 0.0
        effect = Estimate(gap, gap - 0.02, gap + 0.02) if value != values[-1] else Estimate(0.0, 0.0, 0.0)
        probability = 0.97 if value == better else (0.03 if better else 1.0) / max(1, len(values) - bool(better))
        may_be_best = value == better or not better
        claim: Claim = "better" if value == better else "worse" if better and len(values) == 2 else ""
        over_others = Estimate(gap, gap - 0.01, gap + 0.01)
        effects.append(
            ValueEffect(param, value, outcome, 12, 9, values[-1], effect, over_others, probability, may_be_best, claim)
        )
    return Strategies(tuple(effects), (Slope("optimizer.lr", Estimate(-0.02, -0.03, -0.01), slope),))


def joined(*tables: Strategies) -> Strategies:
    """One table of several parameters."""
    return Strategies(tuple(each for table in tables for each in table.values), tables[0].slopes)
