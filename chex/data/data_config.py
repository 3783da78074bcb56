"""The sections `data`, `image` and `batches` of a run's config."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from chex.errors import InputError
from chex.schema.labels import Observations
from chex.schema.strict_model import NodePath, PathField, Strict, is_int


class AffineConfig(Strict):
    """Limits of random affine augmentation; all zero: none. There are no flips, because the heart is on the left."""

    degrees: float = Field(0.0, ge=0, le=45)
    """The largest rotation about the centre, in degrees, either way."""
    translate: float = Field(0.0, ge=0, le=0.5)
    """The largest translation along each axis, either way, as a share of the side."""
    scale: float = Field(0.0, ge=0, le=0.5)
    """The zoom is between 1 - scale and 1 + scale."""


Resize = Literal["letterbox", "stretch"]


def _check_batch_size(value: object) -> object:
    if value != "auto" and not (is_int(value) and 2 <= value <= 4096):
        raise ValueError(f"{value!r} is refused, it should be 'auto' or a whole number from 2 to 4096")
    return value


BatchSize = Annotated[int | str, BeforeValidator(_check_batch_size)]
"""The type of a config field: a number of images, or `auto`."""


class BatchesConfig(Strict):
    """The batches of a run and their augmentation."""

    size: BatchSize = 32
    """Images per optimizer step; `auto`: as many as fit into the memory of the trial's share of the GPU."""
    micro_batch_size: int | None = Field(None, ge=2, le=4096)
    """Images per forward and backward pass; a step adds up the gradients of its micro-batches. Blank: `size`. With 2,
    one micro-batch of an odd batch has 3."""
    intensity_jitter: float = Field(0.2, ge=0, lt=1)
    """The largest random change x of an image: contrast by a factor 1 +- x, brightness by +- x standard deviations."""
    affine: AffineConfig = AffineConfig()


def batch_size(config: BatchesConfig) -> int:
    """Returns the images per optimizer step; 32 for an `auto` that is not resolved (see chex.training.auto)."""
    return 32 if isinstance(config.size, str) else config.size


def check_batch_size(size: int) -> None:
    """Raises InputError if --batch is less than 1."""
    if size < 1:
        raise InputError(f"--batch {size}: images are scored 1 or more at a time; give --batch 1 or more")


class ImageConfig(Strict):
    """The size of the model's input images, and the cache of decoded images."""

    size: int = Field(64, ge=32, le=2048)
    """Side of the square in pixels."""
    resize: Resize = "letterbox"
    """`letterbox`: keeps the proportions and fills the rest with black; `stretch`: fills the square."""
    cache_dir: NodePath = Path("~/.cache/chexpert-search")
    """Folder of decoded images on a local disk, shared by all runs; each tree needs images x size x size bytes."""


class DataConfig(Strict):
    """The data tree, the observations that a run learns, and what it is scored on."""

    root: PathField | None = None
    """The folder that holds train.csv and valid.csv."""
    observations: Observations = ("Cardiomegaly",)
    """One observation, a list of them, or `five` (the scored ones)."""
    views: Literal["all", "frontal", "lateral"] = "all"
    """The views that a run trains on and is scored on."""
    holdout_fraction: float | None = Field(None, gt=0, lt=1)
    """Share of train.csv's patients to score on instead of valid.csv, by their certain labels; blank: valid.csv."""
    split_seed: int = Field(0, ge=0, lt=2**32)
    """Chooses the patients that are held out. The run's `seed` does not change them."""
    eval_unit: Literal["image", "study"] = "image"
    """The unit of scoring: an image, or a study with the highest probability of its images."""

    @model_validator(mode="after")
    def _check_split_seed(self) -> "DataConfig":
        if self.split_seed and self.holdout_fraction is None:
            raise ValueError(
                f".split_seed: {self.split_seed} chooses who is held out, and data.holdout_fraction is blank; "
                "set data.holdout_fraction, or leave split_seed out"
            )
        return self
