"""A trained network as its file of weights describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from chex.cache import ImageConfig
from chex.checkpoint import load_weights
from chex.errors import InputError, one_of
from chex.labels import OBSERVATIONS
from chex.model import Classifier, ModelConfig, build_model
from chex.normalisation import Normalisation
from chex.outputs import Outputs
from chex.pretrained import sha256_of
from chex.provenance import Provenance
from chex.provenance import load as load_provenance

NEEDED = ("backbone", "observations", "image_size", "mean", "std")
NO_DIAGNOSIS = "These are research results and no basis for a diagnosis."
FINAL_BATCH_NORM = "head.2.weight"


@dataclass(frozen=True)
class Trained:
    """A network ready to be asked."""

    model: Classifier
    backbone: str
    observations: tuple[str, ...]
    outputs: Outputs
    image: ImageConfig
    """How the films that it was trained on were decoded."""
    thresholds: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Of each observation, by rule; NaN where a rule gives none. Empty where none came with the weights."""
    provenance: Provenance | None = None
    """Whom the weights have seen; None where they do not say it."""
    sha256: str = ""
    """Of the file that the weights were read from."""

    @property
    def image_size(self) -> int:
        """Side of the square in pixels."""
        return self.image.size


def load_trained(path: Path) -> Trained:
    """The network of a best.safetensors.

    Raises InputError for a file that is not safetensors, lacks what it should say of itself (NEEDED), or does not fit.
    """
    weights, about = load_weights(path)
    missing = [name for name in NEEDED if name not in about]
    if missing:
        raise InputError(
            f"{path} does not say its {', '.join(missing)}; give weights that chex train or chex-search wrote"
        )
    observations = tuple(about["observations"].split(","))
    three = about["multiclass"].split(",") if about.get("multiclass") else []
    _columns(path, "observations", observations, OBSERVATIONS)
    outputs = Outputs(len(observations), _columns(path, "multiclass", three, observations))
    config = ModelConfig(backbone=about["backbone"], final_batch_norm=FINAL_BATCH_NORM in weights)
    try:
        model = build_model(config, outputs.count, seed=0)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    check_fit(path, weights, model, about["backbone"], about["observations"])
    model.load_state_dict(weights)
    model.normalisation = _normalisation(path, about)
    return Trained(
        model.eval(),
        config.backbone,
        observations,
        outputs,
        _image(path, about),
        provenance=load_provenance(path, about),
        sha256=sha256_of(path),
    )


def _columns(path: Path, field: str, names: tuple[str, ...] | list[str], choices: tuple[str, ...]) -> tuple[int, ...]:
    for name in names:
        if name not in choices:
            raise InputError(f"{path}: its {field} name '{name}', which a tree does not have; {one_of(name, choices)}")
    return tuple(choices.index(name) for name in names)


def _image(path: Path, about: Mapping[str, str]) -> ImageConfig:
    try:
        size, resize = int(about["image_size"]), about.get("resize", "letterbox")
        return ImageConfig.model_validate({"size": size, "resize": resize})
    except ValueError as error:
        raise InputError(
            f"{path}: its image_size is '{about['image_size']}', which is no whole number of pixels from 32 to 2048; "
            "give weights as chex train wrote them"
        ) from error


def _normalisation(path: Path, about: Mapping[str, str]) -> Normalisation:
    try:
        return Normalisation(float(about["mean"]), float(about["std"]))
    except ValueError as error:
        raise InputError(
            f"{path}: its mean is '{about['mean']}' and its std '{about['std']}', which are no numbers that a gray "
            "level can be normalised by; give weights as chex train wrote them"
        ) from error


def check_fit(
    path: Path, weights: Mapping[str, torch.Tensor], model: Classifier, backbone: str, observations: str
) -> None:
    """Raises InputError where the arrays that `path` holds are not those of `model`, told by name and observations."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    wrong = sorted(name for name in expected.keys() | given.keys() if expected.get(name) != given.get(name))
    if wrong:
        first = wrong[0]
        raise InputError(
            f"{path} does not fit the {backbone} for {observations} that it says it is: "
            f"{len(wrong):,} of {len(expected):,} arrays differ, first {first}, which is {_shape(given.get(first))} "
            f"and should be {_shape(expected.get(first))}; give weights as chex train wrote them, "
            "with the timm that trained them"
        )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"{' x '.join(map(str, shape)) or 'a number'}"
