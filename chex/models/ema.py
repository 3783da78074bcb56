"""The exponential moving average (EMA) of the weights, with which a run is scored where `model.ema_decay` is set."""

from torch import Tensor, _foreach_lerp_, nn
from torch.optim.swa_utils import AveragedModel

Tensors = tuple[Tensor, ...] | list[Tensor]


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Returns a copy of `model` whose weights `update_parameters` moves towards those of `model` by 1 - `decay`.

    After n steps the decay is at most (1 + n) / (10 + n), so that the first weights have little influence. Buffers are
    copied.
    """

    def update(averages: Tensors, current: Tensors, steps: Tensor | int) -> None:
        step_decay = min(decay, (1 + float(steps)) / (10 + float(steps)))
        _foreach_lerp_(averages, current, 1 - step_decay)

    return AveragedModel(model, multi_avg_fn=update)
