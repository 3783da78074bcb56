"""Says what a phantom image shows: the strength of each scored observation's sign or mimic, and where it lies."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from chex.schema.labels import FIVE


@dataclass(frozen=True)
class Signs:
    """The signs and mimics of the scored observations in one study."""

    strength: Mapping[str, float]
    """How strong each scored observation's sign is, 0 (absent) to 1."""
    mimic: Mapping[str, float]
    """How strong a mimic is, something that only looks like the sign: per scored observation, 0 (absent) to 1."""
    side: Mapping[str, int]
    """Per scored observation, -1 the patient's right, 1 the left; the worse side where both are affected."""
    choice: Mapping[str, float]
    """Per scored observation, 0..1: selects among the forms that its sign or mimic can take."""
    both: float
    """The other side's effusion as a share of the worse side's, 0..1."""

    def share(self, observation: str, side: int) -> float:
        """Returns the strength of a two-sided sign on one side."""
        strength = self.strength[observation]
        return strength if side == self.side[observation] else strength * self.both


def place_signs(strength: Mapping[str, float], mimic: Mapping[str, float], study_rng: np.random.Generator) -> Signs:
    """Draws sides and forms from `study_rng`, so that every image of a study shows its signs in the same place."""
    side = dict(zip(FIVE, study_rng.choice([-1, 1], len(FIVE)).tolist(), strict=True))
    choice = dict(zip(FIVE, study_rng.random(len(FIVE)).tolist(), strict=True))
    both = float(study_rng.uniform(0.3, 0.9) * (study_rng.random() < 0.45))
    return Signs(strength, mimic, side, choice, both)
