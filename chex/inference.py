"""Asking a network about films."""

from collections.abc import Callable

import numpy as np
import torch

from chex.batches import load_batch
from chex.device import DeviceConfig, autocast
from chex.errors import InputError
from chex.model import Classifier
from chex.outputs import Outputs

VALID_BATCH = 128


@torch.no_grad()
def predict(
    model: Classifier,
    outputs: Outputs,
    images: np.ndarray,
    films: np.ndarray,
    config: DeviceConfig,
    device: torch.device,
    batch: int = VALID_BATCH,
    on_film: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """float32 (V, K) on the CPU: the logits of positive of the images `films` (int64 (V,), rows of `images`).

    `batch` films at a time, or fewer where the GPU's memory does not suffice; `on_film` hears of how many are done and
    how many there are. Raises InputError where it does not suffice for one.
    """
    model.eval()
    logits, done = list[torch.Tensor](), 0
    while done < len(films):
        piece = films[done : done + batch]
        try:
            with autocast(config, device):
                raw = model(load_batch(images, piece, model.normalisation, device))
            logits.append(outputs.logits(raw).cpu())
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise InputError(
                    f"the GPU's memory does not suffice for one film of {images.shape[1]} px at a time ({error}); use "
                    "smaller films, a smaller backbone, or more of a GPU"
                ) from error
            batch //= 2
            continue
        done += len(piece)
        if on_film:
            on_film(done, len(films))
    return torch.cat(logits)
