"""A network as timm lays it out: a linear layer behind the backbone, whose outputs are log odds of the observations."""

from dataclasses import dataclass

import timm
import torch
from torch import nn

from chex.errors import InputError
from chex.model import Classifier
from chex.outputs import Outputs

HEAD = "head.1"
"""The linear layer of a Classifier among its arrays."""


@dataclass(frozen=True)
class Layout:
    """A network in timm's layout."""

    arrays: dict[str, torch.Tensor]
    """By timm's names."""
    last_layer: str
    """Its name."""
    fixed_size: bool
    """Whether the backbone takes films of one size only."""


def to_timm(model: Classifier, outputs: Outputs, backbone: str) -> Layout:
    """The network as timm's `backbone` with one output per observation.

    In evaluation mode its outputs are `outputs.logits` of the model's: batch norm on the outputs, and the difference
    of positive and negative where there are three classes, are folded into the last layer. Raises InputError for a
    backbone that has no single linear layer at its end.
    """
    theirs = timm.create_model(backbone, in_chans=1, num_classes=outputs.observations)
    last = theirs.get_classifier()
    name = next((name for name, module in theirs.named_modules() if module is last), None)
    if name is None or not isinstance(last, nn.Linear):
        raise InputError(
            f"model.backbone: timm's {backbone} does not end in one linear layer, so that timm cannot load what was "
            "trained; choose another backbone for what is to be handed on"
        )
    weight, bias = folded(model, outputs)
    arrays = model.backbone.state_dict() | {f"{name}.weight": weight, f"{name}.bias": bias}
    plain = {each: array.detach().cpu().contiguous() for each, array in arrays.items()}
    return Layout(plain, name, bool(theirs.pretrained_cfg.get("fixed_input_size")))


def from_timm(arrays: dict[str, torch.Tensor], last: str) -> dict[str, torch.Tensor]:
    """The arrays of a Classifier, without batch norm on the outputs, from those that `to_timm` gave."""
    return {
        f"{HEAD}.{name.rpartition('.')[2]}" if name.rpartition(".")[0] == last else f"backbone.{name}": array
        for name, array in arrays.items()
    }


@torch.no_grad()
def folded(model: Classifier, outputs: Outputs) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (K, features) and bias (K,), float32, of the linear layer that gives the log odds of K observations."""
    _, linear, *rest = model.head
    assert isinstance(linear, nn.Linear)
    weight, bias = linear.weight.double(), linear.bias.double()
    for norm in rest:
        assert isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var.double() + norm.eps)
        weight, bias = weight * scale[:, None], (bias - norm.running_mean) * scale + norm.bias
    whole = torch.cat([weight, bias[:, None]], dim=1)
    log_odds = outputs.logits(whole.T).T  # what is done to the outputs is linear
    return log_odds[:, :-1].float().contiguous(), log_odds[:, -1].float().contiguous()
