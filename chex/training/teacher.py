"""The teacher of self_trained: a run that ignores uncertain cells and then predicts their probabilities."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chex.config import RunConfig
from chex.models import checkpoint
from chex.models.classifier import build_model
from chex.models.inference import predict
from chex.runtime import run_folder
from chex.runtime.device import pick_device
from chex.schema.labels import UNCERTAIN, label_columns
from chex.training.report import Report
from chex.training.run_data import RunData
from chex.training.trainer import OnStep, ShouldPause, fit
from chex.uncertainty.probability_tables import TABLE, write_probabilities


def train_teacher(
    teacher: RunConfig,
    data: RunData,
    folder: Path,
    on_step: OnStep | None = None,
    should_pause: ShouldPause = lambda: False,
) -> Iterator[Report]:
    """Trains the teacher in `folder` as `fit` does, yields its reports, and then writes its table there.

    The table has the uncertain cells of all images that may be trained on, including images that the teacher did not
    sample.
    """
    yield from fit(teacher, data, folder, on_step, should_pause)
    write_probabilities(
        folder / TABLE,
        data.tree.train.paths,
        data.observations,
        soft_labels(teacher, data, folder / run_folder.WEIGHTS),
    )


def soft_labels(teacher: RunConfig, data: RunData, weights: Path) -> np.ndarray:
    """Returns the probability that `weights` give to each uncertain cell that may be trained on, float32 (N_train, K).

    Other cells are NaN.
    """
    uncertain = data.tree.train.labels[:, label_columns(data.observations)] == UNCERTAIN
    rows = data.trainable[uncertain[data.trainable].any(axis=1)]
    soft = np.full(uncertain.shape, np.nan, dtype=np.float32)
    if len(rows):
        device = pick_device(teacher.device)
        model = build_model(teacher.model, data.outputs.count, teacher.seed)
        model.load_state_dict(checkpoint.load_weights(weights)[0])
        logits = predict(model.to(device), data.outputs, data.images, rows, teacher.device, device)
        soft[rows] = logits.sigmoid().numpy()
    soft[~uncertain] = np.nan
    return soft
