"""Tables of probabilities for uncertain cells."""

from pathlib import Path

import numpy as np
import pandas as pd

from chex.atomic import replacing


def write_probabilities(
    path: Path, paths: np.ndarray, observations: tuple[str, ...], probabilities: np.ndarray
) -> None:
    """Writes a CSV: Path and a column per observation, 6 decimals, blank where `probabilities` (N, K) is NaN.

    `paths` is str (N,); images without any probability are left out.
    """
    listed = ~np.isnan(probabilities).all(axis=1)
    table = pd.DataFrame(probabilities[listed], columns=list(observations))
    table.insert(0, "Path", paths[listed])
    with replacing(path) as beside:
        table.to_csv(beside, index=False, float_format="%.6f")
