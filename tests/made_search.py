"""Folders of searches that nobody ran: a book, labels and probabilities as a search leaves them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chex import checkpoint
from chex.atomic import write_text
from chex.config import dump, override, validated
from chex.metrics import METRIC, auroc
from chex.output_folder import claim
from chex.split import Scored
from search.book import Book
from search.export import trial_folder
from search.ledger import State
from search.predictions import gather, write_labels
from search.sampler import SamplerConfig, propose
from search.search_config import SearchConfig
from search.stored import CONFIG
from search.study import BASE

SPACE: dict[str, Any] = {
    "policy.default": {"choice": ["zeros", "ones", "smoothed_ones"]},
    "policy.default.low": {"uniform": [0.4, 0.7], "when": {"policy.default": "smoothed_ones"}},
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
    base = override({}, {"data.root": str(root), "data.observations": list(observations), "device.threads": 1})
    search = validated(SearchConfig, {"base": base, "space": space, "budget": {"trials": trials}}, "made")
    claim(folder, "search")
    write_text(folder / CONFIG, dump(search))
    write_text(folder / BASE, dump(search.base))
    truth = (rng.random((units, len(observations))) < 0.3).astype(np.float32)
    places = np.arange(units)
    paths = np.array([f"valid/patient{n:05d}/study1/view1_frontal.jpg" for n in places])
    scored = Scored(places, places, paths, np.array([f"patient{n:05d}" for n in places]), truth)
    write_labels(folder, scored, observations)
    book, hard = Book(folder, search.knobs()), rng.normal(size=truth.shape)
    for place in range(trials):
        knobs = propose(SamplerConfig(kind="random", seed=place), search.knobs(), (), book.history(), lambda _: True)
        number = book.begin(knobs)
        state: State = "failed" if place % 5 == 4 else "stopped" if place % 3 == 2 else "finished"
        worth = 1.2 + 0.5 * (knobs.get("policy.default") == "ones") + rng.normal(0, 0.1)
        reports, given = list[dict[str, Any]](), dict[int, np.ndarray]()
        for step in range(1, 1 + (REPORTS // 2 if state == "stopped" else REPORTS)):
            images = 100 * step * int(knobs.get("schedule.epochs", 1))
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
            }
            reports.append(figures)
            book.report(number, step, figures)
        home = trial_folder(folder, number)
        home.mkdir(parents=True)
        checkpoint.save_probabilities(home, observations, given, scored.digest(observations))
        book.end(number, state, reports[-1][METRIC], FAILURE if state == "failed" else "")
    book.spend(3600.0)
    book.close()
    gather(folder, list(range(1, trials + 1)))
    return search
