"""Averaged weights: what a run is scored with where `model.ema` asks for it."""

from torch import Tensor, _foreach_lerp_, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """A copy of `model` whose weights follow it: each `update_parameters` keeps `decay` of what they were.

    In the first steps less is kept, (1 + n) / (10 + n) after n of them, so that the first weights are forgotten.
    Buffers are copied.
    """

    def follow(averages: Tensors, current: Tensors, steps: Tensor | int) -> None:
        kept = min(decay, (1 + float(steps)) / (10 + float(steps)))
        _foreach_lerp_(averages, current, 1 - kept)

    return AveragedModel(model, multi_avg_fn=follow)
