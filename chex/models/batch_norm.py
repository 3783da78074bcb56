"""Recalibrates batch norm: computes its statistics again, with the current weights."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from chex.models.layer_groups import is_frozen, train_mode


@torch.no_grad()
def recalibrate_batch_norm(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replaces the running mean and variance of every batch norm layer by their average over `batches`.

    The running averages lag the weights by tens of steps, so a short run, or one with a high learning rate, would be
    scored with the statistics of earlier weights (Wu and Johnson 2021, arXiv:2105.07576). Frozen layers keep their
    statistics. Training uses the statistics of each batch instead, so that it does not change.
    """
    layers = [
        layer
        for layer in model.modules()
        if isinstance(layer, _BatchNorm) and layer.track_running_stats and not is_frozen(layer)
    ]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over the batches
    train_mode(model)
    for images in batches:
        model(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
