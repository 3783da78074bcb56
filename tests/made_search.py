"""Folders of searches that nobody ran: a book, labels and probabilities as a search leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chex.cohort.split import EvaluationSet
from chex.config import apply_overrides, to_yaml, validate
from chex.data import prediction_files
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import claim
from chex.statistics.metrics import METRIC, auroc
from search.config.search_config import SearchConfig
from search.optimize.samplers import AUROC_OF, SamplerConfig, propose
from search.trials.layout import BASE, CONFIG, trial_folder
from search.trials.predictions import gather, write_labels
from search.trials.study_store import StudyStore
from search.trials.trial import State

SPACE: dict[str, Any] = {
    "policy.default": {"choice": ["zeros", "ones", "smoothed_ones"]},
    "policy.default.low": {"uniform": [0.4, 0.7], "condition": {"policy.default": "smoothed_ones"}},
    "model.backbone": {"choice": ["densenet121", "resnet50"]},
    "optimizer.lr": {"loguniform": [1e-4, 1e-2]},
    "schedule.epochs": {"int": [1, 4]},
}
REPORTS = 4
FAILURE = "no number </script><script>document.title = 'broken'</script>"


def made_search(
    folder: Path,
    trials: int,
    space: dict[str, Any] = SPACE,
    observations: Sequence[str] = ("Cardiomegaly", "Edema"),
    units: int = 120,
    root: Path = Path("CheXpert-v1.0-small"),
) -> SearchConfig:
    """A search in `folder`: every fifth trial failed, of the others every third was stopped at half of its schedule.

    The policy `ones` is worth .5 and `resnet50` nothing, in standard deviations between positives and negatives.
    """
    rng = np.random.default_rng(0)
    base = apply_overrides({}, {"data.root": str(root), "data.observations": list(observations), "device.threads": 1})
    search = validate(SearchConfig, {"base": base, "space": space, "budget": {"trials": trials}}, "made")
    claim(folder, "search")
    write_text(folder / CONFIG, to_yaml(search))
    write_text(folder / BASE, to_yaml(search.base))
    truth = (rng.random((units, len(observations))) < 0.3).astype(np.float32)
    places = np.arange(units)
    paths = np.array([f"valid/patient{n:05d}/study1/view1_frontal.jpg" for n in places])
    scored = EvaluationSet(places, places, paths, np.array([f"patient{n:05d}" for n in places]), truth)
    write_labels(folder, scored, observations)
    book, hard = StudyStore(folder, search.search_space()), rng.normal(size=truth.shape)
    for place in range(trials):
        params = propose(
            SamplerConfig(kind="random", seed=place), search.search_space(), (), book.history(), lambda _: True
        )
        number = book.create_trial(params)
        state: State = "failed" if place % 5 == 4 else "pruned" if place % 3 == 2 else "finished"
        worth = 1.2 + 0.5 * (params.get("policy.default") == "ones") + rng.normal(0, 0.1)
        reports, given = list[dict[str, Any]](), dict[int, np.ndarray]()
        for step in range(1, 1 + (REPORTS // 2 if state == "pruned" else REPORTS)):
            images = 100 * step * int(params.get("schedule.epochs", 1))
            scores = worth * (1 - 0.5**step) * truth + 0.8 * hard + 0.6 * rng.normal(size=truth.shape)
            given[images] = (1 / (1 + np.exp(1 - scores))).astype(np.float32)
            reached = float(np.mean([auroc(truth[:, k], given[images][:, k]) for k in range(truth.shape[1])]))
            best = max([reached, *(report["auroc"] for report in reports)])
            figures = {
                "step": step,
                "steps": REPORTS,
                "percent": 100 * step / REPORTS,
                "images_seen": images,
                "seconds": 60.0 * step,
                "auroc": reached,
                METRIC: best,
            } | {
                f"{AUROC_OF}{name}": float(auroc(truth[:, k], given[images][:, k]))
                for k, name in enumerate(observations)
            }
            reports.append(figures)
            book.add_report(number, step, figures)
        home = trial_folder(folder, number)
        home.mkdir(parents=True)
        prediction_files.save_probabilities(home, observations, given, scored.digest(observations))
        book.finish_trial(number, state, reports[-1][METRIC], FAILURE if state == "failed" else "")
    book.set_elapsed(3600.0)
    book.close()
    gather(folder, list(range(1, trials + 1)))
    return search
