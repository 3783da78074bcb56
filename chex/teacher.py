"""The teacher of self_trained: a run that ignores uncertain cells and then says how likely each is positive."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from chex import checkpoint
from chex.config import RunConfig
from chex.device import pick_device
from chex.inference import predict
from chex.labels import UNCERTAIN, columns
from chex.loop import OnStep, Report, ShouldPause, fit
from chex.model import build_model
from chex.prepare import Prepared
from chex.relabel import TABLE, RelabelConfig, write_probabilities
from chex.uncertainty import PolicyConfig


def teacher_of(config: RunConfig) -> RunConfig:
    """The run whose best weights relabel the uncertain cells of `config`: the same, with `ignore` for all.

    U-SelfTrained of Irvin et al. 2019, section 3.
    """
    return config.model_copy(update={"policy": {"default": PolicyConfig(kind="ignore")}, "relabel": RelabelConfig()})


def teach(
    teacher: RunConfig,
    data: Prepared,
    folder: Path,
    on_step: OnStep | None = None,
    should_pause: ShouldPause = lambda: False,
) -> Iterator[Report]:
    """Trains the teacher in `folder` as `fit` does, yields its reports, and then writes its table there (TABLE).

    The table has the uncertain cells of all films that may be trained on, whatever the teacher's own sample.
    """
    yield from fit(teacher, data, folder, on_step, should_pause)
    write_probabilities(
        folder / TABLE,
        data.tree.train.paths,
        data.observations,
        soft_labels(teacher, data, folder / checkpoint.WEIGHTS),
    )


def soft_labels(teacher: RunConfig, data: Prepared, weights: Path) -> np.ndarray:
    """float32 (N_train, K): the probability that `weights` give to each uncertain cell that may be trained on.

    NaN elsewhere.
    """
    uncertain = data.tree.train.labels[:, columns(data.observations)] == UNCERTAIN
    wanted = data.trainable[uncertain[data.trainable].any(axis=1)]
    soft = np.full(uncertain.shape, np.nan, dtype=np.float32)
    if len(wanted):
        device = pick_device(teacher.device)
        model = build_model(teacher.model, data.outputs.count, teacher.seed)
        model.load_state_dict(checkpoint.load_weights(weights)[0])
        logits = predict(model.to(device), data.outputs, data.images, wanted, teacher.device, device)
        soft[wanted] = logits.sigmoid().numpy()
    soft[~uncertain] = np.nan
    return soft
