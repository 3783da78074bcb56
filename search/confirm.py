"""`chex-search confirm`: the best configs of a search trained again, each on the same new seeds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from chex.atomic import write_text
from chex.checkpoint import save_table
from chex.config import RunConfig, load_run
from chex.console import decimal
from chex.differences import differences
from chex.errors import InputError
from chex.seeds import stream
from search.bucket import below
from search.budget import Budget
from search.confirmation import Retrained, confirmation
from search.export import TRIALS
from search.ledger import TrialRow, contenders
from search.predictions import Predictions, load_predictions
from search.sampler import SamplerConfig
from search.search_config import SearchConfig
from search.selection import kept_report
from search.stored import CONFIG, deliver
from search.study import BASE, load_begun, rows_of, run_search, storage_of

FOLDER, TEXT, CONFIRMED = "confirm", "confirmation.txt", "confirmed.csv"
SEED = "seed"


def confirm(folder: Path, top: int, seeds: int, cluster: str | None = None) -> str:
    """Trains the `top` best configs of the search in `folder` on `seeds` new seeds each; what they reached, as text.

    The runs are a search of their own in folder/confirm, which is gone on with where it was cut off; the figures are
    left there too, as a CSV, and in its storage. Raises InputError, and what `run_search` raises.
    """
    search, home = load_begun(folder), folder / FOLDER
    chosen = best_configs(rows_of(search, folder), top)
    again = confirming(search, settled_base(search, folder), chosen, seeds)
    if search.storage:
        again = again.model_copy(update={"storage": below(search.storage, folder.name)})
    other = differences(again, load_begun(home), f"in its {CONFIG}") if (home / CONFIG).exists() else ""
    if other:
        raise InputError(
            f"{home} holds a confirmation of other trials or seeds ({other}); repeat it with the same --top and "
            "--seeds, or move it away"
        )
    rows = run_search(again, home, fresh=False, cluster=cluster, earlier=folder)
    text = told(chosen, rows, home, search.base.seed, seeds)
    write_text(home / TEXT, text + "\n")
    deliver(home, storage_of(again, home), TEXT, CONFIRMED)
    return text


def best_configs(rows: Sequence[TrialRow], top: int) -> list[TrialRow]:
    """The `top` best ended trials of different knobs, the seed apart, the best first. Raises InputError for fewer."""
    ranked = sorted(contenders(rows), key=lambda row: -row.value)
    different = {repr(sorted(_without_seed(row.knobs).items())): row for row in reversed(ranked)}
    chosen = [row for row in ranked if row in different.values()][:top]
    if len(chosen) < top:
        raise InputError(
            f"--top {top}: the search has {len(chosen)} different configs with a result; give at most so many"
        )
    return chosen


def confirming(search: SearchConfig, base: RunConfig, chosen: Sequence[TrialRow], seeds: int) -> SearchConfig:
    """The search that trains each of the `chosen` trials' knobs to the end on the same `seeds` new seeds."""
    used = [base.seed, *(int(row.knobs[SEED]) for row in chosen if SEED in row.knobs)]
    new = [max(used) + 1 + place for place in range(seeds)]
    space = {path: domain for path, domain in search.space.items() if path != SEED}
    return search.model_copy(
        update={
            "base": base,
            "space": space | {SEED: {"int": [new[0], new[-1]]} if seeds > 1 else {"fixed": new[0]}},
            "points": tuple(_without_seed(row.knobs) | {SEED: seed} for seed in new for row in chosen),
            "sampler": SamplerConfig(kind="random"),
            "stopping": None,
            "budget": Budget(trials=len(chosen) * seeds),
        }
    )


def settled_base(search: SearchConfig, folder: Path) -> RunConfig:
    """The run that the trials in `folder` varied: with what `auto` meant there, and a tree as `search` names it."""
    base = load_run(folder / BASE) if (folder / BASE).exists() else search.base
    return base.model_copy(update={"data": search.base.data})


def told(chosen: Sequence[TrialRow], rows: Sequence[TrialRow], home: Path, seed: int, seeds: int) -> str:
    """The text: a line a config, and what the differences prove; writes the figures into `home`."""
    runs = [[_run(row, rows, place) for row in chosen] for place in range(seeds)]
    lost = sum(run is None for of_seed in runs for run in of_seed)
    shared = [whole for of_seed in runs if len(whole := [run for run in of_seed if run]) == len(chosen)]
    if not shared:
        return f"No seed was trained to its end with every config ({lost} runs failed); {home.name}/{TRIALS} says why."
    kept = load_predictions(home)
    places = np.array([[kept_report(run, kept.trials, kept.images) for run in of_seed] for of_seed in shared])
    numbers = [row.number for row in chosen]
    found = confirmation(numbers, kept.probability[places.T], kept.truth, kept.patients, stream(seed, "confirm"))
    save_table(home / CONFIRMED, _figures(chosen, found))
    return "\n".join(
        [*_head(len(shared), kept), *map(_line, chosen, found), "", *_proved(found), *_lost(lost, home.name)]
    )


def _figures(chosen: Sequence[TrialRow], found: Sequence[Retrained]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "trial": row.number,
                "in search": row.value,
                "again": one.mean,
                "low": one.low,
                "high": one.high,
                "sd of seeds": one.spread,
                "difference": one.difference,
                "difference low": one.difference_low,
                "difference high": one.difference_high,
            }
            for row, one in zip(chosen, found, strict=True)
        ]
    )


def _run(row: TrialRow, rows: Sequence[TrialRow], place: int) -> TrialRow | None:
    """The finished run of a config under the seed of this place."""
    wanted = _without_seed(row.knobs)
    same = [run for run in rows if _without_seed(run.knobs) == wanted]
    return same[place] if place < len(same) and same[place].state == "finished" else None


def _without_seed(knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {path: value for path, value in knobs.items() if path != SEED}


def _head(seeds: int, kept: Predictions) -> list[str]:
    patients = len(np.unique(kept.patients))
    return [
        f"Each config trained again on the same {seeds} new seeds; one seed takes the same training rows.",
        f"Scored on the same {len(kept.truth):,} films or studies of {patients:,} patients as the search.",
        "",
        f"{'trial':<7}{'in search':>9}{'again':>8}   {'95 % interval':<16}{'seeds sd':>8}   from the first, paired",
    ]


def _line(row: TrialRow, one: Retrained) -> str:
    spread = f"{one.spread:.3f}".removeprefix("0")
    interval = f"{decimal(one.low)} to {decimal(one.high)}"
    line = f"{row.number:<7}{decimal(row.value):>9}{decimal(one.mean):>8}   {interval:<16}{spread:>8}"
    if not one.difference and not one.difference_low:
        return f"{line}   -"
    return f"{line}   {_signed(one.difference)} ({_signed(one.difference_low)} to {_signed(one.difference_high)})"


def _proved(found: Sequence[Retrained]) -> list[str]:
    first, others = found[0], found[1:]
    different = [one for one in others if one.differs]
    tied = [one for one in others if not one.differs]
    lines = [
        f"Trial {one.trial} is {_than(one)} than trial {first.trial}, by more than chance explains."
        for one in different
    ]
    if tied:
        names = " and ".join(str(one.trial) for one in tied)
        lines.append(
            f"Nothing shows that trial {first.trial} differs from {names}: the cheapest of them may do as well."
        )
    return [
        *lines,
        "The configs were chosen on these films: that luck, unlike the seeds', is still in these figures.",
    ]


def _than(one: Retrained) -> str:
    return "better" if one.difference > 0 else "worse"


def _lost(lost: int, home: str) -> list[str]:
    return [f"{lost} runs failed ({home}/{TRIALS} says why); their seeds are left out."] if lost else []


def _signed(value: float) -> str:
    return ("-" if value < 0 else "+") + decimal(abs(value))
