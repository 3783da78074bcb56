"""A timm backbone with a head of one or more outputs per observation (see chex.models.heads)."""

import timm
import torch
from torch import nn

from chex.data.normalization import Normalization
from chex.errors import InputError, suggest
from chex.models.model_config import ModelConfig
from chex.models.origin import Origin
from chex.models.pretrained import first_line, from_file, published
from chex.runtime.rng import seed_for


class Classifier(nn.Module):
    """Maps images (B, 1, H, W), normalized by `normalization`, to float32 outputs (B, outputs).

    The head computes in float32 under autocast too, because in the 8 bits of bf16 different images get the same logit.
    """

    origin: Origin | None = None
    """Where the backbone's first weights came from; None: they are random."""

    def __init__(
        self,
        backbone: nn.Module,
        normalization: Normalization,
        features: int,
        outputs: int,
        dropout: float,
        final_batch_norm: bool,
    ):
        super().__init__()
        self.backbone, self.normalization = backbone, normalization
        layers = [nn.Dropout(dropout), nn.Linear(features, outputs)]
        if final_batch_norm:
            layers.append(nn.BatchNorm1d(outputs, momentum=0.01))
        self.head = nn.Sequential(*layers)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone(images)
        with torch.autocast(features.device.type, enabled=False):
            raw: torch.Tensor = self.head(features.float())
        return raw


def build_model(config: ModelConfig, outputs: int, seed: int) -> Classifier:
    """Returns the model with its first weights, in channels-last format on the CPU.

    The same seed gives the same weights. Raises InputError for an unknown backbone and for pretrained weights that
    cannot be loaded.
    """
    check_backbone(config.backbone)
    torch.manual_seed(seed_for(seed, "weights"))
    backbone, origin = _build_backbone(config)
    features = int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]
    normalization = normalization_of(config.backbone)
    model = Classifier(backbone, normalization, features, outputs, config.dropout, config.final_batch_norm)
    model.origin = origin
    return model.to(memory_format=torch.channels_last)


def check_model(config: ModelConfig, image_size: int) -> Classifier:
    """Returns a model of one output. Raises InputError as `build_model` does, and for images it does not accept."""
    model = build_model(config, outputs=1, seed=0).eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 1, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"model.backbone: '{config.backbone}' cannot process images of {image_size} px ({first_line(error)}); "
            "change image.size or the backbone"
        ) from error
    return model


def check_backbone(name: str) -> None:
    """Raises InputError unless timm has a model of this name."""
    if not timm.is_model(name):
        near = suggest(name, timm.list_models()).split("choices:")[0]
        raise InputError(
            f"model.backbone: '{name}' is not a timm model; {near}choices: densenet121, resnet50 "
            f"and {len(timm.list_models()) - 2:,} more that `python -c 'import timm; print(timm.list_models())'` lists"
        )


def normalization_of(backbone: str) -> Normalization:
    """Returns timm's mean and standard deviation for `backbone`, each averaged over the colour channels."""
    config = timm.models.get_pretrained_cfg(backbone)
    mean, std = (round(sum(values) / len(values), 6) for values in (config.mean, config.std))
    return Normalization(mean, std)


def _build_backbone(config: ModelConfig) -> tuple[nn.Module, Origin | None]:
    if not config.pretrained:
        return timm.create_model(config.backbone, in_chans=1, num_classes=0), None
    return from_file(config.backbone, config.pretrained_file) if config.pretrained_file else published(config.backbone)
