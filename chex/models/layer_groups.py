"""Layer groups: the stages of a network from stem to head. Each has a learning rate; the first ones may be frozen."""

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from chex.errors import InputError
from chex.models.classifier import Classifier


def layer_groups(model: Classifier) -> list[list[nn.Parameter]]:
    """Returns the weights of the stem, of each stage of the backbone (as timm groups them), and of the head.

    A backbone that timm does not group is a single group.
    """
    backbone = model.backbone
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return [list(backbone.parameters()), list(model.head.parameters())]
    named = dict(backbone.named_parameters())
    grouped = group_parameters(backbone, matcher(coarse=True))
    return [*([named[name] for name in names] for _, names in sorted(grouped.items())), list(model.head.parameters())]


def freeze(groups: list[list[nn.Parameter]], depth: int | str) -> None:
    """Freezes the first `depth` groups (`backbone`: all but the head) and unfreezes the others.

    Raises InputError where no group would be left to train.
    """
    count = len(groups) - 1 if isinstance(depth, str) else depth
    if not 0 <= count < len(groups):
        raise InputError(
            f"phases: freeze: {depth} of {len(groups)} layer groups; give 0 to {len(groups) - 1}, or backbone for all "
            "but the head"
        )
    for number, group in enumerate(groups):
        for weight in group:
            weight.requires_grad_(number >= count)


def train_mode(model: nn.Module) -> None:
    """Puts `model` in training mode, but leaves batch norm layers with frozen weights in evaluation mode."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and is_frozen(layer):
            layer.eval()


def is_frozen(layer: nn.Module) -> bool:
    """Returns whether a layer has weights and all of them are frozen."""
    weights = list(layer.parameters(recurse=False))
    return bool(weights) and not any(weight.requires_grad for weight in weights)
