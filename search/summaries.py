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
from tensorboard.util.tensor_util import make_tensor_proto

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
    """The report's defined figures as scalars."""
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(tag=tag(name), simple_value=value)
            for name, value in report.items()
            if name.partition("/")[0] in TAGS and isinstance(value, int | float) and math.isfinite(value)
        ]
    )


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
