"""Other tools' searches in the arena: Optuna's Hyperband pruner, and Syne Tune's schedulers over pipes."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import TrialState

from search.optimize.pruning import COMPLETE_PERCENT
from search.space.space import Space
from tests.bench.curve_task import REPORTS
from tests.bench.search_arena import Sample, Trial, highest

PEER = Path(__file__).with_name("syne_tune_peer.py")


class HyperbandSearcher:
    """Optuna as its own guide has it: one study, TPE with its defaults, HyperbandPruner over the numbers of reports."""

    def __init__(self, space: Space, seed: int):
        pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=REPORTS, reduction_factor=3)
        sampler = optuna.samplers.TPESampler(seed=seed)
        self.study = optuna.create_study(
            direction="maximize", sampler=sampler, pruner=pruner, study_name=f"hyperband {seed}"
        )  # the pruner draws a trial's bracket from the study's name
        self.domains = {path: param.domain for path, param in space.items()}
        self.asked: list[optuna.Trial] = []

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        self.asked.append(self.study.ask(self.domains))
        return dict(self.asked[-1].params)

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        asked = self.asked[trial.number]
        asked.report(trial.value, round(trial.points[-1].percent * REPORTS / 100))
        return asked.should_prune()

    def ended(self, trial: Trial) -> None:
        if trial.state == "finished":
            self.study.tell(self.asked[trial.number], trial.value)
        else:
            state = TrialState.PRUNED if trial.state == "pruned" else TrialState.FAIL
            self.study.tell(self.asked[trial.number], state=state)

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        return highest(trials)


class SyneTuneSearcher:
    """A scheduler of Syne Tune in a process of its own."""

    def __init__(self, python: Path, name: str, parameters: Mapping[str, Any], seed: int):
        self.process = subprocess.Popen(
            [python, PEER, name, str(seed)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._say(dict(parameters))

    def propose(self, trials: Sequence[Trial], spent: float) -> Sample:
        self._say("propose")
        return dict(self._heard())

    def stops(self, trial: Trial, trials: Sequence[Trial]) -> bool:
        return not self._report(trial)

    def ended(self, trial: Trial) -> None:
        if trial.points[-1].percent >= COMPLETE_PERCENT:
            self._report(trial)

    def leader(self, trials: Sequence[Trial]) -> Trial | None:
        return highest(trials)

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()

    def _report(self, trial: Trial) -> bool:
        percent = trial.points[-1].percent
        self._say(["report", trial.number, percent, trial.value, percent >= COMPLETE_PERCENT])
        return bool(self._heard())

    def _say(self, what: object) -> None:
        assert self.process.stdin
        print(json.dumps(what), file=self.process.stdin, flush=True)

    def _heard(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer ended with {self.process.wait()}")
        return json.loads(line)
