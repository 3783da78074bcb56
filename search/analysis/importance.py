"""Computes how important each parameter of a search is for AUROC."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.trial import create_trial

from search.space.space import Space

MIN_TRIALS = 20
"""Importances need at least this many trials; with fewer they are noise."""


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


def importances(
    params: Mapping[int, Mapping[str, Any]], final_aurocs: Mapping[int, float], space: Space, seed: int
) -> Importances:
    """Returns the importances from the trials in `final_aurocs`, the AUROC at the end of each by its number.

    `params` has the parameters of these trials. The same seed gives the same result.
    """
    if len(final_aurocs) < MIN_TRIALS:
        have = "1 trial has" if len(final_aurocs) == 1 else f"{len(final_aurocs)} trials have"
        return Importances({}, {}, f"{have} a result, and importances need {MIN_TRIALS}")
    if len(set(final_aurocs.values())) == 1:
        return Importances({}, {}, "all trials reached the same AUROC")
    trials = [
        create_trial(
            value=auroc,
            params=dict(params[number]),
            distributions={path: space[path].domain for path in params[number]},
        )
        for number, auroc in final_aurocs.items()
    ]
    from optuna import importance  # imports scikit-learn, which is slow

    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna warns that these evaluators are experimental
        evaluators = importance.FanovaImportanceEvaluator(seed=seed), importance.PedAnovaImportanceEvaluator()
        fanova, ped_anova = (importance.get_param_importances(study, evaluator=each) for each in evaluators)
    return Importances(_as_floats(fanova), _as_floats(ped_anova), "")


def _as_floats(importances: dict[str, float]) -> dict[str, float]:
    return {path: float(share) for path, share in importances.items()}
