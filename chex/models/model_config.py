"""The section `model` of a run's config."""

from typing import Any

from pydantic import Field, field_validator, model_validator

from chex.schema.strict_model import PathField, Strict


class ModelConfig(Strict):
    """The network."""

    backbone: str = "densenet121"
    """The name of a timm model."""
    pretrained: bool = False
    """True: start from timm's published weights, downloaded once, or from `pretrained_file`."""
    pretrained_file: PathField | None = None
    """A file of backbone weights in timm's format to start from; it implies `pretrained: true`."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """The dropout before the last layer."""
    final_batch_norm: bool = False
    """True: batch norm on the outputs, like fastai's `bn_final`."""
    ema_decay: float = Field(0.0, ge=0, lt=1)
    """The decay per step of an exponential moving average of the weights, with which the run is scored; 0: no average.
    Statistics of batch norm are not averaged: they are recalibrated, or, with `bn_recalibration_images: 0`, copied."""
    compile: bool = False
    """True: compile the network with torch.compile, which takes minutes and saves time in long runs on GPUs."""
    bn_recalibration_images: int = Field(256, ge=0)
    """The number of images, drawn at random from the phase's training rows, from which the statistics of batch norm are
    taken before each report; 0: use the running averages."""

    @model_validator(mode="before")
    @classmethod
    def _imply_pretrained(cls, values: Any) -> Any:
        if not isinstance(values, dict) or values.get("pretrained_file") is None:
            return values
        if values.get("pretrained", True) is False:
            raise ValueError(
                f".pretrained_file: {values['pretrained_file']} is not read while model.pretrained is false; leave "
                "model.pretrained out or set it to true, or leave model.pretrained_file out"
            )
        return {"pretrained": True} | values

    @field_validator("bn_recalibration_images")
    @classmethod
    def _check_two_or_none(cls, images: int) -> int:
        if images == 1:
            raise ValueError(
                "1 is refused, batch norm takes no statistics from a single image; give 2 or more, or 0 for running "
                "averages"
            )
        return images
