"""How much of what a search saw each knob explains."""

from dataclasses import dataclass


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
