"""Grad-CAM: where on an image the evidence for an observation lies, at the resolution of a feature map."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from chex.errors import InputError
from chex.evaluation.load_model import LoadedModel

MAX_OPACITY = 0.65
"""The opacity of the strongest heat in an overlay."""
MIN_CELLS = 7
"""The least number of cells on each side of a map; the last map of common backbones has 7 at 224 pixels."""


@dataclass(frozen=True)
class FeatureMap:
    """The feature map of a backbone from which heat maps are computed."""

    height: int
    """The height in cells."""
    width: int
    module: str | None = None
    """The name of the backbone's module that returns the map; None: it is the last feature map."""
    note: str = ""
    """Words that follow the number of cells and say which map was chosen and why; empty for the last map."""

    @property
    def cells(self) -> str:
        """The map's resolution in words."""
        return f"{self.height} x {self.width} cells{self.note}"


def check_map(trained: LoadedModel) -> FeatureMap:
    """Returns the last feature map with at least MIN_CELLS cells on each side, or the last one if no map has so many.

    Raises InputError for a backbone that ends in tokens, as a transformer does.
    """
    image = torch.zeros(1, 1, trained.image_size, trained.image_size)
    stages = _stages(trained)
    with torch.no_grad(), _record_outputs(trained, stages) as maps:
        features = _features(trained, image)
    if features.ndim != 4:
        raise InputError(
            f"--grad-cam: {trained.backbone} ends in tokens, and Grad-CAM needs a feature map; "
            "leave --grad-cam out, or train a convolutional backbone"
        )
    last = FeatureMap(features.shape[2], features.shape[3])
    if _side(features) >= MIN_CELLS:
        return last
    coarse = f"the last feature map has {last.height} x {last.width}"
    for name in reversed(stages):
        found = maps.get(name)
        if found is not None and found.ndim == 4 and _side(found) >= MIN_CELLS:
            return FeatureMap(found.shape[2], found.shape[3], name, f" of {name} ({coarse})")
    return last


def grad_cam(
    trained: LoadedModel,
    images: torch.Tensor,
    columns: Sequence[int],
    against: bool = False,
    module: str | None = None,
) -> np.ndarray:
    """Returns the evidence in `images` for observations, float32 (B, len(columns), h, w) in [0, 1].

    `images` is float32 (B, 1, H, W), normalized; `columns` are the observations; `module` is that of a FeatureMap. With
    `against` the result is the evidence against the observations.

    The channels of the feature map are weighted by the mean gradient of the observation's log odds and summed, and
    negative cells become 0 (Selvaraju et al. 2017, section 3). Each map is divided by its highest cell; a map without
    evidence is 0 everywhere. The model must be in evaluation mode.
    """
    with torch.enable_grad():
        if module is None:
            features = _features(trained, images).detach().requires_grad_()
            channels_last = features.permute(0, 2, 3, 1) if _channels_last(trained) else features
            raw = trained.model.head(trained.model.backbone.forward_head(channels_last))  # type: ignore[operator]
        else:
            with _record_outputs(trained, [module]) as maps:
                raw = trained.model(images.detach().requires_grad_())
            features = maps[module]
        logits = trained.outputs.logits(raw)
        heats = [_map(features, -logits[:, column] if against else logits[:, column]) for column in columns]
    return torch.stack(heats, dim=1).cpu().numpy()


def overlay(image: np.ndarray, heat_map: np.ndarray, caption: str) -> Image.Image:
    """Returns the gray image, uint8 (S, S), with a smoothed heat map (h, w) in [0, 1] over it and a caption above."""
    side = image.shape[0]
    smooth = Image.fromarray(np.round(255 * heat_map).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    share = np.asarray(smooth, dtype=np.float32)[..., None] / 255
    colours = matplotlib.colormaps["autumn_r"](share[..., 0])[..., :3] * 255
    mixed = image[..., None] * (1 - MAX_OPACITY * share) + colours * MAX_OPACITY * share
    size = max(11, side // 24)
    page = Image.new("RGB", (side, side + 2 * size), "white")
    page.paste(Image.fromarray(np.round(mixed).astype(np.uint8)), (0, 2 * size))
    ImageDraw.Draw(page).text((size // 2, size // 2), caption, fill="black", font=ImageFont.load_default(size))
    return page


def _features(trained: LoadedModel, images: torch.Tensor) -> torch.Tensor:
    """Returns the last feature map with its channels second, (B, C, h, w), or tokens of a backbone without one."""
    features: torch.Tensor = trained.model.backbone.forward_features(images)  # type: ignore[operator]
    return features.permute(0, 3, 1, 2) if _channels_last(trained) else features


def _stages(trained: LoadedModel) -> list[str]:
    """Returns the names of the modules that end the backbone's stages; empty where timm does not list them."""
    info = getattr(trained.model.backbone, "feature_info", None) or []
    modules = dict(trained.model.backbone.named_modules())
    return [str(each["module"]) for each in info if each["module"] in modules]


@contextmanager
def _record_outputs(trained: LoadedModel, modules: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Records the outputs of modules of the backbone during the block, by name, with the channels second."""
    maps: dict[str, torch.Tensor] = {}

    def record(name: str, output: torch.Tensor) -> torch.Tensor:
        if not isinstance(output, torch.Tensor):
            return output
        is_last = _channels_last(trained) and output.ndim == 4
        maps[name] = output.permute(0, 3, 1, 2) if is_last else output
        returned = maps[name].permute(0, 2, 3, 1) if is_last else output
        return returned.clone()  # the next module may change its input in place

    hooks = [
        trained.model.backbone.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: record(name, output)
        )
        for name in modules
    ]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _side(features: torch.Tensor) -> int:
    return min(features.shape[2:])


def _channels_last(trained: LoadedModel) -> bool:
    return getattr(trained.model.backbone, "output_fmt", "NCHW") == "NHWC"


def _map(features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), features, retain_graph=True)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu().detach()
    highest = weighted.amax(dim=(1, 2), keepdim=True)
    return weighted / highest.clamp_min(torch.finfo(weighted.dtype).tiny)
