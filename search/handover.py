"""`chex-search export`: a folder with all that it takes to use a search's best network on another machine."""

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

from chex import checkpoint
from chex.atomic import replacing_folder
from chex.batches import load_batch
from chex.cache import ImageConfig
from chex.config import RunConfig, dump, load_run
from chex.decoding import decode
from chex.errors import InputError
from chex.exported import ABOUT, RECALL, RULES, WEIGHTS, About, Threshold, preprocessing
from chex.figures import counts_at, evaluation, figures_at, thresholds
from chex.intervals import Estimate
from chex.labels import BLANK, FIVE, NEGATIVE, POSITIVE, UNCERTAIN, columns
from chex.metrics import METRIC
from chex.output_folder import MARK, check_claim, mark
from chex.phantom.film import Film, draw_film
from chex.phantom.write import is_phantom
from chex.provenance import KEY
from chex.provenance import dump as dump_provenance
from chex.records import load_tree
from chex.relabel import RelabelConfig
from chex.seeds import stream
from chex.split import split
from chex.timm_layout import Layout, to_timm
from chex.trained import Trained, load_trained
from chex.uncertainty import TABLE_POLICIES
from search.confirm import CONFIRMED
from search.confirm import FOLDER as CONFIRM
from search.export import BEST, TRIALS
from search.ledger import may_win
from search.model_card import Chosen, Facts, Labels, Trees, card
from search.onnx_graph import check_packages, difference, graph
from search.paths import value_at
from search.predictions import scored_on
from search.progress import shown
from search.search_config import SearchConfig
from search.study import REPORT, load_begun, located

CARD, CONFIG, GRAPH = "README.md", "config.json", "model.onnx"
FILES = (MARK, ABOUT, BEST, CARD, CONFIG, WEIGHTS, GRAPH)
"""All that an exported folder may hold."""
DRAWN = 8
"""Films on which what was written is compared with the network."""
ROUND_OFF = 1e-4
"""In log odds: what another machine's arithmetic, or timm's layout, may change."""


def export(folder: Path, out: Path, estimate: Callable[[], Estimate], onnx: bool) -> str:
    """Writes the best network of the search in `folder` into `out`, whole or not at all; what to say comes back.

    `estimate` gives its AUROC corrected for its having been chosen. Raises InputError before anything
    is written where there is no network yet, or `out` holds other things than an earlier export; and where what was
    written would not give the network's own probabilities.
    """
    check_out(out)
    if onnx:
        check_packages()
    search = load_begun(folder)
    trials = _trials(folder)
    there = [may_win(*each) for each in zip(trials["state"], trials[METRIC], strict=True)]
    best = trials.iloc[int(np.nanargmax(trials[METRIC].where(pd.Series(there))))]
    config, trained = load_run(folder / BEST), load_trained(folder / checkpoint.WEIGHTS)
    patients, truth, probability = checkpoint.load_predictions(folder / checkpoint.PREDICTIONS, trained.observations)
    found = evaluation(truth, probability, patients, trained.observations, RECALL, stream(search.base.seed, "interval"))
    _check_same_trial(folder, found.mean["AUROC"].value, float(best[METRIC]))
    layout = to_timm(trained.model, trained.outputs, trained.backbone)
    about = About(
        backbone=trained.backbone,
        last_layer=layout.last_layer,
        observations=trained.observations,
        multiclass=tuple(trained.observations[column] for column in trained.outputs.multiclass),
        preprocessing=preprocessing(trained.image, trained.model.normalisation),
        scoring=config.data.scoring,
        thresholds=chosen_thresholds(trained.observations, truth, probability),
        labels=scored_on(folder),
        seed=config.seed,
        versions=_versions(),
    )
    tree, chosen = _tree(search, config, about), _chosen(folder, search, config, trials, best)
    try:
        with replacing_folder(out.resolve()) as beside:
            mark(beside, "export")
            _write(beside, about, layout, config, trained)
            apart, graph_apart = _checked(beside, trained, onnx)
            expected, again = estimate(), _again(folder, chosen.trial)
            facts = Facts(about, config, found, len(truth), expected, again, chosen, tree, graph_apart)
            (beside / CARD).write_text(card(facts), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{out} cannot be written ({str(error.strerror).lower()}); give another folder") from error
    return _told(out, chosen.trial, apart, graph_apart)


def check_out(out: Path) -> None:
    """Raises InputError unless `out` is new, empty or an earlier export with nothing else in it."""
    check_claim(out, "export", "")
    there = sorted(path.name for path in out.iterdir()) if out.exists() else []
    if foreign := [name for name in there if name not in FILES]:
        raise InputError(
            f"{out} holds other things than an earlier export, first {foreign[0]}; give a new or empty folder"
        )


def chosen_thresholds(
    observations: Sequence[str], truth: np.ndarray, probability: np.ndarray
) -> dict[str, dict[str, Threshold]]:
    """Of each observation one for each of RULES, chosen and judged on (N, K) truth (NaN: not scored) and probability.

    Youden's and that of recall lie ROUND_OFF in log odds below the film that they are the probability of, so that this
    film is called whatever the machine.
    """
    return {
        name: {
            rule: _threshold(truth[:, column], probability[:, column], cut if rule == RULES[0] else _below(cut))
            for rule, cut in zip(RULES, thresholds(truth[:, column], probability[:, column], RECALL), strict=True)
        }
        for column, name in enumerate(observations)
    }


def drawn_films(image: ImageConfig) -> np.ndarray:
    """uint8 (DRAWN, size, size): films of phantom chests, decoded as a run of these images decodes them."""
    healthy = Film(
        view="PA", sex="Female", strength=dict.fromkeys(FIVE, 0.0), mimic=dict.fromkeys(FIVE, 0.0), devices=False
    )
    films = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.png"
        for number in range(DRAWN):
            rng = stream(number, "drawn film")
            Image.fromarray(draw_film(healthy, rng, rng)).save(path)
            films.append(decode(path, image.size, image.resize))
    return np.stack(films)


def _again(folder: Path, trial: int) -> Estimate | None:
    """What `chex-search confirm` found of the trial's config; None where it did not train it."""
    path = folder / CONFIRM / CONFIRMED
    if not path.is_file():
        return None
    frame = pd.read_csv(path)
    rows = frame.loc[frame["trial"] == trial, ["again", "low", "high"]].to_numpy().tolist()
    return Estimate(*rows[0]) if rows else None


def _trials(folder: Path) -> pd.DataFrame:
    needed = (TRIALS, BEST, checkpoint.WEIGHTS, checkpoint.PREDICTIONS)
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise InputError(
            f"{folder}: no trial has ended with a result (no {missing[0]} there); wait for the first, or go on with "
            f"`chex-search resume {folder}`"
        )
    return pd.read_csv(folder / TRIALS)


def _check_same_trial(folder: Path, given: float, told: float) -> None:
    if not math.isclose(given, told, abs_tol=1e-9):
        raise InputError(
            f"{folder}: {checkpoint.PREDICTIONS} has AUROC {given:.6f} and the best trial of {TRIALS} {told:.6f}, so "
            "that they are not of one trial; where the search is running try again, else give the folder as it was left"
        )


def _below(cut: float) -> float:
    if not 0 < cut < 1:
        return cut
    return 1 / (1 + (1 - cut) / cut * math.exp(ROUND_OFF))


def _threshold(truth: np.ndarray, probability: np.ndarray, cut: float) -> Threshold:
    positives = int((truth == 1).sum())
    if math.isnan(cut):
        return Threshold(threshold=None, recall=None, precision=None, positives=positives)
    recall, precision, *_ = figures_at(counts_at(truth, probability, cut, np.ones((1, len(truth)))))[0].tolist()
    return Threshold(threshold=cut, recall=_or_none(recall), precision=_or_none(precision), positives=positives)


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "chexpert-search": version("chexpert-search"),
    }


def _tree(search: SearchConfig, config: RunConfig, about: About) -> Trees | str:
    try:
        data = located(search.model_copy(update={"base": config}), whole=False).base.data
    except InputError:
        return "which could not be fetched when this was exported"
    root = data.root
    if root is None or not root.is_dir():
        return "which was not there when this was exported"
    try:
        tree = load_tree(root)
        parts = split(tree, data)
    except InputError:
        return "which could not be read when this was exported"
    if parts.scored.digest(about.observations) != about.labels:
        return "which had other validation labels when this was exported than the search was scored on"
    films = tree.train.take(parts.rows)
    own = films.labels[:, columns(about.observations)]
    counts = {
        name: Labels(*(int((own[:, column] == code).sum()) for code in (POSITIVE, NEGATIVE, UNCERTAIN, BLANK)))
        for column, name in enumerate(about.observations)
    }
    return Trees(len(films), len(np.unique(films.patients)), counts, is_phantom(root))


def _chosen(folder: Path, search: SearchConfig, config: RunConfig, trials: pd.DataFrame, best: pd.Series) -> Chosen:
    run = config.model_dump(mode="json")
    return Chosen(
        search=folder.resolve().name,
        trial=int(best["trial"]),
        states={str(state): int(count) for state, count in trials["state"].value_counts(sort=False).items()},
        ended=(folder / REPORT).is_file(),
        sampler=search.sampler.kind,
        sampler_seed=search.sampler.seed,
        stopping=search.stopping is not None,
        knobs={path: shown(value_at(run, path)) for path in search.space if pd.notna(best.get(path))},
    )


def _write(folder: Path, about: About, layout: Layout, config: RunConfig, trained: Trained) -> None:
    """Everything but the card and the graph."""
    seen = {} if trained.provenance is None else {KEY: dump_provenance(trained.provenance)}
    (folder / WEIGHTS).write_bytes(save(layout.arrays, metadata={"format": "pt"} | seen))
    (folder / CONFIG).write_text(json.dumps(_timm_config(about, layout), indent=2) + "\n", encoding="utf-8")
    (folder / ABOUT).write_text(json.dumps(about.model_dump(mode="json"), indent=2, allow_nan=False) + "\n")
    (folder / BEST).write_text(_portable(config), encoding="utf-8")


def _timm_config(about: About, layout: Layout) -> dict[str, object]:
    """What timm reads beside weights: the architecture, its outputs and its input."""
    how = about.preprocessing
    return {
        "architecture": about.backbone.partition(".")[0],
        "num_classes": len(about.observations),
        "label_names": list(about.observations),
        "pretrained_cfg": {
            "input_size": [how.channels, how.size, how.size],
            "interpolation": how.interpolation,
            "mean": [how.mean],
            "std": [how.std],
            "num_classes": len(about.observations),
            "classifier": about.last_layer,
            "fixed_input_size": layout.fixed_size,
        },
    }


def _portable(config: RunConfig) -> str:
    """The run as YAML, without the paths of the machine that it ran on."""
    paths = {
        "data.root": config.data.root,
        "model.weights": config.model.weights,
        **{f"relabel.{kind}": getattr(config.relabel, kind) for kind in TABLE_POLICIES},
    }
    weights = config.model.weights  # its name stays, so that other weights are not taken in its place
    gone = [path for path, value in paths.items() if value is not None]
    plain = config.model_copy(
        update={
            "data": config.data.model_copy(update={"root": None}),
            "image": config.image.model_copy(update={"cache": ImageConfig().cache}),
            "model": config.model.model_copy(update={"weights": weights and Path(weights.name)}),
            "relabel": RelabelConfig(),
        }
    )
    return (
        f"# To train it again: chex train {BEST} --data TREE\n"
        f"# Left out, because they were paths of another machine: {', '.join(gone) or 'none'}"
        f"{' (of model.weights all but the name)' if weights else ''}\n{dump(plain)}"
    )


def _checked(folder: Path, trained: Trained, onnx: bool) -> tuple[float, float | None]:
    """How far the log odds that timm gives of what is in `folder` are from the network's, and a graph's probabilities.

    Writes the graph where one is asked for. Raises InputError where either is too far.
    """
    films = load_batch(drawn_films(trained.image), np.arange(DRAWN), trained.model.normalisation, torch.device("cpu"))
    try:
        network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    except RuntimeError as error:
        raise InputError(
            f"model.backbone: timm cannot load the {trained.backbone} that was trained "
            f"({' '.join(str(error).split())}); choose another backbone for what is to be handed on"
        ) from error
    with torch.no_grad():
        logits, theirs = trained.outputs.logits(trained.model(films)), network(films)
    apart = float((logits - theirs).abs().max())
    if not torch.allclose(logits, theirs, rtol=ROUND_OFF, atol=ROUND_OFF):
        raise InputError(
            f"model.backbone: timm's {trained.backbone} gives other log odds than the network that was trained, by up "
            f"to {apart:.1g}; choose another backbone for what is to be handed on"
        )
    if not onnx:
        return apart, None
    content = graph(network, films)
    (folder / GRAPH).write_bytes(content)
    return apart, difference(content, films, logits.sigmoid().numpy())


def _told(out: Path, trial: int, apart: float, graph_apart: float | None) -> str:
    lines = [
        f"{out}: trial {trial}; timm's log odds are at most {apart:.1g} from the network's on {DRAWN} drawn films",
        f"  {out / CARD}      the model card: what it is, how good, how to load it with timm",
        f"  chex predict {out} FILM.jpg      what it says of a film",
    ]
    if graph_apart is not None:
        lines.insert(1, f"  {out / GRAPH}      the ONNX graph, its probabilities at most {graph_apart:.1g} away")
    return "\n".join(lines)
