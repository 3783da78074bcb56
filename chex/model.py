"""A timm backbone with a head of one or more outputs per observation (see outputs.py)."""

from typing import Any

import timm
import torch
from pydantic import Field, field_validator, model_validator
from torch import nn

from chex.errors import InputError, one_of
from chex.normalisation import Normalisation
from chex.pretrained import Origin, first_line, from_file, published
from chex.seeds import stream_seed
from chex.strict import PathField, Strict


class ModelConfig(Strict):
    """The network."""

    backbone: str = "densenet121"
    """Any model name of timm."""
    pretrained: bool = False
    """Start from timm's published weights, downloaded once, or from the file `weights`."""
    weights: PathField | None = None
    """A file of backbone weights to start from, in timm's format; `pretrained` is then true by itself."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Before the last layer."""
    final_batch_norm: bool = False
    """Batch norm on the outputs, as fastai's `bn_final`."""
    ema: float = Field(0.0, ge=0, lt=1)
    """What an average of the weights, which the run is then scored with, keeps of itself in a step; 0: no average.
    Batch norm statistics are not averaged: they are taken anew, or, with `statistics_films` 0, are those of the weights
    in training."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start, worth it in long runs on GPUs."""
    statistics_films: int = Field(256, ge=0)
    """Images from which batch norm statistics are taken anew before each report, drawn at random from the rows that the
    round trains on; 0: the running averages."""

    @model_validator(mode="before")
    @classmethod
    def _a_file_is_to_be_read(cls, given: Any) -> Any:
        if not isinstance(given, dict) or given.get("weights") is None:
            return given
        if given.get("pretrained", True) is False:
            raise ValueError(
                f".weights: {given['weights']} is not read while model.pretrained is false; leave model.pretrained out "
                "or set it to true, or leave model.weights out"
            )
        return {"pretrained": True} | given

    @field_validator("statistics_films")
    @classmethod
    def _two_or_none(cls, films: int) -> int:
        if films == 1:
            raise ValueError(
                "1 is refused, batch norm takes no statistics from a single image; give 2 or more, or 0 for running "
                "averages"
            )
        return films


class Classifier(nn.Module):
    """Images (B, 1, H, W), of which each pixel is normalised by `normalisation`, to float32 outputs (B, outputs).

    The head computes in float32 under autocast too: bf16 has 8 bits of precision, in which different films get the same
    logit.
    """

    origin: Origin | None = None
    """Where the backbone's first weights came from; None: they were drawn at random."""

    def __init__(
        self,
        backbone: nn.Module,
        normalisation: Normalisation,
        features: int,
        outputs: int,
        dropout: float,
        final_batch_norm: bool,
    ):
        super().__init__()
        self.backbone, self.normalisation = backbone, normalisation
        layers = [nn.Dropout(dropout), nn.Linear(features, outputs)]
        if final_batch_norm:
            layers.append(nn.BatchNorm1d(outputs, momentum=0.01))
        self.head = nn.Sequential(*layers)

    def forward(self, films: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone(films)
        with torch.autocast(features.device.type, enabled=False):
            raw: torch.Tensor = self.head(features.float())
        return raw


def build_model(config: ModelConfig, outputs: int, seed: int) -> Classifier:
    """The model with its first weights, in channels-last format on the CPU; the same seed gives the same weights.

    Raises InputError for an unknown backbone and for pretrained weights that cannot be had.
    """
    check_backbone(config.backbone)
    torch.manual_seed(stream_seed(seed, "weights"))
    backbone, origin = _backbone(config)
    features = int(getattr(backbone, "head_hidden_size", None) or backbone.num_features)  # type: ignore[arg-type]
    normalisation = normalisation_of(config.backbone)
    model = Classifier(backbone, normalisation, features, outputs, config.dropout, config.final_batch_norm)
    model.origin = origin
    return model.to(memory_format=torch.channels_last)


def check_model(config: ModelConfig, image_size: int) -> Classifier:
    """A model of one output. Raises InputError, as `build_model` does, and where it cannot take such images."""
    model = build_model(config, outputs=1, seed=0).eval()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 1, image_size, image_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"model.backbone: '{config.backbone}' cannot take images of {image_size} px ({first_line(error)}); "
            "change image.size or the backbone"
        ) from error
    return model


def check_backbone(name: str) -> None:
    """Raises InputError unless timm has a model of that name."""
    if not timm.is_model(name):
        near = one_of(name, timm.list_models()).split("choices:")[0]
        raise InputError(
            f"model.backbone: '{name}' is not a timm model; {near}choices: densenet121, resnet50 "
            f"and {len(timm.list_models()) - 2:,} more that `python -c 'import timm; print(timm.list_models())'` lists"
        )


def normalisation_of(backbone: str) -> Normalisation:
    """The mean and the standard deviation that timm names for `backbone`, each averaged over the colour channels."""
    given = timm.models.get_pretrained_cfg(backbone)
    mean, std = (round(sum(values) / len(values), 6) for values in (given.mean, given.std))
    return Normalisation(mean, std)


def _backbone(config: ModelConfig) -> tuple[nn.Module, Origin | None]:
    if not config.pretrained:
        return timm.create_model(config.backbone, in_chans=1, num_classes=0), None
    return from_file(config.backbone, config.weights) if config.weights else published(config.backbone)
