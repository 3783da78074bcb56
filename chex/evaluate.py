"""`chex evaluate`: weights scored on a tree's validation split, as a page, tables and pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from chex.batches import check_batch
from chex.cache import ImageConfig, open_images
from chex.checkpoint import save_predictions
from chex.config import override, validated
from chex.console import progress_bar
from chex.device import DeviceConfig, pick_device
from chex.errors import InputError, one_of
from chex.evaluation_page import Told, page, text
from chex.exported import load_network
from chex.figures import evaluation
from chex.inference import predict
from chex.output_folder import check_claim, claim
from chex.page import write_page
from chex.provenance import check_unseen, chosen_by
from chex.records import DataConfig, Tree, load_tree
from chex.seeds import stream
from chex.sets import parse_sets
from chex.split import Scored, split
from chex.strict import Strict
from chex.trained import Trained


class EvaluationConfig(Strict):
    """What is scored, and where. The weights decide on the size of images, and which observations there are."""

    data: DataConfig
    image: ImageConfig
    device: DeviceConfig = DeviceConfig()


def evaluate(weights: Path, tree: Path, sets: Sequence[str], recall: float, batch: int, out: Path | None) -> int:
    """Scores `weights` on the tree's validation split, writes a page of it into `out` and prints it in short.

    Without `out` the folder is results/evaluate-<name of the weights>. Raises InputError before films are read.
    """
    _check_options(recall, batch)
    folder = out or Path("results") / f"evaluate-{weights_name(weights)}"
    check_claim(folder, "evaluation", tree=tree)
    trained = load_network(weights)
    config = _config(trained, tree, sets)
    loaded = load_tree(tree)
    scored = split(loaded, config.data).scored
    if trained.provenance:
        check_unseen(trained.provenance, loaded, scored.patients, config.data, str(weights))
    probability = _probability(trained, loaded, scored, config, batch)
    names = config.data.observations
    found = evaluation(scored.truth, probability, scored.patients, names, recall, stream(0, "interval"))
    unit = {"image": ("film", "films"), "study": ("study", "studies")}[config.data.scoring]
    scored_on = f"{len(scored.paths):,} {unit[1]} of {found.patients:,} patients of {tree}"
    head = "\n".join(
        [
            f"{weights}: {trained.backbone} at {trained.image_size} px, scored on {scored_on}"
            f"{_drawn(trained, config.data)}.",
            *_seen(trained, loaded, scored),
            f"SHA-256 of the weights: {trained.sha256}.",
        ]
    )
    told = Told(found, scored.truth, probability, head, unit, recall)
    claim(folder, "evaluation", tree=tree)
    with progress_bar("drawing the page") as advance:
        index = write_page(page(told), folder, advance)
    save_predictions(folder, scored.paths, scored.patients, names, scored.truth, probability)
    print(f"{text(told)}\n\n{index}")
    return 0


def weights_name(weights: Path) -> str:
    """What weights go by: their file's or folder's name, or that of a file's folder where it is called `best`."""
    if weights.is_dir():
        return weights.resolve().name
    return weights.resolve().parent.name if weights.stem == "best" else weights.stem


def _drawn(trained: Trained, data: DataConfig) -> str:
    """Says where the patients are from who are scored, and calls them held out only where that is known."""
    if data.holdout is None:
        return ""
    known = trained.provenance and not trained.provenance.unknown
    return " held out of its train.csv" if known else f", drawn from its train.csv (data.holdout {data.holdout})"


def _seen(trained: Trained, tree: Tree, scored: Scored) -> list[str]:
    """Says whether the weights know the patients who are scored, of whom `check_unseen` found none trained on."""
    if trained.provenance is None:
        return ["It is not known which patients these weights saw."]
    if trained.provenance.unknown:
        files = ", ".join(trained.provenance.unknown)
        return [f"It is not known which patients the weights saw that these started from ({files})."]
    chosen = len(chosen_by(trained.provenance, tree, scored.patients))
    luck = f"; {chosen:,} of them chose the best of its reports, which is optimistic" if chosen else ""
    return [f"None of these patients was trained on{luck}."]


def _check_options(recall: float, batch: int) -> None:
    if not 0 < recall <= 1:
        raise InputError(
            f"--recall {recall:g}: recall is a share of the positives, above 0 and at most 1; give for example .9"
        )
    check_batch(batch)


def _config(trained: Trained, tree: Path, sets: Sequence[str]) -> EvaluationConfig:
    data = {"root": str(tree), "observations": list(trained.observations)}
    image = {"size": trained.image_size, "resize": trained.image.resize}
    given = override({"data": data, "image": image}, parse_sets(sets))
    config = validated(EvaluationConfig, given, "chex evaluate")
    for name in config.data.observations:
        if name not in trained.observations:
            raise InputError(
                f"data.observations: the weights were not trained on '{name}'; {one_of(name, trained.observations)}"
            )
    for name in ("size", "resize"):
        asked, had = getattr(config.image, name), getattr(trained.image, name)
        if asked != had:
            raise InputError(f"image.{name}: {asked} is refused, the weights were trained with {had}; leave it out")
    if config.data.root != tree:
        raise InputError(f"data.root: {config.data.root} is refused beside --data {tree}; give --data alone")
    return config


def _probability(trained: Trained, tree: Tree, scored: Scored, config: EvaluationConfig, batch: int) -> np.ndarray:
    """float32 (U, K): the probability of each observation asked for, in each unit that is scored."""
    with progress_bar("decoding films") as advance:
        images = open_images(tree.root, tree.paths[scored.films], config.image, advance)
    device = pick_device(config.device)
    films = np.arange(len(images))
    with progress_bar("scoring films") as advance:
        logits = predict(
            trained.model.to(device), trained.outputs, images, films, config.device, device, batch, advance
        )
    columns = [trained.observations.index(name) for name in config.data.observations]
    return scored.pooled(logits.sigmoid().numpy()[:, columns])
