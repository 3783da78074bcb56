"""Computes the logits of images, batch by batch."""

from collections.abc import Callable

import numpy as np
import torch

from chex.data.batches import load_batch
from chex.errors import InputError
from chex.models.classifier import Classifier
from chex.models.heads import HeadLayout
from chex.runtime.device import autocast
from chex.runtime.device_config import DeviceConfig

VALID_BATCH = 128
"""Images per batch in validation."""


@torch.no_grad()
def predict(
    model: Classifier,
    outputs: HeadLayout,
    images: np.ndarray,
    rows: np.ndarray,
    config: DeviceConfig,
    device: torch.device,
    batch: int = VALID_BATCH,
    on_image: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """Returns the logits of positive, float32 (V, K) on the CPU, of the `rows` (int64 (V,)) of `images`.

    Passes `batch` images at a time, half as many after each out-of-memory error. Calls `on_image` with (images done,
    images in total). Raises InputError where a single image does not fit into the GPU's memory.
    """
    model.eval()
    logits, done = list[torch.Tensor](), 0
    while done < len(rows):
        piece = rows[done : done + batch]
        try:
            with autocast(config, device):
                raw = model(load_batch(images, piece, model.normalization, device))
            logits.append(outputs.logits(raw).cpu())
        except torch.OutOfMemoryError as error:
            if batch == 1:
                raise InputError(
                    f"the GPU has too little memory for one image of {images.shape[1]} px at a time ({error}); use "
                    "smaller images, a smaller backbone, or a larger share of the GPU"
                ) from error
            batch //= 2
            continue
        done += len(piece)
        if on_image:
            on_image(done, len(rows))
    return torch.cat(logits)
