"""Saves and loads the trials of an earlier search from which the sampler of this one learns."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState, create_trial

from chex.runtime.atomic_io import write_text
from chex.statistics.metrics import METRIC
from search.space.space import Space
from search.trials.layout import EARLIER
from search.trials.stored_reports import report_name
from search.trials.trial import TrialRecord


@dataclass(frozen=True)
class EarlierTrials:
    """Trials of another search that could be trials of this one."""

    source: str
    """The folder of the other search."""
    trials: tuple[TrialRecord, ...]
    """Finished and pruned trials, with the numbers of the other search and the parameters of this one's space."""


def save_earlier_trials(folder: Path, earlier: EarlierTrials | None) -> None:
    """Writes EARLIER into the search's `folder`, or removes it if there are no earlier trials."""
    if earlier:
        write_text(folder / EARLIER, json.dumps(asdict(earlier)))
    else:
        (folder / EARLIER).unlink(missing_ok=True)


def load_earlier_trials(folder: Path) -> EarlierTrials | None:
    """Returns what `save_earlier_trials` wrote; None for a search that started without earlier trials."""
    if not (folder / EARLIER).exists():
        return None
    content = json.loads((folder / EARLIER).read_text(encoding="utf-8"))
    trials = (TrialRecord(**(trial | {"reports": tuple(trial["reports"])})) for trial in content["trials"])
    return EarlierTrials(content["source"], tuple(trials))


def as_history(trials: Sequence[TrialRecord], space: Space) -> list[FrozenTrial]:
    """Returns the trials as a study of `space` would hold them."""
    return [
        create_trial(
            state=TrialState.COMPLETE if trial.state == "finished" else TrialState.PRUNED,
            value=trial.value,
            params=trial.params,
            distributions={path: space[path].domain for path in trial.params},
            intermediate_values={place: float(report[METRIC]) for place, report in enumerate(trial.reports, 1)},
            system_attrs={report_name(place): dict(report) for place, report in enumerate(trial.reports, 1)},
        )
        for trial in trials
    ]
