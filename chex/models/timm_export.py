"""Converts a network to timm's layout: backbone and one linear layer whose outputs are log odds of the observations."""

from dataclasses import dataclass

import timm
import torch
from torch import nn

from chex.errors import InputError
from chex.models.classifier import Classifier
from chex.models.heads import HeadLayout

HEAD = "head.1"
"""The name of a Classifier's linear layer."""


@dataclass(frozen=True)
class Layout:
    """A network in timm's layout."""

    arrays: dict[str, torch.Tensor]
    """The arrays by timm's names."""
    last_layer: str
    """The name of the last layer."""
    fixed_size: bool
    """Whether the backbone accepts images of one size only."""


def to_timm(model: Classifier, outputs: HeadLayout, backbone: str) -> Layout:
    """Returns the network as timm's `backbone` with one output per observation.

    In evaluation mode it returns the logits (`outputs.logits`): its last layer includes batch norm on the outputs and,
    for observations of three classes, the difference of positive and negative. Raises InputError for a
    backbone that has no single linear layer at its end.
    """
    timm_model = timm.create_model(backbone, in_chans=1, num_classes=outputs.observations)
    last = timm_model.get_classifier()
    name = next((name for name, module in timm_model.named_modules() if module is last), None)
    if name is None or not isinstance(last, nn.Linear):
        raise InputError(
            f"model.backbone: timm's {backbone} does not end in one linear layer, so timm cannot load the "
            "trained network; choose another backbone for an export"
        )
    weight, bias = fold_head(model, outputs)
    arrays = model.backbone.state_dict() | {f"{name}.weight": weight, f"{name}.bias": bias}
    plain = {each: array.detach().cpu().contiguous() for each, array in arrays.items()}
    return Layout(plain, name, bool(timm_model.pretrained_cfg.get("fixed_input_size")))


def from_timm(arrays: dict[str, torch.Tensor], last: str) -> dict[str, torch.Tensor]:
    """Returns the arrays of a Classifier without batch norm on the outputs, from those of `to_timm`."""
    return {
        f"{HEAD}.{name.rpartition('.')[2]}" if name.rpartition(".")[0] == last else f"backbone.{name}": array
        for name, array in arrays.items()
    }


@torch.no_grad()
def fold_head(model: Classifier, outputs: HeadLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (K, features) and bias (K,), float32, of the linear layer whose outputs are log odds."""
    _, linear, *rest = model.head
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.double(), linear.bias.double()
    for norm in rest:
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var.double() + norm.eps)
        weight, bias = weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias
    linear_map = torch.cat([weight, bias[:, None]], dim=1)
    log_odds = outputs.logits(linear_map.T).T  # logits are linear in the outputs
    return log_odds[:, :-1].float().contiguous(), log_odds[:, -1].float().contiguous()
