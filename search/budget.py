"""How much a search may spend, and when that is spent."""

import math
from collections.abc import Sequence

from pydantic import Field

from chex.errors import InputError
from chex.strict import Strict
from search.ledger import TrialRow, ended


class Budget(Strict):
    """What a search may spend. Blank: without that limit."""

    trials: int = Field(12, ge=1, le=100_000)
    images: int | None = Field(None, ge=1)
    """Training images of all trials together; trials under way are left unfinished when they are spent."""
    hours: float | None = Field(None, gt=0)
    """Of wall time, over all resumes; trials under way are left unfinished when they are over."""
    patience: int | None = Field(None, ge=1)
    """No further trial starts after so many ended ones in turn without a new best."""
    failures: int = Field(5, ge=1)
    """Failed trials in turn after which the search stops: it is the search that fails then, not bad luck."""


def enough(budget: Budget, rows: Sequence[TrialRow]) -> str | None:
    """Why no further trial starts, or None."""
    if len(rows) >= budget.trials:
        return f"all {budget.trials} trials have been tried"
    if budget.patience is not None and _without_gain(rows) >= budget.patience:
        return f"{budget.patience} trials in turn brought no new best (budget.patience)"
    return None


def over(budget: Budget, rows: Sequence[TrialRow], seconds: float) -> str | None:
    """Why trials under way do not go on either, or None; `seconds`: how long the search has run."""
    if budget.images is not None and sum(row.images for row in rows) >= budget.images:
        return f"{budget.images:,} training images are spent (budget.images)"
    if budget.hours is not None and seconds >= budget.hours * 3600:
        return f"{budget.hours:g} hours are over (budget.hours)"
    return None


def too_many_failures(budget: Budget, rows: Sequence[TrialRow]) -> str | None:
    """What is wrong where the last `budget.failures` trials to end have all failed, or None."""
    last = ended(rows)[-budget.failures :]
    if len(last) < budget.failures or any(row.state != "failed" for row in last):
        return None
    return (
        f"{len(last)} trials in turn failed (budget.failures), the last one (trial {last[-1].number}): {last[-1].error}"
    )


def extended(budget: Budget, trials: int | None, images: int | None, hours: float | None) -> Budget:
    """`budget` with so much more of each; None: as before.

    Raises InputError where nothing is added, or to a limit that the budget does not have.
    """
    more = {name: value for name, value in (("trials", trials), ("images", images), ("hours", hours)) if value}
    if not more:
        raise InputError("nothing to extend by; give --trials N, --images N or --hours H")
    for name in more:
        if getattr(budget, name) is None:
            raise InputError(f"--{name}: the search has no budget.{name} that could be raised; leave --{name} out")
    return budget.model_copy(update={name: getattr(budget, name) + value for name, value in more.items()})


def _without_gain(rows: Sequence[TrialRow]) -> int:
    """How many ended trials, counted from the last, lie after the one that first reached the best value."""
    values = [-math.inf if math.isnan(row.value) else row.value for row in ended(rows)]
    return len(values) - 1 - values.index(max(values)) if values else 0
