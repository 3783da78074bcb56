"""Holds the published frequencies of CheXpert that the phantom reproduces (Irvin et al. 2019; train.csv, valid.csv)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Census:
    """The published counts of one split."""

    split: str
    images: int
    studies: int
    patients: int
    first_patient: int
    """The number in the name of the first patient's folder."""
    shapes: dict[str, int]
    """Number of studies by their views in order: F is a frontal, L a lateral."""
    projections: dict[str, int]
    """Number of frontal images by AP/PA."""
    men: int
    """Number of male patients."""
    men_images: int
    """Number of their images."""
    unknown_sex: int
    """Number of patients whose sex is Unknown; each has one image."""


TRAIN = Census(
    split="train",
    images=223_414,
    studies=187_641,
    patients=64_540,
    first_patient=1,
    # The only split without a second lateral that meets every count of view files: view1_frontal 187,625,
    # view2_frontal 3,361, view3_frontal 41, view1_lateral 16, view2_lateral 30,633, view3_lateral 1,738.
    shapes={"F": 153_631, "L": 16, "FF": 1_582, "FL": 30_633, "FFF": 41, "FFL": 1_738},
    projections={"AP": 161_590, "PA": 29_420, "LL": 16, "RL": 1},
    men=35_811,
    men_images=132_636,
    unknown_sex=1,
)
VALID = Census(
    split="valid",
    images=234,
    studies=200,
    patients=200,
    first_patient=64_541,
    shapes={"F": 169, "FL": 28, "FFL": 2, "FLL": 1},
    projections={"AP": 169, "PA": 33},
    men=109,
    men_images=128,
    unknown_sex=0,
)

AGE_QUANTILES = (
    (0.0, 0.0),
    (3 / TRAIN.images, 0.0),
    (3 / TRAIN.images, 18.0),
    (31_380 / TRAIN.images, 40.0),
    (0.25, 49.0),
    (100_654 / TRAIN.images, 60.0),
    (0.50, 62.0),
    (0.75, 74.0),
    (187_648 / TRAIN.images, 80.0),
    (215_835 / TRAIN.images, 90.0),
    (1.0, 90.0),
)
"""(cumulative share of images, age): three images at age 0, none from 1 to 17, 7,579 at the cap of 90."""

# Positive, uncertain and negative labels among all train images, then among frontal ones; what is left is blank.
_LABELS = {
    "No Finding": (22_381, 0, 0, 16_974, 0, 0),
    "Enlarged Cardiomediastinum": (10_798, 12_403, 21_638, 9_187, 10_286, 15_345),
    "Cardiomegaly": (27_000, 8_087, 11_116, 23_385, 6_707, 7_869),
    "Lung Opacity": (105_581, 5_598, 6_599, 94_211, 4_431, 5_051),
    "Lung Lesion": (9_186, 1_488, 1_270, 7_040, 1_108, 776),
    "Edema": (52_246, 12_984, 20_726, 49_675, 11_818, 15_915),
    "Consolidation": (14_783, 27_742, 28_097, 12_983, 24_381, 19_608),
    "Pneumonia": (6_039, 18_770, 2_799, 4_675, 15_981, 1_875),
    "Atelectasis": (33_376, 33_739, 1_328, 29_720, 29_863, 1_025),
    "Pneumothorax": (19_448, 3_145, 56_341, 17_693, 2_708, 47_823),
    "Pleural Effusion": (86_187, 11_628, 35_396, 76_899, 9_578, 25_299),
    "Pleural Other": (3_523, 2_653, 316, 2_505, 1_812, 209),
    "Fracture": (9_040, 642, 2_512, 7_436, 499, 1_993),
    "Support Devices": (116_001, 1_079, 6_137, 107_170, 915, 5_340),
}

UNLABELLED_IMAGES = 12
"""Train images without a label of any observation."""

VALID_POSITIVES = {
    "No Finding": 38,
    "Enlarged Cardiomediastinum": 109,
    "Cardiomegaly": 68,
    "Lung Opacity": 126,
    "Lung Lesion": 1,
    "Edema": 45,
    "Consolidation": 33,
    "Pneumonia": 8,
    "Atelectasis": 80,
    "Pneumothorax": 8,
    "Pleural Effusion": 67,
    "Pleural Other": 1,
    "Fracture": 0,
    "Support Devices": 107,
}
"""Number of images in valid.csv that the radiologists labelled positive."""


def label_rates(observation: str, view: str) -> np.ndarray:
    """Returns train's shares of positive, uncertain, negative and blank labels; `view` is all, frontal or lateral."""
    counts = np.array(_LABELS[observation])
    frontals = TRAIN.projections.values()
    every, frontal = (TRAIN.images, counts[:3]), (sum(frontals), counts[3:])
    images, three = {"all": every, "frontal": frontal, "lateral": (every[0] - frontal[0], every[1] - frontal[1])}[view]
    return np.append(three, images - three.sum()) / images
