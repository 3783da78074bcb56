"""`chex-search confirm`: trains the best configs of a search again, each on the same new seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chex.config import RunConfig, load_run
from chex.errors import InputError
from chex.reporting.console import format_decimal
from chex.runtime.atomic_io import write_csv, write_text
from chex.runtime.rng import rng_for
from chex.schema.differences import describe_differences
from search.analysis.replication import Replication, analyze_replications
from search.analysis.selection import best_report
from search.config.budget import Budget
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder, load_trials, storage_of
from search.engine.runner import run_search
from search.optimize.samplers import SamplerConfig
from search.storage.search_storage import upload_files
from search.storage.uri import child_uri
from search.trials.layout import BASE, CONFIG, CONFIRM_FOLDER, CONFIRM_TEXT, CONFIRMED, TRIALS
from search.trials.predictions import Predictions, load_predictions
from search.trials.trial import TrialRecord, ranked_trials

SEED = "seed"


def confirm(folder: Path, top: int, seeds: int, cluster: str | None = None, dashboard: bool = False) -> str:
    """Trains the `top` best configs of the search in `folder` on `seeds` new seeds each; returns the result as text.

    The runs are a search of their own in folder/confirm, which resumes if it was interrupted. The figures are written
    there as a CSV, and to the storage if there is one. Raises InputError if there are too few configs or folder/confirm
    holds another confirmation, and the errors of `run_search`.
    """
    search, confirm_folder = load_search_folder(folder), folder / CONFIRM_FOLDER
    chosen = best_configs(load_trials(search, folder), top)
    confirmation = confirmation_search(search, resolved_base(search, folder), chosen, seeds)
    if search.storage_uri:
        confirmation = confirmation.model_copy(update={"storage_uri": child_uri(search.storage_uri, folder.name)})
    difference = (
        describe_differences(confirmation, load_search_folder(confirm_folder), f"in its {CONFIG}")
        if (confirm_folder / CONFIG).exists()
        else ""
    )
    if difference:
        raise InputError(
            f"{confirm_folder} holds a confirmation of other trials or seeds ({difference}); use the same --top and "
            "--seeds, or move the folder away"
        )
    trials = run_search(
        confirmation, confirm_folder, overwrite=False, cluster=cluster, dashboard=dashboard, earlier_folder=folder
    )
    text = confirmation_summary(chosen, trials, confirm_folder, search.base.seed, seeds)
    write_text(confirm_folder / CONFIRM_TEXT, text + "\n")
    upload_files(confirm_folder, storage_of(confirmation, confirm_folder), CONFIRM_TEXT, CONFIRMED)
    return text


def best_configs(trials: Sequence[TrialRecord], top: int) -> list[TrialRecord]:
    """Returns the `top` best ended trials, the best first; of trials that differ only in the seed, the best counts.

    Raises InputError if there are fewer.
    """
    ranked = sorted(ranked_trials(trials), key=lambda trial: -trial.value)
    distinct = {repr(sorted(_without_seed(trial.params).items())): trial for trial in reversed(ranked)}
    chosen = [trial for trial in ranked if trial in distinct.values()][:top]
    if len(chosen) < top:
        raise InputError(
            f"--top {top}: the search has {len(chosen)} different configs with a result; give at most that many"
        )
    return chosen


def confirmation_search(
    search: SearchConfig, base: RunConfig, chosen: Sequence[TrialRecord], seeds: int
) -> SearchConfig:
    """Returns the search that trains the parameters of each of the `chosen` trials to the end on the same new seeds."""
    used_seeds = [base.seed, *(int(trial.params[SEED]) for trial in chosen if SEED in trial.params)]
    new_seeds = [max(used_seeds) + 1 + index for index in range(seeds)]
    space = {path: domain for path, domain in search.space.items() if path != SEED}
    return search.model_copy(
        update={
            "base": base,
            "space": space | {SEED: {"int": [new_seeds[0], new_seeds[-1]]} if seeds > 1 else {"fixed": new_seeds[0]}},
            "initial_points": tuple(
                _without_seed(trial.params) | {SEED: seed} for seed in new_seeds for trial in chosen
            ),
            "sampler": SamplerConfig(kind="random"),
            "pruning": None,
            "budget": Budget(trials=len(chosen) * seeds),
        }
    )


def resolved_base(search: SearchConfig, folder: Path) -> RunConfig:
    """Returns the base run of the trials in `folder`, with `auto` resolved, and with the data settings of `search`."""
    base = load_run(folder / BASE) if (folder / BASE).exists() else search.base
    return base.model_copy(update={"data": search.base.data})


def confirmation_summary(
    chosen: Sequence[TrialRecord], trials: Sequence[TrialRecord], folder: Path, seed: int, seeds: int
) -> str:
    """Returns the result as text and writes the figures into `folder`; `seed` is for the bootstrap, `seeds` a count.

    The text has a line per config and says what the differences between configs prove.
    """
    runs = [[_finished_run(trial, trials, index) for trial in chosen] for index in range(seeds)]
    n_failed = sum(run is None for runs_of_seed in runs for run in runs_of_seed)
    complete = [found for runs_of_seed in runs if len(found := [run for run in runs_of_seed if run]) == len(chosen)]
    if not complete:
        return f"No seed has a finished run of every config ({n_failed} runs failed); {folder.name}/{TRIALS} says why."
    predictions = load_predictions(folder)
    rows = np.array(
        [
            [best_report(run, predictions.trials, predictions.images) for run in runs_of_seed]
            for runs_of_seed in complete
        ]
    )
    numbers = [trial.number for trial in chosen]
    replications = analyze_replications(
        numbers,
        predictions.probability[rows.T],
        predictions.truth,
        predictions.patients,
        rng_for(seed, "confirm"),
    )
    write_csv(folder / CONFIRMED, _summary_table(chosen, replications))
    return "\n".join(
        [
            *_header_lines(len(complete), predictions),
            *map(_config_line, chosen, replications),
            "",
            *_conclusion_lines(replications),
            *_failed_lines(n_failed, folder.name),
        ]
    )


def _summary_table(chosen: Sequence[TrialRecord], replications: Sequence[Replication]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "trial": trial.number,
                "in search": trial.value,
                "again": r.mean,
                "low": r.low,
                "high": r.high,
                "sd of seeds": r.spread,
                "difference": r.difference,
                "difference low": r.difference_low,
                "difference high": r.difference_high,
            }
            for trial, r in zip(chosen, replications, strict=True)
        ]
    )


def _finished_run(trial: TrialRecord, trials: Sequence[TrialRecord], index: int) -> TrialRecord | None:
    """Returns the run of the config of `trial` with the seed at `index`; None if that run has not finished."""
    params = _without_seed(trial.params)
    runs_of_config = [run for run in trials if _without_seed(run.params) == params]
    return runs_of_config[index] if index < len(runs_of_config) and runs_of_config[index].state == "finished" else None


def _without_seed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in params.items() if path != SEED}


def _header_lines(seeds: int, predictions: Predictions) -> list[str]:
    patients = len(np.unique(predictions.patients))
    return [
        f"Each config was trained again on the same {seeds} new seeds; equal seeds use equal training images.",
        f"Scored on the same {len(predictions.truth):,} images or studies of {patients:,} patients as the search.",
        "",
        f"{'trial':<7}{'in search':>9}{'again':>8}   {'95 % interval':<16}{'seeds sd':>8}   minus the first, paired",
    ]


def _config_line(trial: TrialRecord, r: Replication) -> str:
    spread = f"{r.spread:.3f}".removeprefix("0")
    interval = f"{format_decimal(r.low)} to {format_decimal(r.high)}"
    line = f"{trial.number:<7}{format_decimal(trial.value):>9}{format_decimal(r.mean):>8}   {interval:<16}{spread:>8}"
    if not r.difference and not r.difference_low:
        return f"{line}   -"
    return f"{line}   {_signed(r.difference)} ({_signed(r.difference_low)} to {_signed(r.difference_high)})"


def _conclusion_lines(replications: Sequence[Replication]) -> list[str]:
    first, others = replications[0], replications[1:]
    different = [r for r in others if r.differs]
    same = [r for r in others if not r.differs]
    lines = [
        f"Trial {r.trial} is {_better_or_worse(r)} than trial {first.trial}; chance does not explain the difference."
        for r in different
    ]
    if same:
        names = " and ".join(str(r.trial) for r in same)
        lines.append(
            f"Nothing shows that trial {first.trial} differs from {names}: the cheapest of them may be as good."
        )
    return [
        *lines,
        "The configs were chosen on these images, so these figures are still biased upward by that choice.",
    ]


def _better_or_worse(replication: Replication) -> str:
    return "better" if replication.difference > 0 else "worse"


def _failed_lines(n_failed: int, folder_name: str) -> list[str]:
    return [f"{n_failed} runs failed ({folder_name}/{TRIALS} says why); their seeds are left out."] if n_failed else []


def _signed(value: float) -> str:
    return ("-" if value < 0 else "+") + format_decimal(abs(value))
