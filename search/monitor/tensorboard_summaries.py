"""Builds TensorBoard summaries: HParams columns and sessions, scalars, PR curves, figures and images."""

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

from chex.reporting.console import format_decimal
from chex.statistics.metrics import METRIC
from search.space.space import Space
from search.trials.trial import TrialRecord

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
    "phase": "progress/phase",
    "epoch": "progress/epoch",
    "seconds": "progress/seconds",
    "micro_batch_size": "progress/micro-batch size",
}
"""The tag of each metric of a report; its step is images_seen."""
VALIDATION = "on the validation images, averaged over the observations with a defined value"
DESCRIPTIONS = {
    METRIC: f"The highest AUROC so far in the trial, {VALIDATION}: the metric that the search maximises.",
    "auroc": f"The area under the ROC curve at this report, {VALIDATION}.",
    "recall": f"The share of positives with a probability of .5 or more, {VALIDATION}.",
    "precision": f"The share of positives among images with a probability of .5 or more, {VALIDATION}.",
    "error_rate": f"The share of images that are misclassified at a threshold of .5, {VALIDATION}.",
    "train_loss": "Cross-entropy on training images, averaged since the previous report.",
    "valid_loss": "Cross-entropy on the validation images, whose labels do not depend on the policy.",
    "lr": "The learning rate of the head.",
    "percent": "The share of the trial's steps that are done, in percent.",
    "phase": "The phase of the run, starting at 1.",
    "epoch": "The number of epochs done.",
    "seconds": "Seconds of training and validation so far.",
    "micro_batch_size": "Images per forward pass; smaller than configured if the GPU has too little memory.",
}
"""The description of each metric."""
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
"""The metrics in the HParams table, with their display names; all but the first are values of the last report."""
THRESHOLDS = np.linspace(0, 1, 201)
"""Evenly spaced from 0 to 1, as the PR curves plugin requires."""
DPI = 110
"""Dots per inch of figures, so that at full size they fill the width of a tab."""
MAX_RUN_NAME = 80
"""The most characters of a run's name."""


def tag(figure: str) -> str:
    """Returns the tag of a metric; metrics of single observations, such as `auroc/Edema`, form a group of their own."""
    name, _, observation = figure.partition("/")
    return f"{TAGS[name].partition('/')[0]} by observation/{observation}" if observation else TAGS[name]


def columns_summary(space: Space, observations: Sequence[str]) -> summary_pb2.Summary:
    """Returns the columns of the HParams table: all parameters of the space, then the metrics with METRIC first."""
    columns = [hparams.HParam(path, _domain(param.domain)) for path, param in space.items()]
    figures = dict(METRICS)
    if len(observations) > 1:
        figures |= {f"auroc/{name}": f"AUROC {name}" for name in observations}
    metrics = [hparams.Metric(tag(figure), display_name=display_name) for figure, display_name in figures.items()]
    return hparams.hparams_config_pb(columns, metrics)


def start_summary(row: TrialRecord, space: Space) -> summary_pb2.Summary:
    """Returns the start of a trial's row of the HParams table: its parameters; those it lacks stay blank."""
    params = {
        path: _hparam_value(row.params[path], param.domain) for path, param in space.items() if path in row.params
    }
    return hparams.hparams_pb(params, trial_id=f"trial {row.number}")


def end_summary(failed: bool) -> summary_pb2.Summary:
    """Returns the end of a row of the HParams table."""
    status = api_pb2.STATUS_FAILURE if failed else api_pb2.STATUS_SUCCESS
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    summary_metadata = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end))
    return _summary(metadata.SESSION_END_INFO_TAG, metadata=summary_metadata, tensor=metadata.NULL_TENSOR)


def scalars_summary(report: Mapping[str, Any]) -> summary_pb2.Summary:
    """Returns the report's defined metrics as scalars with descriptions."""
    return summary_pb2.Summary(
        value=[
            summary_pb2.Summary.Value(
                tag=tag(name),
                metadata=scalar_metadata(_display_name(name), _description(name)),
                tensor=make_tensor_proto(np.float32(value)),
            )
            for name, value in report.items()
            if name.partition("/")[0] in TAGS and isinstance(value, int | float) and math.isfinite(value)
        ]
    )


def outcome_summary(row: TrialRecord) -> summary_pb2.Summary:
    """Returns a sentence for the tab Text that says how a trial ended."""
    best = f"its best AUROC is {format_decimal(row.value)}" if row.state != "failed" else row.error
    outcome = {"pruned": f"was pruned at {row.percent} % of its schedule", "finished": "finished"}
    text = f"Trial {row.number} {outcome.get(row.state, row.state)}: {best}."
    summary_metadata = text_metadata("", "How the trial ended.")
    return _summary("outcome/text_summary", metadata=summary_metadata, tensor=make_tensor_proto([text.encode()]))


def run_name(row: TrialRecord) -> str:
    """Returns the name of a trial's run: its number, and its policies and backbone if the search varies them.

    The name is the same after a resume.
    """
    parts = [
        str(value) if path in ("policy.default", "model.backbone") else f"{path.partition('.')[2]} {value}"
        for path, value in row.params.items()
        if path == "model.backbone" or (path.startswith("policy.") and path.count(".") == 1)
    ]
    name = ", ".join([f"{row.number:03d}", *parts]).replace("/", "-")
    return name if len(name) <= MAX_RUN_NAME else f"{name[: MAX_RUN_NAME - 1].rstrip(' ,')}…"


def pr_curve_summary(observation: str, truth: np.ndarray, probability: np.ndarray) -> summary_pb2.Summary:
    """Returns a precision-recall curve from truth (N,) of 1, 0 or NaN (not scored) and probability (N,)."""
    summary_metadata = pr_curve_metadata(
        observation, "Validation images, weights of the trial's best report.", len(THRESHOLDS)
    )
    tensor = make_tensor_proto(pr_curve(truth, probability))
    return _summary(f"precision and recall/{observation}", metadata=summary_metadata, tensor=tensor)


def pr_curve(truth: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Returns float32 (6, 201): the counts tp, fp, tn and fn, then precision and recall, at each of THRESHOLDS.

    Precision is 0 if no image is predicted positive, recall is 0 without positives. Both inputs are (N,).
    """
    predicted_positive = probability >= THRESHOLDS[:, None]
    positive, negative = truth == 1, truth == 0
    tp, fp = (predicted_positive & positive).sum(axis=1), (predicted_positive & negative).sum(axis=1)
    precision = tp / np.maximum(1, tp + fp)
    recall = tp / max(1, positive.sum())
    return np.stack([tp, fp, negative.sum() - fp, positive.sum() - tp, precision, recall]).astype(np.float32)


def figure_summary(name: str, figure: Figure, description: str) -> summary_pb2.Summary:
    """Returns a matplotlib figure as an image."""
    figure.set_dpi(DPI)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return image_summary(name, Image.fromarray(pixels).convert("RGB"), description)


def image_summary(name: str, picture: Image.Image, description: str) -> summary_pb2.Summary:
    """Returns an image as a PNG."""
    content = io.BytesIO()
    picture.save(content, format="png")
    tensor = make_tensor_proto([str(picture.width).encode(), str(picture.height).encode(), content.getvalue()])
    return _summary(name, metadata=image_metadata("", description), tensor=tensor)


def _display_name(figure: str) -> str:
    """Returns the name of a scalar that is shown above its chart."""
    name, _, observation = figure.partition("/")
    display_name = METRICS.get(name, TAGS[name].rpartition("/")[2])
    return f"{display_name}, {observation}" if observation else display_name


def _description(figure: str) -> str:
    name, _, observation = figure.partition("/")
    return (
        DESCRIPTIONS[name].replace(VALIDATION, f"on the validation images, of {observation}")
        if observation
        else DESCRIPTIONS[name]
    )


def _summary(name: str, **content: Any) -> summary_pb2.Summary:
    return summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag=name, **content)])


def _domain(domain: BaseDistribution) -> hparams.Domain:
    if isinstance(domain, CategoricalDistribution):
        return hparams.Discrete([_hparam_value(value, domain) for value in domain.choices])
    if isinstance(domain, IntDistribution):
        return hparams.IntInterval(domain.low, domain.high)
    assert isinstance(domain, FloatDistribution)
    return hparams.RealInterval(domain.low, domain.high)


def _hparam_value(value: Any, domain: BaseDistribution) -> bool | float | str:
    """Returns the value in the type of its column: choices of different types, such as None and .5, become strings."""
    kinds = {type(each) for each in domain.choices} if isinstance(domain, CategoricalDistribution) else {float}
    if kinds == {bool}:
        return bool(value)
    return float(value) if kinds <= {int, float} else str(value)
