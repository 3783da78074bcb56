"""Computes how important each parameter of a search is for AUROC."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.trial import FrozenTrial, TrialState

MIN_TRIALS = 20
"""Importances need at least this many finished trials; with fewer they are noise."""


@dataclass(frozen=True)
class Importances:
    """The importance of each parameter by two measures: shares in [0, 1] that sum to 1, the largest first."""

    fanova: dict[str, float]
    """fANOVA (Hutter et al. 2014): the share of the variance of AUROC over the space. Parameters that only some trials
    have are left out. Empty if `why` gives a reason."""
    ped_anova: dict[str, float]
    """PED-ANOVA (Watanabe et al. 2023): the importance for reaching the best tenth of trials. Empty likewise."""
    why: str
    """Why there are no importances; "" if there are."""


def importances(trials: Sequence[FrozenTrial], seed: int) -> Importances:
    """Returns the importances from the complete ones of a study's `trials`; the same seed gives the same result."""
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    if len(complete) < MIN_TRIALS:
        finished = "1 trial" if len(complete) == 1 else f"{len(complete)} trials"
        return Importances({}, {}, f"{finished} finished, and importances need {MIN_TRIALS}")
    if len({trial.value for trial in complete}) == 1:
        return Importances({}, {}, "all finished trials reached the same AUROC")
    from optuna import importance  # imports scikit-learn, which is slow

    study = optuna.create_study(direction="maximize")
    study.add_trials(complete)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that these evaluators are experimental
        evaluators = importance.FanovaImportanceEvaluator(seed=seed), importance.PedAnovaImportanceEvaluator()
        fanova, ped_anova = (importance.get_param_importances(study, evaluator=each) for each in evaluators)
    return Importances(_as_floats(fanova), _as_floats(ped_anova), "")


def _as_floats(importances: dict[str, float]) -> dict[str, float]:
    return {path: float(share) for path, share in importances.items()}
