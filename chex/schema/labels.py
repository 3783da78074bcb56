"""The 14 observations, the five that the competition scores, and the codes of a label."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator

from chex.errors import suggest

OBSERVATIONS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)
"""The observations in the order of the CSV's columns (Irvin et al. 2019, Table 1)."""

FIVE = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "Pleural Effusion")
"""The observations that the CheXpert competition scores (Irvin et al. 2019, section 4)."""

POSITIVE, NEGATIVE, UNCERTAIN, BLANK = 1, 0, -1, -2
"""The codes of a label in an int8 array. BLANK is an empty CSV cell (not mentioned) and counts as negative."""


def _parse_observations(value: object) -> tuple[str, ...]:
    if value == "five":
        return FIVE
    names = [value] if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names:
        raise ValueError(f"{value!r} is not an observation, a list of observations or 'five'")
    if isinstance(value, str) and "," in value:
        raise ValueError(f"{value!r} is one string; write a list of observations: [{', '.join(value.split(','))}]")
    for name in names:
        if name not in OBSERVATIONS:
            raise ValueError(f"{name!r} is not an observation; {suggest(name, (*OBSERVATIONS, 'five'))}")
    if len(set(names)) < len(names):
        raise ValueError(f"{value!r} names an observation twice; name each once")
    return tuple(names)


Observations = Annotated[tuple[str, ...], BeforeValidator(_parse_observations)]
"""The type of a config field: one observation, a list of them, or `five`."""


def label_columns(observations: Sequence[str]) -> np.ndarray:
    """Returns int (K,): the columns of `observations` in a label array (N, 14)."""
    return np.array([OBSERVATIONS.index(name) for name in observations])
