"""Reads a bundle, the folder that `chex-search export` writes: a network and its metadata in about.json."""

import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from chex.cohort.patients_seen import parse_provenance
from chex.config import validate
from chex.data.data_config import ImageConfig, Resize
from chex.data.normalization import Normalization
from chex.errors import InputError, suggest
from chex.evaluation.load_model import LoadedModel, check_fit, load_model
from chex.evaluation.preflight import check_weights_path
from chex.models.checkpoint import load_weights
from chex.models.classifier import build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig
from chex.models.timm_export import from_timm
from chex.runtime.run_folder import sha256_of
from chex.schema.labels import Observations
from chex.schema.strict_model import AsList, Strict

ABOUT, WEIGHTS = "about.json", "model.safetensors"
RULES = (".5", "youden", "recall")
"""The names of the rules that choose a threshold: .5 itself, Youden's index, and a recall of RECALL."""
RECALL = 0.9
"""The recall that the threshold of the rule `recall` reaches."""


class Preprocessing(Strict):
    """How an image becomes an input, float32 (1, H, W): (gray / `white` - `mean`) / `std`, gray from 0 to `white`."""

    size: int
    resize: Resize
    channels: int = 1
    interpolation: str = "bilinear"
    white: int = 255
    mean: float = Field(ge=0, le=1)
    std: float = Field(gt=0)


class Threshold(Strict):
    """One threshold of one observation, and its metrics on the validation labels that it was chosen on."""

    threshold: float | None
    """None if these labels do not define it; recall and precision are then None too."""
    recall: float | None
    precision: float | None
    """None also if nothing is predicted positive."""
    positives: int
    """How many of the labels are positive."""


class BundleMetadata(Strict):
    """The content of about.json."""

    made_by: Literal["chex-search export"] = "chex-search export"
    backbone: str
    """The name of the timm model."""
    last_layer: str
    """The name of the network's last layer in timm's layout."""
    observations: Observations
    """In the order of the outputs, which are log odds: their sigmoid is the probability."""
    multiclass: Annotated[tuple[str, ...], AsList]
    """The observations trained with a third class: their probability is the softmax over positive and negative."""
    preprocessing: Preprocessing
    scoring: Literal["image", "study"]
    """The unit that a threshold is for: an image, or a study, whose probability is the highest of its images."""
    thresholds: dict[str, dict[str, Threshold]]
    """For each observation, the threshold of each of RULES."""
    labels: str
    """The digest of the validation labels."""
    seed: int = Field(ge=0)
    """The seed of the run."""
    versions: dict[str, str]
    """The versions of the packages that exported the bundle, by name."""

    @field_validator("multiclass", "thresholds")
    @classmethod
    def _check_observations(cls, value: Collection[str], info: ValidationInfo) -> Collection[str]:
        known = info.data.get("observations", value)
        for name in value:
            if name not in known:
                raise ValueError(f"'{name}' is not one of its observations; {suggest(name, known)}")
        return value

    def threshold_values(self) -> dict[str, dict[str, float]]:
        """Returns the thresholds of each observation by rule, NaN where undefined."""
        return {
            name: {rule: math.nan if each.threshold is None else each.threshold for rule, each in rules.items()}
            for name, rules in self.thresholds.items()
        }


def preprocessing(image: ImageConfig, normalization: Normalization) -> Preprocessing:
    """Returns how a run with these settings preprocesses an image."""
    return Preprocessing(size=image.size, resize=image.resize, mean=normalization.mean, std=normalization.std)


def load_bundle(path: Path) -> LoadedModel:
    """Returns the network of a bundle or of a best.safetensors. Raises InputError where it cannot be loaded."""
    check_weights_path(path)
    return _load_folder(path) if path.is_dir() else load_model(path)


def read_metadata(folder: Path) -> BundleMetadata:
    """Returns the metadata of a bundle. Raises InputError for a folder that is not a bundle."""
    path = folder / ABOUT
    if not path.is_file():
        beside = folder / "best.safetensors"
        other = f", or {beside}" if beside.is_file() else ""
        raise InputError(f"{folder} has no {ABOUT}; give a folder that chex-search export wrote{other}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); give the folder as chex-search export wrote it") from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is not a JSON object; give the folder as chex-search export wrote it")
    return validate(BundleMetadata, content, str(path))


def _load_folder(folder: Path) -> LoadedModel:
    metadata = read_metadata(folder)
    path = folder / WEIGHTS
    if not path.is_file():
        raise InputError(f"{path} is missing; give the folder as chex-search export wrote it")
    size = {"size": metadata.preprocessing.size, "resize": metadata.preprocessing.resize}
    image = validate(ImageConfig, size, f"{folder / ABOUT}: preprocessing")
    normalization = Normalization(metadata.preprocessing.mean, metadata.preprocessing.std)
    if metadata.preprocessing != preprocessing(image, normalization):
        raise InputError(
            f"{folder / ABOUT}: its preprocessing is not what this version of chex does to images; "
            "give the folder as chex-search export wrote it"
        )
    outputs = HeadLayout(len(metadata.observations))
    try:
        model = build_model(ModelConfig(backbone=metadata.backbone), outputs.count, seed=0)
    except InputError as error:
        raise InputError(f"{folder / ABOUT}: {error}") from error
    timm_arrays, weights_metadata = load_weights(path)
    arrays = from_timm(timm_arrays, metadata.last_layer)
    check_fit(path, arrays, model, metadata.backbone, ",".join(metadata.observations))
    model.load_state_dict(arrays)
    model.normalization = normalization
    return LoadedModel(
        model.eval(),
        metadata.backbone,
        metadata.observations,
        outputs,
        image,
        metadata.threshold_values(),
        parse_provenance(path, weights_metadata),
        sha256_of(path),
    )
