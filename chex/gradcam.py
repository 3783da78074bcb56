"""Grad-CAM: where on a film the evidence for an observation lies, as far as the last feature map can tell."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from chex.errors import InputError
from chex.trained import Trained

STRONGEST = 0.65
"""How much of a film's gray the strongest heat hides."""


def check_map(trained: Trained) -> tuple[int, int]:
    """Height and width of the last feature map. Raises InputError for a backbone that has none, as a transformer."""
    with torch.no_grad():
        features = _features(trained, torch.zeros(1, 1, trained.image_size, trained.image_size))
    if features.ndim != 4:
        raise InputError(
            f"--grad-cam: {trained.backbone} ends in tokens, and Grad-CAM needs a feature map; "
            "leave --grad-cam out, or train a convolutional backbone"
        )
    return features.shape[2], features.shape[3]


def heat(trained: Trained, films: torch.Tensor, columns: Sequence[int], against: bool = False) -> np.ndarray:
    """float32 (B, len(columns), h, w) in [0, 1]: evidence for each observation of `columns`, per film of (B, 1, H, W).

    With `against` it is the evidence against it.

    Selvaraju et al. 2017, section 3: the last feature map's channels, weighted by the mean gradient of the
    observation's log odds, summed, and cut off below 0; each map is divided by its highest cell. 0 everywhere where
    nothing speaks for the observation. The model must be in evaluation mode.
    """
    with torch.enable_grad():
        features = _features(trained, films).detach().requires_grad_()
        backbone = trained.model.backbone
        laid = features.permute(0, 2, 3, 1) if _channels_last(trained) else features
        logits = trained.outputs.logits(trained.model.head(backbone.forward_head(laid)))  # type: ignore[operator]
        maps = [_map(features, -logits[:, column] if against else logits[:, column]) for column in columns]
    return torch.stack(maps, dim=1).cpu().numpy()


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


def _channels_last(trained: Trained) -> bool:
    return getattr(trained.model.backbone, "output_fmt", "NCHW") == "NHWC"


def _map(features: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    (gradient,) = torch.autograd.grad(logits.sum(), features, retain_graph=True)
    weighted = (gradient.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1).relu().detach()
    highest = weighted.amax(dim=(1, 2), keepdim=True)
    return weighted / highest.clamp_min(torch.finfo(weighted.dtype).tiny)
