"""Draws the phantom's patients: the number of studies and views, sex, age, and the severity of each disease."""

from dataclasses import dataclass

import numpy as np

from chex.phantom.published_counts import AGE_QUANTILES, Census

PATIENT_SHARE = 0.6
"""Share of a factor's variance that is the same in all studies of a patient."""

MEN_STAY_LONGER = 0.3
"""Added to the log odds of being male per unit of log images: men have a larger share of images than of patients."""

FACTORS = ("age", "congestion", "acuity", "infection")
LOADINGS = {
    "Enlarged Cardiomediastinum": (0.20, 0.07, 0.20, 0.00),
    "Cardiomegaly": (0.35, 0.60, 0.00, 0.00),
    "Lung Lesion": (0.25, 0.00, -0.20, 0.10),
    "Edema": (0.15, 0.70, 0.30, 0.00),
    "Consolidation": (0.05, 0.00, 0.25, 0.60),
    "Pneumonia": (0.00, 0.00, 0.00, 0.80),
    "Atelectasis": (0.10, 0.15, 0.40, 0.00),
    "Pneumothorax": (-0.20, -0.20, 0.40, 0.00),
    "Pleural Effusion": (0.15, 0.50, 0.30, 0.15),
    "Pleural Other": (0.15, 0.00, -0.10, 0.20),
    "Fracture": (0.15, 0.00, 0.10, 0.00),
    "Support Devices": (0.00, 0.15, 0.80, 0.00),
}
"""Weight of each of FACTORS in an observation's severity; independent noise makes its variance 1."""

CAUSES = (
    ("Atelectasis", ("Pleural Effusion",), 0.45),
    ("Lung Opacity", ("Edema", "Consolidation", "Pneumonia", "Atelectasis", "Lung Lesion", "Pleural Effusion"), 1.5),
)
"""(observation, its causes, weight): the severest of the causes adds to the observation's severity."""


@dataclass(frozen=True)
class Studies:
    """Arrays with one entry per study, ordered by patient and time."""

    census: Census
    patient: np.ndarray
    """0-based number of the patient."""
    shapes: np.ndarray
    """The views in order, such as "FFL": two frontals and a lateral."""
    sex: np.ndarray
    """Male, Female or Unknown."""
    age: np.ndarray
    """In years."""
    acuity: np.ndarray
    """How ill the patient is in general, unit variance."""
    severity: dict[str, np.ndarray]
    """How advanced the disease is, about unit variance, for every observation but No Finding."""

    @property
    def images(self) -> np.ndarray:
        """The number of images of each study."""
        return np.char.str_len(self.shapes)


def draw_studies(census: Census, images: int, rng: np.random.Generator) -> Studies:
    """Draws whole studies with `images` images in total, in the proportions of `census`.

    The counts equal those of `census` when `images` does.
    """
    shapes = _shapes(census, images, rng)
    patients = max(1, round(len(shapes) * census.patients / census.studies))
    patient = _patient_of_study(len(shapes), patients, rng)
    sex = _sexes(census, np.bincount(patient, weights=np.char.str_len(shapes)).astype(int), rng)
    lasting = rng.standard_normal((patients, len(FACTORS)))[patient]
    passing = rng.standard_normal((len(patient), len(FACTORS)))
    factors = np.sqrt(PATIENT_SHARE) * lasting + np.sqrt(1 - PATIENT_SHARE) * passing
    factors[:, 0] = lasting[:, 0]
    age, severity = _ages(lasting[:, 0], patient), _severities(factors, rng)
    return Studies(census, patient, shapes, sex[patient], age, factors[:, 2], severity)


def _shapes(census: Census, images: int, rng: np.random.Generator) -> np.ndarray:
    number = {shape: count * images // census.images for shape, count in census.shapes.items()}
    number["F"] += images - sum(len(shape) * count for shape, count in number.items())
    return rng.permutation(np.repeat(list(number), list(number.values())))


def _patient_of_study(studies: int, patients: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the patient of each study, ascending; every patient has at least one study, few have very many."""
    propensity = rng.lognormal(sigma=1.0, size=patients)
    extra = rng.multinomial(studies - patients, propensity / propensity.sum())
    return np.repeat(np.arange(patients), 1 + extra)


def _sexes(census: Census, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws a sex per patient: men have the published share of patients and, as nearly as possible, of `images`."""
    whole = images.sum() / census.images
    longer_stay = MEN_STAY_LONGER * (census.patients < census.studies) * np.log(images)
    score = rng.logistic(size=len(images)) + longer_stay
    unknown = rng.permutation(np.flatnonzero(images == 1))[: round(census.unknown_sex * whole)]
    score[unknown] = -np.inf
    male = np.argsort(np.argsort(-score)) < round(census.men / census.patients * len(images))
    _swap_towards(male, images, round(census.men_images * whole), np.isfinite(score))
    sex = np.where(male, "Male", "Female").astype(object)
    sex[unknown] = "Unknown"
    return sex


def _swap_towards(male: np.ndarray, images: np.ndarray, wanted: int, free: np.ndarray) -> None:
    """Swaps men for women with one image more or less, until men have `wanted` images or no pair is left."""
    missing = wanted - int(images[male].sum())
    step = int(np.sign(missing))
    for size in range(1, int(images.max()) + 1):
        man = np.flatnonzero(free & male & (images == size))
        woman = np.flatnonzero(free & ~male & (images == size + step))
        pairs = min(len(man), len(woman), abs(missing))
        male[man[:pairs]], male[woman[:pairs]] = False, True
        missing -= step * pairs


def _ages(score: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Returns ages in whole years: the quantile of the patient's score, plus a year every eight studies."""
    share = (np.argsort(np.argsort(score, kind="stable")) + 0.5) / len(score)
    quantiles, ages = np.array(AGE_QUANTILES).T
    first = np.r_[True, patient[1:] != patient[:-1]]
    start = np.maximum.accumulate(np.where(first, np.arange(len(patient)), 0))
    years = np.floor(np.interp(share[start], quantiles, ages))
    later = (np.arange(len(patient)) - start) // 8
    return np.where(years < 1, 0, np.minimum(years + later, 90)).astype(int)


def _severities(factors: np.ndarray, rng: np.random.Generator) -> dict[str, np.ndarray]:
    severity = {}
    for name, loadings in LOADINGS.items():
        own_weight = np.sqrt(1 - np.square(loadings).sum())
        severity[name] = factors @ np.array(loadings) + own_weight * rng.standard_normal(len(factors))
    for name, causes, weight in CAUSES:
        own_severity = severity[name] if name in severity else rng.standard_normal(len(factors))
        severest = np.max([severity[cause] for cause in causes], axis=0)
        severity[name] = (own_severity + weight * severest) / np.hypot(1, weight)
    return severity
