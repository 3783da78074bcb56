"""How much of what a search saw each knob explains."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

ENOUGH = 20
"""Finished trials below which importances are noise."""


@dataclass(frozen=True)
class Importances:
    """Shares of each knob, in [0, 1], summing to 1 over the knobs that have one; largest first."""

    fanova: dict[str, float]
    """fANOVA (Hutter et al. 2014): share of the variance of AUROC over the space. Knobs that only some trials have
    are left out. Empty where `why` says so."""
    ped_anova: dict[str, float]
    """PED-ANOVA (Watanabe et al. 2023): importance for reaching the best tenth of trials. Empty as above."""
    why: str
    """Why there are no figures; empty where there are."""


def importances(trials: Sequence[FrozenTrial], seed: int) -> Importances:
    """The importances in a study's `trials`; only those that are complete count. The same seed gives the same."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < ENOUGH:
        finished = "1 trial" if len(complete) == 1 else f"{len(complete)} trials"
        return Importances({}, {}, f"{finished} finished, and importances need {ENOUGH}")
    if len({trial.value for trial in complete}) == 1:
        return Importances({}, {}, "all finished trials reached the same AUROC")
    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    fanova = _shares(study, FanovaImportanceEvaluator(seed=seed))
    return Importances(fanova, _shares(study, PedAnovaImportanceEvaluator()), "")


def _shares(study: Study, evaluator: BaseImportanceEvaluator) -> dict[str, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is experimental in Optuna
        found = get_param_importances(study, evaluator=evaluator)
    return {path: float(share) for path, share in found.items()}
