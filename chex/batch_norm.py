"""Batch norm statistics that fit the weights they are used with."""

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from chex.layers import is_frozen, train_mode


@torch.no_grad()
def refresh_statistics(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replaces the running mean and variance of every batch norm layer by their average over `batches`.

    The running averages trail the weights by tens of steps, so that a short run, or one whose rate is still high, is
    scored with statistics of a model that it no longer is (Wu and Johnson 2021, arXiv:2105.07576).
    Frozen layers keep theirs. Training itself does not read them and goes on as if nothing had been done.
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
    for films in batches:
        model(films)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
