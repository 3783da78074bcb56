"""A folder that `chex-search export` wrote: a network, and what it says of itself in about.json."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from chex.cache import ImageConfig
from chex.checkpoint import load_weights
from chex.config import validated
from chex.decoding import Resize
from chex.errors import InputError, one_of
from chex.labels import Observations
from chex.model import ModelConfig, build_model
from chex.normalisation import Normalisation
from chex.outputs import Outputs
from chex.pretrained import sha256_of
from chex.provenance import load as load_provenance
from chex.strict import AsList, Strict
from chex.timm_layout import from_timm
from chex.trained import Trained, check_fit, load_trained

ABOUT, WEIGHTS = "about.json", "model.safetensors"
RULES = (".5", "youden", "recall")
"""How thresholds were chosen, in the order of figures.rules."""
RECALL = 0.9
"""What the threshold `recall` reaches."""


class Preprocessing(Strict):
    """How a film becomes an input, float32 (1, size, size): gray of 0 to `white`, over it, less mean, over std."""

    size: int
    resize: Resize
    channels: int = 1
    interpolation: str = "bilinear"
    white: int = 255
    mean: float = Field(ge=0, le=1)
    std: float = Field(gt=0)


class Threshold(Strict):
    """One threshold of one observation and what it did on the validation labels that it was chosen on."""

    threshold: float | None
    """None, and what follows undefined, where those labels do not let it be chosen."""
    recall: float | None
    precision: float | None
    """None also where nothing is called."""
    positives: int
    """How many of the labels are positive."""


class About(Strict):
    """What about.json holds."""

    made_by: Literal["chex-search export"] = "chex-search export"
    backbone: str
    """timm's name."""
    last_layer: str
    """The name of the network's last layer in timm's layout."""
    observations: Observations
    """In the order of the outputs, which are log odds: their sigmoid is the probability."""
    multiclass: Annotated[tuple[str, ...], AsList]
    """Those trained with uncertain as a third class: their probability is the softmax over positive and negative."""
    preprocessing: Preprocessing
    scoring: Literal["image", "study"]
    """What thresholds were chosen for: a film, or a study, whose probability is the highest of its films."""
    thresholds: dict[str, dict[str, Threshold]]
    """Of each observation, one for each of RULES."""
    labels: str
    """The digest of the validation labels."""
    seed: int = Field(ge=0)
    """Of the run."""
    versions: dict[str, str]
    """Of what exported it."""

    @field_validator("multiclass", "thresholds")
    @classmethod
    def _of_its_observations(cls, value: Collection[str], info: ValidationInfo) -> Collection[str]:
        own = info.data.get("observations", value)
        for name in value:
            if name not in own:
                raise ValueError(f"'{name}' is not one of its observations; {one_of(name, own)}")
        return value

    def cuts(self) -> dict[str, dict[str, float]]:
        """The thresholds alone; NaN where there is none."""
        return {
            name: {rule: math.nan if each.threshold is None else each.threshold for rule, each in own.items()}
            for name, own in self.thresholds.items()
        }


def preprocessing(image: ImageConfig, normalisation: Normalisation) -> Preprocessing:
    """What a run of these images does to a film."""
    return Preprocessing(size=image.size, resize=image.resize, mean=normalisation.mean, std=normalisation.std)


def load_network(path: Path) -> Trained:
    """The network of an exported folder or of a best.safetensors. Raises InputError (see trained.load_trained)."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; give a best.safetensors, or a folder of chex-search export")
    return _load_exported(path) if path.is_dir() else load_trained(path)


def read_about(folder: Path) -> About:
    """What the exported `folder` says of itself. Raises InputError for a folder that is none."""
    path = folder / ABOUT
    if not path.is_file():
        beside = folder / "best.safetensors"
        other = f", or {beside}" if beside.is_file() else ""
        raise InputError(f"{folder} holds no {ABOUT}; give a folder that chex-search export wrote{other}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); give the folder as chex-search export wrote it") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is not a JSON object; give the folder as chex-search export wrote it")
    return validated(About, content, str(path))


def _load_exported(folder: Path) -> Trained:
    about = read_about(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path} is missing; give the folder as chex-search export wrote it")
    size = {"size": about.preprocessing.size, "resize": about.preprocessing.resize}
    image = validated(ImageConfig, size, f"{folder / ABOUT}: preprocessing")
    normalisation = Normalisation(about.preprocessing.mean, about.preprocessing.std)
    if about.preprocessing != preprocessing(image, normalisation):
        raise InputError(
            f"{folder / ABOUT}: its preprocessing is not what this version of chex does to films; "
            "give the folder as chex-search export wrote it"
        )
    outputs = Outputs(len(about.observations))
    try:
        model = build_model(ModelConfig(backbone=about.backbone), outputs.count, seed=0)
    except InputError as error:
        raise InputError(f"{folder / ABOUT}: {error}") from error
    held, said = load_weights(path)
    arrays = from_timm(held, about.last_layer)
    check_fit(path, arrays, model, about.backbone, ",".join(about.observations))
    model.load_state_dict(arrays)
    model.normalisation = normalisation
    return Trained(
        model.eval(),
        about.backbone,
        about.observations,
        outputs,
        image,
        about.cuts(),
        load_provenance(path, said),
        sha256_of(path),
    )
