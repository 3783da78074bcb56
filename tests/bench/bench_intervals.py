"""How often the 95 % interval of an AUROC holds the truth, near 1, with few positives and several images a patient.

python tests/bench/bench_intervals.py [SAMPLES [SEED]]

Scores are normal; a patient's images share half of the noise where he has several, and most of them share his label.
Beside the intervals of `aurocs` stand DeLong's alone on the logit scale and a percentile bootstrap over patients.
"""

import sys

import numpy as np
from scipy.stats import norm

from chex.statistics.delong import auroc_influences, auroc_intervals, standard_errors
from chex.statistics.intervals import Estimate, logit_interval
from chex.statistics.metrics import patient_weights, weighted_auroc

AUROCS = (0.85, 0.95, 0.99, 0.999)
SAMPLED = ((200, 1, 0.3), (200, 1, 0.03), (70, 3, 0.3), (30, 1, 0.3))
"""Patients, images of each, prevalence."""
DRAWS = 300


def sample(
    rng: np.random.Generator, patients: int, films: int, prevalence: float, auroc: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, scores and patients of one sample."""
    of_film = np.repeat(np.arange(patients), films)
    own = rng.random(len(of_film)) < (0.2 if films > 1 else 0)
    truth = np.where(own, rng.random(len(of_film)), rng.random(patients)[of_film]) < prevalence
    shared = 0.5 if films > 1 else 0
    noise = np.sqrt(shared) * rng.normal(size=patients)[of_film] + np.sqrt(1 - shared) * rng.normal(size=len(of_film))
    return truth.astype(float), norm.ppf(auroc) * np.sqrt(2) * truth + noise, of_film.astype(str)


def intervals(truth: np.ndarray, scores: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> list[Estimate]:
    """Ours, DeLong's and the bootstrap's."""
    found = auroc_influences(truth[:, None], scores[None, :, None], patients, [0])
    auroc = float(found.auroc[0])
    drawn = weighted_auroc(truth, scores, patient_weights(patients, rng, DRAWS))
    return [
        auroc_intervals(truth[:, None], scores[None, :, None], patients)[0].mean,
        logit_interval(auroc, float(standard_errors(found)[0])),
        Estimate(auroc, *np.nanpercentile(drawn, [2.5, 97.5]).tolist()),
    ]


def main(samples: int = 400, seed: int = 7) -> None:
    """Prints a row an AUROC and kind of sample."""
    print("AUROC  patients images prevalence | covers: ours DeLong bootstrap | width: ours DeLong bootstrap | seen 1")
    for auroc in AUROCS:
        for patients, films, prevalence in SAMPLED:
            rng, told = np.random.default_rng(seed), []
            while len(told) < samples:
                truth, scores, names = sample(rng, patients, films, prevalence, auroc)
                if len(np.unique(truth)) == 2:
                    found = intervals(truth, scores, names, rng)
                    covers = [each.low <= auroc <= each.high for each in found]
                    told.append([*covers, *(each.high - each.low for each in found), found[0].value == 1])
            figures = "  ".join(f"{figure:.3f}" for figure in np.mean(told, axis=0))
            print(f"{auroc:<7}{patients:>8}{films:>6}{prevalence:>11} | {figures}", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
