"""Where a trial of the study keeps the metrics of its reports."""

from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


def report_name(place: int) -> str:
    """Returns the name of the system attribute with a report's metrics; optuna-dashboard does not show these.

    `place` is the report's number among the trial's reports, from 1.
    """
    return f"report {place}"


def stored_reports(trial: "FrozenTrial") -> Iterator[Mapping[str, Any]]:
    """Yields the metrics of a trial's reports, in order."""
    places = takewhile(lambda place: report_name(place) in trial.system_attrs, count(1))
    return (trial.system_attrs[report_name(place)] for place in places)
