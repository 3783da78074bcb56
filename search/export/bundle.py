"""Implements `chex-search export`: writes a folder with a search's best network for use on other machines."""

import json
import math
import platform
import tempfile
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import timm
import torch
from PIL import Image
from safetensors.torch import save

from chex.cohort.patients_seen import KEY, dump_provenance
from chex.cohort.split import split
from chex.config import RunConfig, load_run, to_yaml
from chex.data import prediction_files
from chex.data.batches import load_batch
from chex.data.data_config import ImageConfig
from chex.data.decoding import decode
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.evaluation.load_model import LoadedModel, load_model
from chex.evaluation.model_bundle import ABOUT, RECALL, RULES, WEIGHTS, BundleMetadata, Threshold, preprocessing
from chex.models.timm_export import Layout, to_timm
from chex.phantom.radiograph import Radiograph, draw_radiograph
from chex.phantom.write import is_phantom
from chex.runtime import run_folder
from chex.runtime.atomic_io import atomic_folder
from chex.runtime.output_folder import MARK, check_claim, write_mark
from chex.runtime.rng import rng_for
from chex.schema.labels import BLANK, FIVE, NEGATIVE, POSITIVE, UNCERTAIN, label_columns
from chex.statistics.intervals import Estimate
from chex.statistics.metrics import METRIC
from chex.statistics.thresholds import choose_thresholds, counts_at, evaluate_probabilities, metrics_at
from chex.uncertainty.policies import TABLE_POLICIES
from chex.uncertainty.policy_config import RelabelConfig
from search.config.local_data import with_local_data
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.export.model_card import CardFacts, LabelCounts, Selection, TreeSummary, model_card
from search.export.onnx import check_packages, export_graph, largest_difference
from search.space.param_paths import get_path
from search.trials.layout import BEST, CONFIRMED, REPORT, STRATEGIES, TRIALS
from search.trials.layout import CONFIRM_FOLDER as CONFIRM
from search.trials.predictions import scored_on
from search.trials.trial import may_win
from search.trials.trial_text import format_value

CARD, CONFIG, GRAPH = "README.md", "config.json", "model.onnx"
FILES = (MARK, ABOUT, BEST, CARD, CONFIG, WEIGHTS, GRAPH)
"""All files that an exported folder may contain."""
CHECK_IMAGES = 8
"""Number of images on which the exported network is compared with the original."""
TOLERANCE = 1e-4
"""The largest allowed difference in log odds between the original and the export, or between two machines."""


def export_bundle(folder: Path, out: Path, estimate_auroc: Callable[[], Estimate], onnx: bool) -> str:
    """Writes the best network of the search in `folder` into `out` atomically and returns a message for the user.

    `estimate_auroc` returns the network's AUROC, corrected for its selection. Raises InputError, before anything is
    written, if there is no network yet, if `out` has other files than an earlier export, or if the exported network
    does not reproduce the original's probabilities.
    """
    check_output_folder(out)
    if onnx:
        check_packages()
    search = load_search_folder(folder)
    trials = _read_trials(folder)
    eligible = [may_win(*each) for each in zip(trials["state"], trials[METRIC], strict=True)]
    best = trials.iloc[int(np.nanargmax(trials[METRIC].where(pd.Series(eligible))))]
    config, model = load_run(folder / BEST), load_model(folder / run_folder.WEIGHTS)
    patients, truth, probability = prediction_files.load_predictions(
        folder / run_folder.PREDICTIONS, model.observations
    )
    evaluation = evaluate_probabilities(
        truth, probability, patients, model.observations, RECALL, rng_for(search.base.seed, "interval")
    )
    _check_same_trial(folder, evaluation.mean["AUROC"].value, float(best[METRIC]))
    layout = to_timm(model.model, model.outputs, model.backbone)
    metadata = BundleMetadata(
        backbone=model.backbone,
        last_layer=layout.last_layer,
        observations=model.observations,
        multiclass=tuple(model.observations[column] for column in model.outputs.multiclass),
        preprocessing=preprocessing(model.image, model.model.normalization),
        scoring=config.data.eval_unit,
        thresholds=select_thresholds(model.observations, truth, probability),
        labels=scored_on(folder),
        seed=config.seed,
        versions=_versions(),
    )
    tree, selection = _summarise_tree(search, config, metadata), _selection(folder, search, config, trials, best)
    try:
        with atomic_folder(out.resolve()) as new_folder:
            write_mark(new_folder, "export")
            _write(new_folder, metadata, layout, config, model)
            timm_difference, onnx_difference = _check_export(new_folder, model, onnx)
            debiased_auroc, retrained = estimate_auroc(), _retrained_auroc(folder, selection.trial)
            facts = CardFacts(
                metadata,
                config,
                evaluation,
                len(truth),
                debiased_auroc,
                retrained,
                selection,
                tree,
                _read_strategies(folder),
                onnx_difference,
            )
            (new_folder / CARD).write_text(model_card(facts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written ({str(error.strerror).lower()}); give another folder") from error
    return _describe_export(out, selection.trial, timm_difference, onnx_difference)


def _read_strategies(folder: Path) -> pd.DataFrame | None:
    return pd.read_csv(folder / STRATEGIES) if (folder / STRATEGIES).is_file() else None


def check_output_folder(out: Path) -> None:
    """Raises InputError unless `out` is new, empty or contains only an earlier export."""
    check_claim(out, "export", "")
    eligible = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if unknown := [name for name in eligible if name not in FILES]:
        raise InputError(
            f"{out} has other files than an earlier export, first {unknown[0]}; give a new or empty folder"
        )


def select_thresholds(
    observations: Sequence[str], truth: np.ndarray, probability: np.ndarray
) -> dict[str, dict[str, Threshold]]:
    """Returns, per observation, a threshold for each of RULES, selected and measured on (N, K) truth and probability.

    NaN in `truth` means not scored. Except for .5, a threshold is TOLERANCE in log odds below the probability of the
    image that defines it, so that this image is called positive on every machine.
    """
    return {
        name: {
            rule: _threshold(
                truth[:, column], probability[:, column], threshold if rule == RULES[0] else _just_below(threshold)
            )
            for rule, threshold in zip(
                RULES, choose_thresholds(truth[:, column], probability[:, column], RECALL), strict=True
            )
        }
        for column, name in enumerate(observations)
    }


def draw_check_images(image: ImageConfig) -> np.ndarray:
    """Returns uint8 (CHECK_IMAGES, size, size): images of phantom chests, decoded as a run decodes them."""
    healthy = Radiograph(
        view="PA", sex="Female", strength=dict.fromkeys(FIVE, 0.0), mimic=dict.fromkeys(FIVE, 0.0), devices=False
    )
    images = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.png"
        for number in range(CHECK_IMAGES):
            rng = rng_for(number, "drawn film")
            Image.fromarray(draw_radiograph(healthy, rng, rng)).save(path)
            images.append(decode(path, image.size, image.resize))
    return np.stack(images)


def _retrained_auroc(folder: Path, trial: int) -> Estimate | None:
    """Returns the AUROC that `chex-search confirm` measured for the trial's config; None if it was not retrained."""
    path = folder / CONFIRM / CONFIRMED
    if not path.is_file():
        return None
    frame = pd.read_csv(path)
    rows = frame.loc[frame["trial"] == trial, ["again", "low", "high"]].to_numpy().tolist()
    return Estimate(*rows[0]) if rows else None


def _read_trials(folder: Path) -> pd.DataFrame:
    needed = (TRIALS, BEST, run_folder.WEIGHTS, run_folder.PREDICTIONS)
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise InputError(
            f"{folder}: no trial has ended with a result (no {missing[0]} there); wait for the first, or continue with "
            f"`chex-search resume {folder}`"
        )
    return pd.read_csv(folder / TRIALS)


def _check_same_trial(folder: Path, actual: float, expected: float) -> None:
    if not math.isclose(actual, expected, abs_tol=1e-9):
        raise InputError(
            f"{folder}: {run_folder.PREDICTIONS} has AUROC {actual:.6f} and the best trial of {TRIALS} {expected:.6f}, "
            "so they are from different trials; if the search is running, try again, or else give the original folder"
        )


def _just_below(threshold: float) -> float:
    if not 0 < threshold < 1:
        return threshold
    return 1 / (1 + (1 - threshold) / threshold * math.exp(TOLERANCE))


def _threshold(truth: np.ndarray, probability: np.ndarray, threshold: float) -> Threshold:
    positives = int((truth == 1).sum())
    if math.isnan(threshold):
        return Threshold(threshold=None, recall=None, precision=None, positives=positives)
    recall, precision, *_ = metrics_at(counts_at(truth, probability, threshold, np.ones((1, len(truth)))))[0].tolist()
    return Threshold(
        threshold=threshold, recall=_none_if_nan(recall), precision=_none_if_nan(precision), positives=positives
    )


def _none_if_nan(value: float) -> float | None:
    return None if math.isnan(value) else value


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "chexpert-search": version("chexpert-search"),
    }


def _summarise_tree(search: SearchConfig, config: RunConfig, metadata: BundleMetadata) -> TreeSummary | str:
    try:
        data = with_local_data(search.model_copy(update={"base": config}), whole=False).base.data
    except InputError:
        return "which could not be fetched when this was exported"
    root = data.root
    if root is None or not root.is_dir():
        return "which did not exist when this was exported"
    try:
        tree = load_tree(root)
        parts = split(tree, data)
    except InputError:
        return "which could not be read when this was exported"
    if parts.scored.digest(metadata.observations) != metadata.labels:
        return "whose validation labels had changed since the search when this was exported"
    images = tree.train.take(parts.rows)
    image_labels = images.labels[:, label_columns(metadata.observations)]
    counts = {
        name: LabelCounts(
            *(int((image_labels[:, column] == code).sum()) for code in (POSITIVE, NEGATIVE, UNCERTAIN, BLANK))
        )
        for column, name in enumerate(metadata.observations)
    }
    return TreeSummary(len(images), len(np.unique(images.patients)), counts, is_phantom(root))


def _selection(
    folder: Path, search: SearchConfig, config: RunConfig, trials: pd.DataFrame, best: pd.Series
) -> Selection:
    run = config.model_dump(mode="json")
    return Selection(
        search=folder.resolve().name,
        trial=int(best["trial"]),
        states={str(state): int(count) for state, count in trials["state"].value_counts(sort=False).items()},
        search_finished=(folder / REPORT).is_file(),
        sampler=search.resolved_sampler().kind,
        sampler_seed=search.sampler.seed,
        pruning=search.pruning is not None,
        params={path: format_value(get_path(run, path)) for path in search.space if pd.notna(best.get(path))},
    )


def _write(folder: Path, metadata: BundleMetadata, layout: Layout, config: RunConfig, model: LoadedModel) -> None:
    """Writes all files except the model card and the ONNX graph into `folder`."""
    provenance = {} if model.provenance is None else {KEY: dump_provenance(model.provenance)}
    (folder / WEIGHTS).write_bytes(save(layout.arrays, metadata={"format": "pt"} | provenance))
    (folder / CONFIG).write_text(json.dumps(_timm_config(metadata, layout), indent=2) + "\n", encoding="utf-8")
    (folder / ABOUT).write_text(json.dumps(metadata.model_dump(mode="json"), indent=2, allow_nan=False) + "\n")
    (folder / BEST).write_text(_portable_yaml(config), encoding="utf-8")


def _timm_config(metadata: BundleMetadata, layout: Layout) -> dict[str, object]:
    """Returns timm's config.json: the architecture, its outputs and its input."""
    settings = metadata.preprocessing
    return {
        "architecture": metadata.backbone.partition(".")[0],
        "num_classes": len(metadata.observations),
        "label_names": list(metadata.observations),
        "pretrained_cfg": {
            "input_size": [settings.channels, settings.size, settings.size],
            "interpolation": settings.interpolation,
            "mean": [settings.mean],
            "std": [settings.std],
            "num_classes": len(metadata.observations),
            "classifier": metadata.last_layer,
            "fixed_input_size": layout.fixed_size,
        },
    }


def _portable_yaml(config: RunConfig) -> str:
    """Returns the run as YAML, without the paths of the machine that it ran on."""
    paths = {
        "data.root": config.data.root,
        "model.pretrained_file": config.model.pretrained_file,
        **{f"relabel.{kind}": getattr(config.relabel, kind) for kind in TABLE_POLICIES},
    }
    weights = config.model.pretrained_file  # the name is kept, so that no other weights are used
    omitted = [path for path, value in paths.items() if value is not None]
    portable = config.model_copy(
        update={
            "data": config.data.model_copy(update={"root": None}),
            "image": config.image.model_copy(update={"cache_dir": ImageConfig().cache_dir}),
            "model": config.model.model_copy(update={"pretrained_file": weights and Path(weights.name)}),
            "relabel": RelabelConfig(),
        }
    )
    return (
        f"# To train it again: chex train {BEST} --data TREE\n"
        f"# Omitted, because they were paths of another machine: {', '.join(omitted) or 'none'}"
        f"{' (model.pretrained_file keeps its name)' if weights else ''}\n{to_yaml(portable)}"
    )


def _check_export(folder: Path, model: LoadedModel, onnx: bool) -> tuple[float, float | None]:
    """Returns the largest difference of timm's log odds and of the graph's probabilities from the network's.

    Writes the graph if `onnx`. Raises InputError if a difference is too large or timm cannot load the folder.
    """
    images = load_batch(
        draw_check_images(model.image), np.arange(CHECK_IMAGES), model.model.normalization, torch.device("cpu")
    )
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except RuntimeError as error:
        raise InputError(
            f"model.backbone: timm cannot load the trained {model.backbone} "
            f"({' '.join(str(error).split())}); choose another backbone for an export"
        ) from error
    with torch.no_grad():
        logits, timm_logits = model.outputs.logits(model.model(images)), network(images)
    timm_difference = float((logits - timm_logits).abs().max())
    if not torch.allclose(logits, timm_logits, rtol=TOLERANCE, atol=TOLERANCE):
        raise InputError(
            f"model.backbone: timm's {model.backbone} gives other log odds than the trained network, by up "
            f"to {timm_difference:.1g}; choose another backbone for an export"
        )
    if not onnx:
        return timm_difference, None
    content = export_graph(network, images)
    (folder / GRAPH).write_bytes(content)
    return timm_difference, largest_difference(content, images, logits.sigmoid().numpy())


def _describe_export(out: Path, trial: int, timm_difference: float, onnx_difference: float | None) -> str:
    lines = [
        f"{out}: trial {trial}; timm's log odds differ by at most {timm_difference:.1g} on {CHECK_IMAGES} drawn images",
        f"  {out / CARD}      the model card: description, evaluation, how to load it with timm",
        f"  chex predict {out} IMAGE.jpg      the predictions for an image",
    ]
    if onnx_difference is not None:
        lines.insert(
            1, f"  {out / GRAPH}      the ONNX graph; its probabilities differ by at most {onnx_difference:.1g}"
        )
    return "\n".join(lines)
