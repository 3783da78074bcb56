"""Loads a trained network from a file of weights, whose metadata describes the network."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from chex.cohort.patients_seen import Provenance, parse_provenance
from chex.data.data_config import ImageConfig
from chex.data.normalization import Normalization
from chex.errors import InputError, suggest
from chex.models.checkpoint import load_weights
from chex.models.classifier import Classifier, build_model
from chex.models.heads import HeadLayout
from chex.models.model_config import ModelConfig
from chex.runtime.run_folder import sha256_of
from chex.schema.labels import OBSERVATIONS

NEEDED = ("backbone", "observations", "image_size", "mean", "std")
NO_DIAGNOSIS = "These are research results and no basis for a diagnosis."
FINAL_BATCH_NORM = "head.2.weight"


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode, and what its file says of it."""

    model: Classifier
    backbone: str
    observations: tuple[str, ...]
    outputs: HeadLayout
    image: ImageConfig
    """How the training images were decoded."""
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """The thresholds of each observation, by rule; NaN where undefined. Empty if the weights have no thresholds."""
    provenance: Provenance | None = None
    """Which patients the weights have seen; None where the file has no record."""
    sha256: str = ""
    """The SHA-256 of the file of weights."""

    @property
    def image_size(self) -> int:
        """The side of the square images in pixels."""
        return self.image.size


def load_model(path: Path) -> LoadedModel:
    """Returns the network of a best.safetensors.

    Raises InputError for a file that is not safetensors, lacks a field of NEEDED, or does not fit its description.
    """
    weights, metadata = load_weights(path)
    missing = [name for name in NEEDED if name not in metadata]
    if missing:
        raise InputError(
            f"{path} does not say its {', '.join(missing)}; give weights that chex train or chex-search wrote"
        )
    observations = tuple(metadata["observations"].split(","))
    multiclass = metadata["multiclass"].split(",") if metadata.get("multiclass") else []
    _columns(path, "observations", observations, OBSERVATIONS)
    outputs = HeadLayout(len(observations), _columns(path, "multiclass", multiclass, observations))
    config = ModelConfig(backbone=metadata["backbone"], final_batch_norm=FINAL_BATCH_NORM in weights)
    try:
        model = build_model(config, outputs.count, seed=0)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    check_fit(path, weights, model, metadata["backbone"], metadata["observations"])
    model.load_state_dict(weights)
    model.normalization = _normalization(path, metadata)
    return LoadedModel(
        model.eval(),
        config.backbone,
        observations,
        outputs,
        _image(path, metadata),
        provenance=parse_provenance(path, metadata),
        sha256=sha256_of(path),
    )


def _columns(path: Path, field: str, names: tuple[str, ...] | list[str], choices: tuple[str, ...]) -> tuple[int, ...]:
    for name in names:
        if name not in choices:
            raise InputError(
                f"{path}: its {field} name '{name}', which is not an observation; {suggest(name, choices)}"
            )
    return tuple(choices.index(name) for name in names)


def _image(path: Path, metadata: Mapping[str, str]) -> ImageConfig:
    try:
        size, resize = int(metadata["image_size"]), metadata.get("resize", "letterbox")
        return ImageConfig.model_validate({"size": size, "resize": resize})
    except ValueError as error:
        raise InputError(
            f"{path}: its image_size is '{metadata['image_size']}', which is not a whole number of pixels from 32 to "
            "2048; give weights as chex train wrote them"
        ) from error


def _normalization(path: Path, metadata: Mapping[str, str]) -> Normalization:
    try:
        return Normalization(float(metadata["mean"]), float(metadata["std"]))
    except ValueError as error:
        raise InputError(
            f"{path}: its mean is '{metadata['mean']}' and its std '{metadata['std']}', which cannot "
            "normalize a gray level; give weights as chex train wrote them"
        ) from error


def check_fit(
    path: Path, weights: Mapping[str, torch.Tensor], model: Classifier, backbone: str, observations: str
) -> None:
    """Raises InputError if the names or shapes of `weights`, read from `path`, are not those of `model`."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{path} does not fit the {backbone} for {observations} that it describes: "
            f"{len(wrong):,} of {len(expected):,} arrays differ, first {first}, which is {_shape(found.get(first))} "
            f"and should be {_shape(expected.get(first))}; give weights as chex train wrote them, "
            "with the timm that trained them"
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"{' x '.join(map(str, shape)) or 'a number'}"
