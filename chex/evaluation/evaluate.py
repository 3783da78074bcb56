"""`chex evaluate`: scores weights on the validation split of a tree, and writes a page with tables and plots."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from chex.cohort.patients_seen import check_unseen, selected_on
from chex.cohort.split import EvaluationSet, split
from chex.config import apply_overrides, validate
from chex.data.data_config import DataConfig, ImageConfig, check_batch_size
from chex.data.image_cache import load_or_build
from chex.data.prediction_files import save_predictions
from chex.data.tables import Tree, load_tree
from chex.errors import InputError, suggest
from chex.evaluation.evaluation_report import page, text
from chex.evaluation.evaluation_tables import EvaluationNotes
from chex.evaluation.load_model import LoadedModel
from chex.evaluation.model_bundle import load_bundle
from chex.models.inference import predict
from chex.reporting.console import progress_bar
from chex.reporting.html_report import write_page
from chex.runtime.device import pick_device
from chex.runtime.device_config import DeviceConfig
from chex.runtime.output_folder import check_claim, claim
from chex.runtime.rng import rng_for
from chex.schema.overrides import parse_overrides
from chex.schema.strict_model import Strict
from chex.statistics.thresholds import evaluate_probabilities


class EvaluationConfig(Strict):
    """What is scored, and on which device. The weights determine the image size and which observations are possible."""

    data: DataConfig
    image: ImageConfig
    device: DeviceConfig = DeviceConfig()


def evaluate(weights: Path, tree: Path, sets: Sequence[str], recall: float, batch: int, out: Path | None) -> int:
    """Scores `weights` on the validation split of `tree`, writes a page into `out` and prints a summary. Returns 0.

    Without `out` the folder is results/evaluate-<name of the weights>. Raises InputError where an option, the weights,
    the tree or an image cannot be used, and where the weights were trained on a scored patient.
    """
    _check_options(recall, batch)
    folder = out or Path("results") / f"evaluate-{weights_name(weights)}"
    check_claim(folder, "evaluation", tree=tree)
    trained = load_bundle(weights)
    config = _load_config(trained, tree, sets)
    loaded = load_tree(tree)
    scored = split(loaded, config.data).scored
    if trained.provenance:
        check_unseen(trained.provenance, loaded, scored.patients, config.data, str(weights))
    probability = _probability(trained, loaded, scored, config, pick_device(config.device), batch)
    names = config.data.observations
    found = evaluate_probabilities(scored.truth, probability, scored.patients, names, recall, rng_for(0, "interval"))
    unit = {"image": ("image", "images"), "study": ("study", "studies")}[config.data.eval_unit]
    scored_on = f"{len(scored.paths):,} {unit[1]} of {found.patients:,} patients of {tree}"
    head = "\n".join(
        [
            f"{weights}: {trained.backbone} at {trained.image_size} px, scored on {scored_on}"
            f"{_drawn_from(trained, config.data)}.",
            *_seen_note(trained, loaded, scored),
            f"SHA-256 of the weights: {trained.sha256}.",
        ]
    )
    notes = EvaluationNotes(found, scored.truth, probability, head, unit, recall)
    claim(folder, "evaluation", tree=tree)
    with progress_bar("drawing the page") as advance:
        index = write_page(page(notes), folder, advance)
    save_predictions(folder, scored.paths, scored.patients, names, scored.truth, probability)
    print(f"{text(notes)}\n\n{index}")
    return 0


def weights_name(weights: Path) -> str:
    """Returns the name of a file or folder of weights; for a file named `best`, the name of its folder."""
    if weights.is_dir():
        return weights.resolve().name
    return weights.resolve().parent.name if weights.stem == "best" else weights.stem


def _drawn_from(trained: LoadedModel, data: DataConfig) -> str:
    """Returns words on where the scored patients are from. Says `held out` only if the weights have a full record."""
    if data.holdout_fraction is None:
        return ""
    known = trained.provenance and not trained.provenance.unknown
    return (
        " held out of its train.csv"
        if known
        else f", drawn from its train.csv (data.holdout_fraction {data.holdout_fraction})"
    )


def _seen_note(trained: LoadedModel, tree: Tree, scored: EvaluationSet) -> list[str]:
    """Returns a sentence on what the weights have seen of the scored patients. `check_unseen` has passed before."""
    if trained.provenance is None:
        return ["It is not known which patients these weights saw."]
    if trained.provenance.unknown:
        files = ", ".join(trained.provenance.unknown)
        return [f"It is not known which patients the weights saw that these started from ({files})."]
    chosen = len(selected_on(trained.provenance, tree, scored.patients))
    luck = f"; by the AUROC on {chosen:,} of them the best report was chosen, which is optimistic" if chosen else ""
    return [f"None of these patients was trained on{luck}."]


def _check_options(recall: float, batch: int) -> None:
    if not 0 < recall <= 1:
        raise InputError(
            f"--recall {recall:g}: recall is a share of the positives, above 0 and at most 1; give for example .9"
        )
    check_batch_size(batch)


def _load_config(trained: LoadedModel, tree: Path, sets: Sequence[str]) -> EvaluationConfig:
    data = {"root": str(tree), "observations": list(trained.observations)}
    image = {"size": trained.image_size, "resize": trained.image.resize}
    content = apply_overrides({"data": data, "image": image}, parse_overrides(sets))
    config = validate(EvaluationConfig, content, "chex evaluate")
    for name in config.data.observations:
        if name not in trained.observations:
            raise InputError(
                f"data.observations: the weights were not trained on '{name}'; {suggest(name, trained.observations)}"
            )
    for name in ("size", "resize"):
        value, trained_value = getattr(config.image, name), getattr(trained.image, name)
        if value != trained_value:
            raise InputError(
                f"image.{name}: {value} is refused, the weights were trained with {trained_value}; leave it out"
            )
    if config.data.root != tree:
        raise InputError(f"data.root: {config.data.root} is refused beside --data {tree}; give --data alone")
    return config


def _probability(
    trained: LoadedModel,
    tree: Tree,
    scored: EvaluationSet,
    config: EvaluationConfig,
    device: torch.device,
    batch: int,
) -> np.ndarray:
    """Returns the probability of each configured observation in each scored unit, float32 (U, K)."""
    with progress_bar("decoding images") as advance:
        images = load_or_build(tree.root, tree.paths[scored.images], config.image, advance)
    rows = np.arange(len(images))
    with progress_bar("scoring images") as advance:
        logits = predict(trained.model.to(device), trained.outputs, images, rows, config.device, device, batch, advance)
    columns = [trained.observations.index(name) for name in config.data.observations]
    return scored.max_over_study(logits.sigmoid().numpy()[:, columns])
