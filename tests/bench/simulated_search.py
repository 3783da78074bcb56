"""Searches that never ran: reports with known true AUROCs on films that are hard for all of them alike."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

FILMS, PATIENTS, TRIALS, REPORTS = 234, 200, 50, 6
LIKE_TRIALS, LIKE_REPORTS, LIKE_FILMS = 0.8, 0.5, 0.4
"""How scores correlate: between trials on a film; beyond that, from a report to the trial's next; between films of one
patient, in what is hard for all."""
POSITIVES = {1: (68,), 5: (80, 68, 33, 45, 67)}


@dataclass(frozen=True)
class Simulated:
    """One search: T trials of S reports, U films, K observations; R = T S."""

    truth: np.ndarray
    """float (U, K)."""
    patients: np.ndarray
    """str (U,)."""
    probability: np.ndarray
    """float (R, U, K)."""
    trials: np.ndarray
    """int (R,)."""
    true: np.ndarray
    """float (R,): mean AUROC on all the patients that there could be."""


def simulate(values: np.ndarray, observations: int, rng: np.random.Generator) -> Simulated:
    """A search whose trials would reach the true AUROCs `values` (T,): each rises to it, and scatters around it."""
    trials, patients = len(values), _patients(rng)
    truth = np.stack([_truth(patients, count, rng) for count in POSITIVES[observations]], axis=1)
    steps = np.arange(REPORTS)
    reached = values[:, None] - 0.06 * np.exp(-steps / 1.2) + rng.normal(0, 0.004, (trials, REPORTS))
    offsets = np.linspace(-0.03, 0.03, observations) if observations > 1 else np.zeros(1)
    true = np.clip(reached[:, :, None] + offsets, 0.51, 0.995)
    probability = np.empty((trials, REPORTS, FILMS, observations), dtype=np.float32)
    for k in range(observations):
        distance = np.sqrt(2) * norm.ppf(true[:, :, k])
        noise = _noise(patients, trials, rng)
        probability[..., k] = norm.cdf(distance[:, :, None] * truth[:, k] + noise - 0.5)
    return Simulated(
        truth,
        np.char.add("patient", patients.astype(str)),
        probability.reshape(trials * REPORTS, FILMS, observations),
        np.repeat(np.arange(1, trials + 1), REPORTS),
        true.mean(axis=2).reshape(-1),
    )


def _patients(rng: np.random.Generator) -> np.ndarray:
    """int (U,): everybody has a film, some have more."""
    more = rng.integers(0, PATIENTS, FILMS - PATIENTS)
    return np.sort(np.concatenate([np.arange(PATIENTS), more]))


def _truth(patients: np.ndarray, positives: int, rng: np.random.Generator) -> np.ndarray:
    """float (U,): patients are ill, with all their films; the last one in part, so that the count comes out."""
    order = rng.permutation(PATIENTS)[patients]
    ill = np.argsort(order, kind="stable")[:positives]
    truth = np.zeros(FILMS)
    truth[ill] = 1
    return truth


def _noise(patients: np.ndarray, trials: int, rng: np.random.Generator) -> np.ndarray:
    """float (T, S, U), standard normal, correlated as the constants above say."""
    person, film = rng.normal(size=PATIENTS)[patients], rng.normal(size=FILMS)
    shared = np.sqrt(LIKE_FILMS) * person + np.sqrt(1 - LIKE_FILMS) * film
    own = rng.normal(size=(trials, REPORTS, FILMS))
    for step in range(1, REPORTS):
        own[:, step] = LIKE_REPORTS * own[:, step - 1] + np.sqrt(1 - LIKE_REPORTS**2) * own[:, step]
    noise: np.ndarray = np.sqrt(LIKE_TRIALS) * shared + np.sqrt(1 - LIKE_TRIALS) * own
    return noise
