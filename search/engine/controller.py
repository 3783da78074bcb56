"""Decides what happens next in a search from its study; does not use Ray.

New trials and reports are written to the study before they take effect, and every action may be repeated (the end of a
trial is written after its callback). So wherever the process stops, another controller of the same folder continues.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Protocol

from chex.statistics.metrics import METRIC
from search.config.budget import too_many_failures, why_no_more_trials, why_stop
from search.config.search_config import SearchConfig
from search.optimize.pruning import RungReport, should_prune
from search.optimize.samplers import propose
from search.trials.earlier_trials import as_history
from search.trials.study_store import StudyStore
from search.trials.trial import FAILURE, HALT, HOST, NODE, State, TrialRecord, is_complete
from search.trials.trial_progress import Steps

MAX_RETRIES = 2
"""A trial whose process dies is restarted from its last report this many times before it counts as failed. A new report
resets the count; since a trial has finitely many reports, it always ends."""


class SearchCallback(Protocol):
    """What the controller calls after each event."""

    def on_trial_start(self, trial: TrialRecord) -> None:
        """A new trial is in the study and is about to start."""

    def on_report(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        """A trial has a new report."""

    def on_node_excluded(self, trial: TrialRecord, reason: str) -> None:
        """The trial moves to another node, because no trial can run on its node any more.

        Must raise an error if this machine itself cannot run the search any more, for example because its disk is full.
        """

    def on_trial_end(self, trial: TrialRecord, trials: Sequence[TrialRecord]) -> None:
        """A trial has ended; may be called twice."""

    def on_update(self, trials: Sequence[TrialRecord]) -> None:
        """The trials have changed."""

    def on_step(self, steps: Steps) -> None:
        """The running trials have made these steps. Called in another thread; for display only."""


class TrialController:
    """Proposes trials, receives their reports, prunes them and ends the search."""

    def __init__(
        self,
        search: SearchConfig,
        store: StudyStore,
        callback: SearchCallback,
        max_concurrent_trials: int,
        clock: Callable[[], float] = time.monotonic,
        nodes: Callable[[], Set[str]] = frozenset,
        earlier: Sequence[TrialRecord] = (),
    ):
        """`nodes` returns the ids of the nodes that could run a trial if they were idle.

        The sampler also learns from the `earlier` trials, of another search.
        """
        self.search, self.store, self.callback = search, store, callback
        self.max_concurrent_trials, self.clock = max_concurrent_trials, clock
        self.space, self.initial_params, self.feasible = (
            search.search_space(),
            search.initial_params(),
            search.checked_constraints().feasible,
        )
        self.earlier_history = as_history(earlier, self.space)
        self.trials = store.trials()
        self.started, self.seconds_before = clock(), store.elapsed_seconds
        self.halt_reason = ""
        self.crash_counts = Counter[int]()
        self.nodes, self.excluded_nodes = nodes, set[str]()
        """A function that returns the ids of nodes that could run a trial, and the ids on which none may start."""
        for trial in list(self.trials):
            if trial.state == "pending":
                self._finish_or_prune(trial)
        self.callback.on_update(self.trials)

    def suggest(self) -> TrialRecord | None:
        """Returns a trial to start or resume; None if the maximum of trials is running or none is left to start.

        Raises SearchFinished if the search is over.
        """
        running = sum(trial.state == "running" for trial in self.trials)
        if running >= self.max_concurrent_trials:
            return None
        trial = next((trial for trial in self.trials if trial.state == "pending"), None)
        if trial is None:
            if self.should_stop():
                raise SearchFinished
            if self.is_exhausted():
                return None
            values = propose(
                self.search.sampler,
                self.space,
                self.initial_params,
                self.store.history(),
                self.feasible,
                self.earlier_history,
            )
            trial = TrialRecord(self.store.create_trial(values), "pending", values)
            self.trials.append(trial)
            self.callback.on_trial_start(trial)
        self._update(replace(trial, state="running"))
        return self.trials[trial.number - 1]

    def is_exhausted(self) -> bool:
        """Returns whether no trial is left to start; a new best value or a crash of a running trial can change that."""
        pending = any(trial.state == "pending" for trial in self.trials)
        return not pending and why_no_more_trials(self.search.budget, self.trials) is not None

    def on_result(self, number: int, report: Mapping[str, Any]) -> bool:
        """Records a trial's report and returns whether the trial may continue; also True for a finished trial.

        A report that is recorded already changes nothing. HALT or FAILURE in `report` replace its figures.
        """
        trial = self.trials[number - 1]
        if trial.state != "running":
            return False
        if HALT in report:
            self._exclude_node(trial, str(report[HALT]), str(report.get(NODE, "")), str(report.get(HOST, "")))
            return False
        if FAILURE in report or not math.isfinite(report[METRIC]):
            self._end_trial(trial, "failed", str(report.get(FAILURE, "undefined metric")))
            return False
        if report["step"] <= trial.step:
            return True
        trial = replace(trial, reports=(*trial.reports, report))
        del self.crash_counts[number]
        self.store.add_report(number, len(trial.reports), report)
        self.store.set_elapsed(self.elapsed_seconds)
        self._update(trial)
        self.callback.on_report(trial, self.trials)
        self._finish_or_prune(trial)
        return self.trials[number - 1].state in ("running", "finished")

    def on_error(self, number: int, error: str) -> None:
        """Records that a trial's process died: it becomes pending, or failed after MAX_RETRIES restarts."""
        trial = self.trials[number - 1]
        if trial.state != "running":
            return
        self.crash_counts[number] += 1
        if self.crash_counts[number] > MAX_RETRIES:
            self._end_trial(trial, "failed", error)
        else:
            self._update(replace(trial, state="pending"))

    def _exclude_node(self, trial: TrialRecord, reason: str, node: str, host: str) -> None:
        """Excludes `node`, on which no trial can run, and restarts its trial; if no other is left, stops the search."""
        self.excluded_nodes.add(node)
        if not self.nodes() - self.excluded_nodes:
            self.halt_reason = reason
            return
        reason = f"{host}: {reason}"
        self.callback.on_node_excluded(trial, reason)
        self.on_error(trial.number, reason)

    def should_stop(self) -> str | None:
        """Returns why the whole search must stop now; None if it must not."""
        budget = self.search.budget
        return (
            self.halt_reason
            or too_many_failures(budget, self.trials)
            or why_stop(budget, self.trials, self.elapsed_seconds)
        )

    @property
    def elapsed_seconds(self) -> float:
        """How long the search has run, over all resumes."""
        return self.seconds_before + self.clock() - self.started

    def close(self) -> None:
        """Leaves the running trials pending for a later controller, and closes the study."""
        self.store.set_elapsed(self.elapsed_seconds)
        self.trials = [replace(trial, state="pending") if trial.state == "running" else trial for trial in self.trials]
        self.callback.on_update(self.trials)
        self.store.close()

    def _finish_or_prune(self, trial: TrialRecord) -> None:
        """Ends a trial that is complete, or that pruning stops at its last report."""
        if is_complete(trial.report):
            self._end_trial(trial, "finished")
        elif (
            trial.reports
            and self.search.pruning
            and should_prune(self.search.pruning, trial.number, learning_curves(self.trials))
        ):
            self._end_trial(trial, "pruned")

    def _end_trial(self, trial: TrialRecord, state: State, error: str = "") -> None:
        trial = replace(trial, state=state, error=error)
        self._update(trial)
        self.callback.on_trial_end(trial, self.trials)
        self.store.finish_trial(trial.number, state, trial.value, error)

    def _update(self, trial: TrialRecord) -> None:
        self.trials[trial.number - 1] = trial
        self.callback.on_update(self.trials)


class SearchFinished(Exception):
    """The search is over: no new trial starts, and running trials must be stopped."""


def learning_curves(trials: Sequence[TrialRecord]) -> dict[int, list[RungReport]]:
    """Returns the reports of each trial, by number, in the form that pruning compares."""
    return {
        trial.number: [RungReport(float(r["percent"]), int(r["images_seen"]), float(r[METRIC])) for r in trial.reports]
        for trial in trials
    }
