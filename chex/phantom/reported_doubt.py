"""Draws how much doubt each report expresses about each observation; the labels with most doubt are uncertain.

The weights are fitted to how uncertain labels depend on each other in CheXpert's train.csv: an uncertain Consolidation
mostly comes with an uncertain Atelectasis ("atelectasis or consolidation") and rarely with an uncertain Pneumonia, and
doubt about the size of the heart often returns in the patient's next report.
"""

import numpy as np

from chex.phantom.patients import Studies

FACTORS = ("any finding", "atelectasis or consolidation", "pneumonia")
LOADINGS = {
    "Atelectasis": (0.22, 0.935, 0.00),
    "Cardiomegaly": (0.25, 0.00, 0.00),
    "Consolidation": (0.22, 0.935, -0.12),
    "Edema": (0.25, 0.00, 0.00),
    "Pleural Effusion": (0.25, 0.00, 0.00),
    "Pneumonia": (0.45, -0.25, 0.70),
}
"""Weight of each of FACTORS in the doubt about an observation; each report draws its factors anew."""
OTHER_LOADINGS = (0.82, 0.0, 0.0)

PATIENT_WEIGHTS = {"Cardiomegaly": 0.62, "Pleural Effusion": 0.53}
"""Weight of a part of the doubt that is the same in all reports of a patient; OTHER_PATIENT_WEIGHT elsewhere."""
OTHER_PATIENT_WEIGHT = 0.1


def draw_doubt(studies: Studies, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Returns the doubt about each observation but No Finding: a float per study, of unit variance; higher is more."""
    reports, patients = len(studies.patient), studies.patient[-1] + 1
    factors = rng.standard_normal((reports, len(FACTORS)))
    doubt = {}
    for name in studies.severity:
        loadings = np.array(LOADINGS.get(name, OTHER_LOADINGS))
        lasting_weight = PATIENT_WEIGHTS.get(name, OTHER_PATIENT_WEIGHT)
        lasting = rng.standard_normal(patients)[studies.patient]
        own_weight = np.sqrt(1 - np.square(loadings).sum() - lasting_weight**2)
        doubt[name] = factors @ loadings + lasting_weight * lasting + own_weight * rng.standard_normal(reports)
    return doubt
