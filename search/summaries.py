"""What TensorBoard reads of a search, made from values: columns, sessions, scalars, curves, pictures."""

import io
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from PIL import Image
from tensorboard.compat.proto import summary_pb2
from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata
from tensorboard.plugins.pr_curve.metadata import create_summary_metadata as pr_curve_metadata
from tensorboard.plugins.scalar.metadata import create_summary_metadata as scalar_metadata
from tensorboard.plugins.text.metadata import create_summary_metadata as text_metadata
from tensorboard.util.tensor_util import make_tensor_proto

from chex.console import decimal
from chex.metrics import METRIC
from search.ledger import TrialRow
from search.space import Space

TAGS = {
    METRIC: "AUROC/best",
    "auroc": "AUROC/mean",
    "recall": "recall/mean",
    "precision": "precision/mean",
    "error_rate": "error rate/mean",
    "train_loss": "loss/train",
    "valid_loss": "loss/validation",
    "lr": "progress/learning rate",
    "percent": "progress/percent",
    "round": "progress/round",
    "epoch": "progress/epoch",
    "seconds": "progress/seconds",
    "micro": "progress/films in a pass",
}
"""Where a report's figures are shown; images_seen is the step of all of them."""
VALIDATION = "on the validation images, averaged over the observations where it is defined"
ABOUT = {
    METRIC: f"The highest AUROC so far in the trial, {VALIDATION}: what the search maximises.",
    "auroc": f"The area under the ROC curve at this report, {VALIDATION}.",
    "recall": f"The share of positives that are given a probability of .5 or more, {VALIDATION}.",
    "precision": f"The share of positives among those that are given .5 or more, {VALIDATION}.",
    "error_rate": f"The share of images on the wrong side of .5, {VALIDATION}.",
    "train_loss": "Cross-entropy on training images, the mean since the report before.",
    "valid_loss": "Cross-entropy on the validation images, whose labels no policy changes.",
    "lr": "The learning rate of the head.",
    "percent": "Of the trial's steps, how many are done.",
    "round": "Of the run's rounds, from 1.",
    "epoch": "Epochs done.",
    "seconds": "Of training and validation so far.",
    "micro": "Images that pass through the network at once: fewer than asked for where the GPU lacks memory.",
}
"""What each figure is, in a sentence."""
METRICS = {
    METRIC: "best AUROC",
    "auroc": "AUROC",
    "recall": "recall",
    "precision": "precision",
    "error_rate": "error rate",
    "train_loss": "train loss",
    "valid_loss": "validation loss",
    "percent": "percent trained",
    "seconds": "seconds",
}
"""Figures that the HParams table has a column of, and the columns' heads; all but the first are of the last report."""
THRESHOLDS = np.linspace(0, 1, 201)
"""Evenly spaced from 0 to 1: the PR curves plugin takes no others."""
DENSITY = 110
"""Dots an inch of pictures: at their full size they fill a tab's width."""
LONGEST = 80
"""Characters of a run's name."""


def tag(figure: str) -> str:
    """The tag of a report's figure; those of single observations, as `auroc/Edema`, are a group of their own."""
    name, _, observation = figure.partition("/")
    return f"{TAGS[name].partition('/')[0]} by observation/{observation}" if observation else TAGS[name]


def columns_summary(space: Space, observations: Sequence[str]) -> summary_pb2.Summary:
    """The HParams table's columns: every knob of the space, METRIC first among the metrics."""
    columns = [hparams.HParam(path, _domain(knob.domain)) for path, knob in space.items()]
    figures = dict(METRICS)
    if len(observations) > 1:
        figures |= {f"auroc/{name}": f"AUROC {name}" for name in observations}
    metrics = [hparams.Metric(tag(figure), display_name=head) for figure, head in figures.items()]
    return hparams.hparams_config_pb(columns, metrics)


def start_summary(row: TrialRow, space: Space) -> summary_pb2.Summary:
    """What opens a trial's row of the HParams table: its knobs; one that it does not have stays blank."""
    knobs = {path: _told(row.knobs[path], knob.domain) for path, knob in space.items() if path in row.knobs}
    return hparams.hparams_pb(knobs, trial_id=f"trial {row.number}")


def end_summary(failed: bool) -> summary_pb2.Summary:
    """What closes a row of the HParams table."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    about = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return _summary(metadata.SESSION_END_INFO_TAG, metadata=about, tensor=metadata.NULL_TENSOR)


def scalars_summary(report: Mapping[str, Any]) -> summary_pb2.Summary:
    """The report's defined figures as scalars, each with what it is."""
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(
                tag=tag(name),
                metadata=scalar_metadata(_head(name), _described(name)),
                tensor=make_tensor_proto(np.float32(value)),
            )
            for name, value in report.items()
            if name.partition("/")[0] in TAGS and isinstance(value, int | float) and math.isfinite(value)
        ]
    )


def outcome_summary(row: TrialRow) -> summary_pb2.Summary:
    """How an ended trial ended, in a sentence, for the tab Text."""
    best = f"its best AUROC is {decimal(row.value)}" if row.state != "failed" else row.error
    how = {"stopped": f"was stopped early at {row.percent} % of its schedule", "finished": "finished"}
    text = f"Trial {row.number} {how.get(row.state, row.state)}: {best}."
    about = text_metadata("", "How the trial ended.")
    return _summary("outcome/text_summary", metadata=about, tensor=make_tensor_proto([text.encode()]))


def run_name(row: TrialRow) -> str:
    """What TensorBoard calls the trial: its number, its policies and its backbone, as far as they are searched over.

    The same whenever the search goes on.
    """
    told = [
        str(value) if path in ("policy.default", "model.backbone") else f"{path.partition('.')[2]} {value}"
        for path, value in row.knobs.items()
        if path == "model.backbone" or (path.startswith("policy.") and path.count(".") == 1)
    ]
    name = ", ".join([f"{row.number:03d}", *told]).replace("/", "-")
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1].rstrip(' ,')}…"


def curve_summary(observation: str, truth: np.ndarray, probability: np.ndarray) -> summary_pb2.Summary:
    """A precision-recall curve from truth (N,) of 1, 0 or NaN (not scored) and probability (N,)."""
    about = pr_curve_metadata(observation, "Validation films, weights of the trial's best report.", len(THRESHOLDS))
    tensor = make_tensor_proto(pr_curve(truth, probability))
    return _summary(f"precision and recall/{observation}", metadata=about, tensor=tensor)


def pr_curve(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """float32 (6, THRESHOLDS): true and false positives, true and false negatives, precision, recall.

    Precision is 0 where nothing is called, recall is 0 without positives.
    """
    called = probability >= THRESHOLDS[:, None]
    positive, negative = truth == 1, truth == 0
    found, alarms = (called & positive).sum(axis=1), (called & negative).sum(axis=1)
    precision = found / np.maximum(1, found + alarms)
    recall = found / max(1, positive.sum())
    return np.stack([found, alarms, negative.sum() - alarms, positive.sum() - found, precision, recall]).astype(
        np.float32
    )


def figure_summary(name: str, figure: Figure, description: str) -> summary_pb2.Summary:
    """A chart as a picture."""
    figure.set_dpi(DENSITY)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return picture_summary(name, Image.fromarray(pixels).convert("RGB"), description)


def picture_summary(name: str, picture: Image.Image, description: str) -> summary_pb2.Summary:
    """A picture, as a PNG."""
    content = io.BytesIO()
    picture.save(content, format="png")
    tensor = make_tensor_proto([str(picture.width).encode(), str(picture.height).encode(), content.getvalue()])
    return _summary(name, metadata=image_metadata("", description), tensor=tensor)


def _head(figure: str) -> str:
    """The name of a scalar, as it is shown above its chart."""
    name, _, observation = figure.partition("/")
    head = METRICS.get(name, TAGS[name].rpartition("/")[2])
    return f"{head}, {observation}" if observation else head


def _described(figure: str) -> str:
    name, _, observation = figure.partition("/")
    return (
        ABOUT[name].replace(VALIDATION, f"on the validation images, of {observation}") if observation else ABOUT[name]
    )


def _summary(name: str, **content: Any) -> summary_pb2.Summary:
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, **content)])


def _domain(domain: BaseDistribution) -> hparams.Domain:
    if isinstance(domain, CategoricalDistribution):
        return hparams.Discrete([_told(value, domain) for value in domain.choices])
    if isinstance(domain, IntDistribution):
        return hparams.IntInterval(domain.low, domain.high)
    assert isinstance(domain, FloatDistribution)
    return hparams.RealInterval(domain.low, domain.high)


def _told(value: Any, domain: BaseDistribution) -> bool | float | str:
    """The value as its column holds it: of one kind, so that choices of several, as None and .5, become words."""
    kinds = {type(each) for each in domain.choices} if isinstance(domain, CategoricalDistribution) else {float}
    if kinds == {bool}:
        return bool(value)
    return float(value) if kinds <= {int, float} else str(value)
