"""One search by a scheduler of Syne Tune, spoken to over pipes.

Runs in an environment of its own, with syne-tune[basic] and huggingface_hub.

    python syne_tune_peer.py NAME SEED      NAME: ASHA, ASHABORE, ASHACQR, BOHB, BORE, CQR or TPE

Reads a line of JSON and answers with one: first the space, {path: {"kind", ...}}; then "propose", answered with a
point, or ["report", number, percent, value, over], answered with whether the trial goes on.
"""

import contextlib
import datetime
import json
import logging
import sys
from typing import Any

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice, loguniform, randint, uniform
from syne_tune.optimizer import baselines
from syne_tune.optimizer.scheduler import SchedulerDecision

METRIC, TIME = "value", "report"
REPORTS = 8
KINDS = {"choice": choice, "loguniform": loguniform, "int": randint, "uniform": uniform}


def main(name: str, seed: int) -> None:
    logging.disable(logging.WARNING)
    np.random.seed(seed)
    answer = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        space = {
            path: KINDS[kind](arguments) if kind == "choice" else KINDS[kind](*arguments)
            for path, raw in json.loads(sys.stdin.readline()).items()
            for kind, arguments in raw.items()
        }
        settings: dict[str, Any] = {"metric": METRIC, "do_minimize": False, "random_seed": seed}
        rungs = name in ("ASHA", "ASHABORE", "ASHACQR", "BOHB")
        if rungs:
            settings |= {"time_attr": TIME, "max_t": REPORTS, "grace_period": 1}
        scheduler = getattr(baselines, name)(space, **settings)
        trials: list[Trial] = []
        for line in sys.stdin:
            told = json.loads(line)
            if told == "propose":
                config = scheduler.suggest().config
                trials.append(Trial(trial_id=len(trials), config=config, creation_time=datetime.datetime.now()))
                scheduler.on_trial_add(trials[-1])
                print(json.dumps(config, default=lambda number: number.item()), file=answer, flush=True)
            else:
                _, number, percent, value, over = told
                result = {METRIC: value, TIME: round(percent * REPORTS / 100)}
                goes_on = hear(scheduler, trials[number], result, over, rungs)
                print(json.dumps(goes_on), file=answer, flush=True)


def hear(scheduler: Any, trial: Trial, result: dict[str, float], over: bool, rungs: bool) -> bool:
    if over:
        scheduler.on_trial_complete(trial, result)
        return True
    return not rungs or scheduler.on_trial_result(trial, result) == SchedulerDecision.CONTINUE


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
