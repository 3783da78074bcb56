"""Asking a network about films."""

from collections.abc import Callable

import numpy as np
import torch

from chex.batches import in_order, load_batch
from chex.device import DeviceConfig, autocast
from chex.outputs import Outputs

VALID_BATCH = 128


@torch.no_grad()
def predict(
    model: torch.nn.Module,
    outputs: Outputs,
    images: np.ndarray,
    films: np.ndarray,
    config: DeviceConfig,
    device: torch.device,
    batch: int = VALID_BATCH,
    on_film: Callable[[int, int], None] | None = None,
) -> torch.Tensor:
    """float32 (V, K) on the CPU: the logits of positive of the images `films` (int64 (V,), rows of `images`).

    `batch` films at a time; `on_film` hears of how many are done and how many there are.
    """
    model.eval()
    logits = []
    for piece in in_order(len(films), batch):
        with autocast(config, device):
            raw = model(load_batch(images, films[piece], device))
        logits.append(outputs.logits(raw.float()).cpu())
        if on_film:
            on_film(int(piece[-1]) + 1, len(films))
    return torch.cat(logits)
