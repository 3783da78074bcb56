"""Searches that never ran: reports with known true AUROCs on images that are hard for all of them alike."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from search.trials.trial import TrialRecord

FILMS, PATIENTS, TRIALS, REPORTS = 234, 200, 50, 6
RARE = 10
"""Trials of the rarer value of the parameter."""
LIKE_TRIALS, LIKE_REPORTS, LIKE_FILMS = 0.8, 0.5, 0.4
"""How scores correlate: between trials on an image; beyond that, from a report to the trial's next; between images of
one patient, in what is hard for all."""
POSITIVES = {1: (68,), 5: (80, 68, 33, 45, 67)}
AUROC, PARAM = 0.85, "policy.default"


@dataclass(frozen=True)
class Scenario:
    """How the true AUROCs of trials come about."""

    name: str
    spread: float = 0.0
    """Standard deviation between trials; a part of it follows another parameter."""
    lead: float = 0.0
    """What one trial is better by."""
    effect: float = 0.0
    """What the rarer value of the parameter is better by."""


@dataclass(frozen=True)
class Simulated:
    """One search: T trials of S reports, U images, K observations; R = T S."""

    truth: np.ndarray
    """float (U, K)."""
    patients: np.ndarray
    """str (U,)."""
    probability: np.ndarray
    """float (R, U, K)."""
    trials: np.ndarray
    """int (R,)."""
    rows: list[TrialRecord]
    distance: np.ndarray
    """float (T, S, K): between the means of positives and negatives, in standard deviations."""

    @property
    def true(self) -> np.ndarray:
        """float (R,): mean AUROC on all the patients that there could be."""
        true: np.ndarray = norm.cdf(self.distance / np.sqrt(2)).mean(axis=2).reshape(-1)
        return true

    def unseen(self, films: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Truth (images, K) and probability (R, images, K) of other patients, an image each."""
        truth = (rng.random((films, self.truth.shape[1])) < 0.3).astype(float)
        return truth, _probability(self.distance, truth, np.arange(films), rng)


def simulate(scenario: Scenario, observations: int, rng: np.random.Generator) -> Simulated:
    """A search whose trials rise to their true AUROCs, report by report, and scatter around them."""
    rare = rng.permutation(TRIALS) < RARE
    rate = rng.random(TRIALS)
    values = np.full(TRIALS, AUROC) + scenario.effect * rare
    values += scenario.spread * (0.8 * rng.normal(size=TRIALS) + 0.6 * np.sqrt(12) * (rate - 0.5))
    values[rng.integers(TRIALS)] += scenario.lead
    rise = -0.06 * np.exp(-np.arange(REPORTS) / 1.2) + rng.normal(0, 0.004, (TRIALS, REPORTS))
    offsets = np.linspace(-0.03, 0.03, observations) if observations > 1 else np.zeros(1)
    true = np.clip((values[:, None] + rise)[:, :, None] + offsets, 0.51, 0.995)
    distance = np.sqrt(2) * norm.ppf(true)
    patients = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, FILMS - PATIENTS)]))
    truth = np.stack([_truth(patients, count, rng) for count in POSITIVES[observations]], axis=1)
    probability = _probability(distance, truth, patients, rng)
    rows = [
        TrialRecord(number + 1, "finished", {PARAM: "ones" if rare[number] else "zeros", "optimizer.lr": rate[number]})
        for number in range(TRIALS)
    ]
    names = np.array([f"patient{patient:05d}" for patient in patients])
    return Simulated(truth, names, probability, np.repeat(np.arange(1, TRIALS + 1), REPORTS), rows, distance)


def _truth(patients: np.ndarray, positives: int, rng: np.random.Generator) -> np.ndarray:
    """float (U,): patients are ill, with all their images; the last one in part, so that the count comes out."""
    order = rng.permutation(PATIENTS)[patients]
    truth = np.zeros(len(patients))
    truth[np.argsort(order, kind="stable")[:positives]] = 1
    return truth


def _probability(distance: np.ndarray, truth: np.ndarray, patients: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float (R, U, K): binormal scores in each observation, correlated as the constants above say."""
    trials, reports, observations = distance.shape
    given = np.empty((trials, reports, *truth.shape), dtype=np.float32)
    for k in range(observations):
        person, film = rng.normal(size=patients.max() + 1)[patients], rng.normal(size=len(patients))
        shared = np.sqrt(LIKE_FILMS) * person + np.sqrt(1 - LIKE_FILMS) * film
        own = rng.normal(size=(trials, reports, len(patients)))
        for step in range(1, reports):
            own[:, step] = LIKE_REPORTS * own[:, step - 1] + np.sqrt(1 - LIKE_REPORTS**2) * own[:, step]
        noise = np.sqrt(LIKE_TRIALS) * shared + np.sqrt(1 - LIKE_TRIALS) * own
        given[..., k] = norm.cdf(distance[:, :, [k]] * truth[:, k] + noise - 0.5)
    return given.reshape(trials * reports, *truth.shape)
