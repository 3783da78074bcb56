"""Grad-CAM: where on a film the evidence for an observation lies, as far as a feature map can tell."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from chex.errors import InputError
from chex.trained import Trained

STRONGEST = 0.65
"""How much of a film's gray the strongest heat hides."""
FEWEST = 7
"""Cells a side that a map should have at least, as of the common backbones at 224 pixels."""


@dataclass(frozen=True)
class FeatureMap:
    """The feature map of a backbone that heat is read off."""

    height: int
    """In cells."""
    width: int
    module: str | None = None
    """What gives it, by its name in the backbone; None: it is the last one."""
    told: str = ""
    """Which one it is and why, in words that follow the cells; empty where it is the last one and fine enough."""

    @property
    def cells(self) -> str:
        """How fine it is, in words."""
        return f"{self.height} x {self.width} cells{self.told}"


def check_map(trained: Trained) -> FeatureMap:
    """The last feature map, or where that has fewer than FEWEST cells a side, the last that has as many.

    Where no map has as many, it is the last one. Raises InputError for a backbone that ends in tokens, as a
    transformer does.
    """
    film = torch.zeros(1, 1, trained.image_size, trained.image_size)
    stages = _stages(trained)
    with torch.no_grad(), _kept(trained, stages) as maps:
        features = _features(trained, film)
    if features.ndim != 4:
        raise InputError(
            f"--grad-cam: {trained.backbone} ends in tokens, and Grad-CAM needs a feature map; "
            "leave --grad-cam out, or train a convolutional backbone"
        )
    last = FeatureMap(features.shape[2], features.shape[3])
    if _side(features) >= FEWEST:
        return last
    coarse = f"the last feature map has {last.height} x {last.width}"
    for name in reversed(stages):
        found = maps.get(name)
        if found is not None and found.ndim == 4 and _side(found) >= FEWEST:
            return FeatureMap(found.shape[2], found.shape[3], name, f" of {name} ({coarse})")
    return last


def heat(
    trained: Trained,
    films: torch.Tensor,
    columns: Sequence[int],
    against: bool = False,
    module: str | None = None,
) -> np.ndarray:
    """float32 (B, len(columns), h, w) in [0, 1]: evidence for each observation of `columns`, per film of (B, 1, H, W).

    With `against` it is the evidence against it. `module` is that of a FeatureMap.

    Selvaraju et al. 2017, section 3: the feature map's channels, weighted by the mean gradient of the
    observation's log odds, summed, and cut off below 0; each map is divided by its highest cell. 0 everywhere where
    nothing speaks for the observation. The model must be in evaluation mode.
    """
    with torch.enable_grad():
        if module is None:
            features = _features(trained, films).detach().requires_grad_()
            laid = features.permute(0, 2, 3, 1) if _channels_last(trained) else features
            raw = trained.model.head(trained.model.backbone.forward_head(laid))  # type: ignore[operator]
        else:
            with _kept(trained, [module]) as maps:
                raw = trained.model(films.detach().requires_grad_())
            features = maps[module]
        logits = trained.outputs.logits(raw)
        heats = [_map(features, -logits[:, column] if against else logits[:, column]) for column in columns]
    return torch.stack(heats, dim=1).cpu().numpy()


def overlay(film: np.ndarray, heat_map: np.ndarray, caption: str) -> Image.Image:
    """The gray film, uint8 (S, S), under a heat map (h, w) in [0, 1] laid smoothly over it, with a line above."""
    side = film.shape[0]
    smooth = Image.fromarray(np.round(255 * heat_map).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
    share = np.asarray(smooth, dtype=np.float32)[..., None] / 255
    colours = matplotlib.colormaps["autumn_r"](share[..., 0])[..., :3] * 255
    mixed = film[..., None] * (1 - STRONGEST * share) + colours * STRONGEST * share
    size = max(11, side // 24)
    page = Image.new("RGB", (side, side + 2 * size), "white")
    page.paste(Image.fromarray(np.round(mixed).astype(np.uint8)), (0, 2 * size))
    ImageDraw.Draw(page).text((size // 2, size // 2), caption, fill="black", font=ImageFont.load_default(size))
    return page


def _features(trained: Trained, films: torch.Tensor) -> torch.Tensor:
    """The last feature map with its channels second, (B, C, h, w), or what a backbone without one gives."""
    features: torch.Tensor = trained.model.backbone.forward_features(films)  # type: ignore[operator]
    return features.permute(0, 3, 1, 2) if _channels_last(trained) else features


def _stages(trained: Trained) -> list[str]:
    """The modules that end the backbone's stages, as timm names them; empty where it does not say."""
    info = getattr(trained.model.backbone, "feature_info", None) or []
    modules = dict(trained.model.backbone.named_modules())
    return [str(each["module"]) for each in info if each["module"] in modules]


@contextmanager
def _kept(trained: Trained, modules: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """What the modules of the backbone give while the block runs, by their names, with the channels second."""
    maps: dict[str, torch.Tensor] = {}

    def keep(name: str, given: torch.Tensor) -> torch.Tensor:
        if not isinstance(given, torch.Tensor):
            return given
        maps[name] = given.permute(0, 3, 1, 2) if _channels_last(trained) and given.ndim == 4 else given
        laid = maps[name].permute(0, 2, 3, 1) if maps[name] is not given else given
        return laid.clone()  # what follows may change it in place

    hooks = [
        trained.model.backbone.get_submodule(name).register_forward_hook(
            lambda module, taken, given, name=name: keep(name, given)
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


def _channels_last(trained: Trained) -> bool:
    return getattr(trained.model.backbone, "output_fmt", "NCHW") == "NHWC"


def _map(features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), features, retain_graph=True)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu().detach()
    highest = weighted.amax(dim=(1, 2), keepdim=True)
    return weighted / highest.clamp_min(torch.finfo(weighted.dtype).tiny)
