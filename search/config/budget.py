"""Defines how much a search may spend, and decides when the budget is spent."""

import math
from collections.abc import Sequence

from pydantic import Field

from chex.errors import InputError
from chex.schema.strict_model import Strict
from search.trials.trial import TrialRecord, ended


class Budget(Strict):
    """The limits of a search; a blank limit does not apply."""

    trials: int = Field(12, ge=1, le=100_000)
    images: int | None = Field(None, ge=1)
    """Training images of all trials together, repeats included; when spent, running trials are left unfinished."""
    hours: float | None = Field(None, gt=0)
    """Hours of wall time, over all resumes; when they are over, running trials are left unfinished."""
    patience: int | None = Field(None, ge=1)
    """After this many ended trials in a row, by number, without a new best value, no further trial starts."""
    max_consecutive_failures: int = Field(5, ge=1)
    """The search stops after this many failed trials in a row, because they probably fail for the same reason."""


def why_no_more_trials(budget: Budget, rows: Sequence[TrialRecord]) -> str | None:
    """Returns why no further trial starts; None while one may."""
    if len(rows) >= budget.trials:
        return f"all {budget.trials} trials have been tried"
    if budget.patience is not None and _trials_since_best(rows) >= budget.patience:
        return f"{budget.patience} trials in a row brought no new best (budget.patience)"
    return None


def why_stop(budget: Budget, rows: Sequence[TrialRecord], seconds: float) -> str | None:
    """Returns why running trials must stop too; None while they may go on. `seconds`: running time of the search."""
    if budget.images is not None and sum(row.images_seen for row in rows) >= budget.images:
        return f"{budget.images:,} training images are spent (budget.images)"
    if budget.hours is not None and seconds >= budget.hours * 3600:
        return f"{budget.hours:g} hours are over (budget.hours)"
    return None


def too_many_failures(budget: Budget, rows: Sequence[TrialRecord]) -> str | None:
    """Returns a message if the last `budget.max_consecutive_failures` ended trials, by number, all failed; or None."""
    last = ended(rows)[-budget.max_consecutive_failures :]
    if len(last) < budget.max_consecutive_failures or any(row.state != "failed" for row in last):
        return None
    return (
        f"{len(last)} trials in a row failed (budget.max_consecutive_failures), the last one "
        f"(trial {last[-1].number}): {last[-1].error}"
    )


def extend_budget(budget: Budget, trials: int | None, images: int | None, hours: float | None) -> Budget:
    """Returns `budget` with higher limits; None adds nothing.

    Raises InputError if nothing is added, or if something is added to a limit that the budget does not have.
    """
    more = {name: value for name, value in (("trials", trials), ("images", images), ("hours", hours)) if value}
    if not more:
        raise InputError("nothing to extend by; give --trials N, --images N or --hours H")
    for name in more:
        if getattr(budget, name) is None:
            raise InputError(f"--{name}: the search has no budget.{name} that could be raised; leave --{name} out")
    return budget.model_copy(update={name: getattr(budget, name) + value for name, value in more.items()})


def _trials_since_best(rows: Sequence[TrialRecord]) -> int:
    """Returns how many ended trials have a higher number than the first trial with the best value."""
    values = [-math.inf if math.isnan(row.value) else row.value for row in ended(rows)]
    return len(values) - 1 - values.index(max(values)) if values else 0
