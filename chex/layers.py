"""Layer groups: the stages of a network from stem to head, by which rates differ and layers are frozen."""

from timm.models import group_parameters
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from chex.errors import InputError
from chex.model import Classifier


def layer_groups(model: Classifier) -> list[list[nn.Parameter]]:
    """The weights of the stem, each stage of the backbone (as timm groups them), and last the head.

    A backbone that timm does not group is one group.
    """
    backbone = model.backbone
    matcher = getattr(backbone, "group_matcher", None)
    if matcher is None:
        return [list(backbone.parameters()), list(model.head.parameters())]
    named = dict(backbone.named_parameters())
    grouped = group_parameters(backbone, matcher(coarse=True))
    return [*([named[name] for name in names] for _, names in sorted(grouped.items())), list(model.head.parameters())]


def freeze(groups: list[list[nn.Parameter]], frozen: int | str) -> None:
    """Freezes the first `frozen` groups, and none of the others. Raises InputError where nothing would be left."""
    count = len(groups) - 1 if isinstance(frozen, str) else frozen
    if not 0 <= count < len(groups):
        raise InputError(
            f"rounds.frozen: {frozen} of {len(groups)} layer groups; give 0 to {len(groups) - 1}, or backbone for all "
            "but the head"
        )
    for number, group in enumerate(groups):
        for weight in group:
            weight.requires_grad_(number >= count)


def train_mode(model: nn.Module) -> None:
    """As `model.train()`, but batch norm layers with frozen weights keep their statistics."""
    model.train()
    for layer in model.modules():
        if isinstance(layer, _BatchNorm) and is_frozen(layer):
            layer.eval()


def is_frozen(layer: nn.Module) -> bool:
    """Whether a layer has weights and none of them is trained."""
    weights = list(layer.parameters(recurse=False))
    return bool(weights) and not any(weight.requires_grad for weight in weights)
