"""Value against value of a categorical knob, such as policy against policy or backbone against backbone."""

from dataclasses import dataclass
from typing import Literal

from chex.figures import Estimate


@dataclass(frozen=True)
class Rivalry:
    """Two values of one knob. Differences are AUROC of `first` minus AUROC of `second`."""

    knob: str
    first: str
    second: str
    trials: tuple[int, int]
    """Finished trials of each."""
    outcome: str
    """The AUROC that is compared: `mean`, or the observation that a knob `policy.<observation>` is about."""
    best: Estimate
    """Best trial of each, chosen anew and scored apart in each bag; says what was found, not which value is better:
    more trials find more. NaN where a value has no trial with a result."""
    average: Estimate
    """Average over finished trials that are alike in all other knobs; its interval knows of patients and of trials.
    NaN where too few finished."""
    confidence: float
    """Of both intervals: .95 for the pairs of a knob together, so 1 - .05 / pairs for each."""
    verdict: Literal["different", "tied", "untested"]
    """`different` where the interval of `average` excludes 0; `untested` where too few trials finished."""
