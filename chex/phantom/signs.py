"""What a phantom film has to show: per scored observation how strong its sign is, or its mimic, and where they lie."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chex.labels import FIVE


@dataclass(frozen=True)
class Signs:
    strength: Mapping[str, float]
    """Per scored observation, 0 (absent) to 1."""
    mimic: Mapping[str, float]
    """Per scored observation, 0 (absent) to 1: how much of something that looks like the sign and is not."""
    side: Mapping[str, int]
    """Per scored observation, -1 the patient's right, 1 the left; the worse side where both are affected."""
    choice: Mapping[str, float]
    """Per scored observation, 0..1: picks among the forms that its sign or mimic can take."""
    both: float
    """How much of the worse side's effusion the other side has, 0..1."""

    def share(self, observation: str, side: int) -> float:
        """The strength of a two-sided sign on one side."""
        strength = self.strength[observation]
        return strength if side == self.side[observation] else strength * self.both


def place_signs(strength: Mapping[str, float], mimic: Mapping[str, float], study: np.random.Generator) -> Signs:
    """Signs with sides and forms drawn from `study`, so that every film of a study shows them in the same place."""
    side = dict(zip(FIVE, study.choice([-1, 1], len(FIVE)).tolist(), strict=True))
    choice = dict(zip(FIVE, study.random(len(FIVE)).tolist(), strict=True))
    both = float(study.uniform(0.3, 0.9) * (study.random() < 0.45))
    return Signs(strength, mimic, side, choice, both)
