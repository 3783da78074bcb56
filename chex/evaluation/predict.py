"""`chex predict`: writes the probabilities of image files as a CSV, and overlays that show where the evidence lies."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from chex.data.batches import load_batch, sequential_batches
from chex.data.data_config import ImageConfig, check_batch_size
from chex.data.decoding import decode, decode_all
from chex.errors import InputError, suggest
from chex.evaluation.gradcam import FeatureMap, check_map, grad_cam, overlay
from chex.evaluation.load_model import NO_DIAGNOSIS, LoadedModel
from chex.evaluation.model_bundle import RULES, load_bundle
from chex.evaluation.preflight import CALLED, PATH, check_outputs
from chex.models.inference import predict
from chex.reporting.console import format_decimal, progress_bar
from chex.runtime.atomic_io import write_csv
from chex.runtime.device import pick_device
from chex.runtime.device_config import DeviceConfig
from chex.runtime.output_folder import claim

SUFFIXES = (".jpg", ".jpeg", ".png")
OVERLAY_SIZE = 512
"""The side of the image in an overlay, in pixels."""


def predict_files(
    weights: Path,
    images: Sequence[Path],
    out: Path | None,
    overlays: Path | None,
    drawn: Sequence[str] | None,
    batch: int,
    call: str | None = None,
) -> int:
    """Writes a CSV of each image's probabilities to `out`, or prints it, and draws overlays into `overlays`. Returns 0.

    `images` are files and folders; `drawn` are the observations of the overlays, None for all. With `call`, one of
    RULES, the CSV also says which observations are positive at that rule's threshold. Raises InputError, before it
    writes anything, where an option, the weights or an image cannot be used.
    """
    check_batch_size(batch)
    check_outputs(out, overlays, drawn)
    trained = load_bundle(weights)
    thresholds = None if call is None else _thresholds(trained, weights, call)
    chosen = _drawn(trained, drawn)
    chosen_map = check_map(trained) if overlays else None
    paths = image_files(images)
    pixels = _decode_images(paths, trained.image)
    config = DeviceConfig()
    device = pick_device(config)
    trained.model.to(device)
    with progress_bar("scoring images") as advance:
        logits = predict(trained.model, trained.outputs, pixels, np.arange(len(pixels)), config, device, batch, advance)
    probability = logits.sigmoid().numpy()
    table = probability_table(paths, trained.observations, probability)
    _write(table if thresholds is None else table.assign(**calls(trained.observations, probability, thresholds)), out)
    if overlays and chosen_map:
        count = _draw(trained, paths, pixels, table, chosen, chosen_map, overlays, batch, device)
        print(_overlays_note(overlays, count, chosen_map), file=sys.stderr)
    print(NO_DIAGNOSIS, file=sys.stderr)
    return 0


def image_files(paths: Sequence[Path]) -> list[Path]:
    """Returns the files in `paths` and the images below the folders in `paths`, each once, in order.

    Raises InputError for a path that does not exist, and if no image is found.
    """
    absent = [str(path) for path in paths if not path.exists()]
    if absent:
        raise InputError(f"{', '.join(absent)}: no such file or folder; give image files, or folders of them")
    found = [file for path in paths for file in (_below(path) if path.is_dir() else [path])]
    if not found:
        raise InputError(
            f"{', '.join(map(str, paths))}: no images found; a folder is searched for files that end in "
            f"{', '.join(SUFFIXES)}: give another, or name the files"
        )
    once: dict[str, Path] = {}
    for file in found:
        once.setdefault(os.path.abspath(file), file)
    return list(once.values())


def probability_table(paths: Sequence[Path], observations: Sequence[str], probability: np.ndarray) -> pd.DataFrame:
    """Returns a row per image: its path and the probability of each observation; `probability` is (N, K)."""
    table = pd.DataFrame({PATH: list(map(str, paths))})
    for column, name in enumerate(observations):
        table[name] = probability[:, column].astype(np.float64).round(6)
    return table


def calls(
    observations: Sequence[str], probability: np.ndarray, thresholds: Mapping[str, float]
) -> dict[str, np.ndarray]:
    """Returns a column `<observation> called` for each threshold: yes, no, or blank where the threshold is NaN.

    `probability` is (N, K); `thresholds` has the threshold of each observation by name.
    """
    return {
        f"{name}{CALLED}": np.where(probability[:, observations.index(name)] >= cut, "yes", "" if cut != cut else "no")
        for name, cut in thresholds.items()
    }


def overlay_names(paths: Sequence[Path]) -> list[str]:
    """Returns a unique name per image: its path below the common folder, without suffix and with `_` for `/`."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    common = os.path.commonpath([path.parent for path in absolute])
    names = ["_".join(path.relative_to(common).with_suffix("").parts) for path in absolute]
    taken: set[str] = set()
    for place, name in enumerate(names):
        again = 2
        while names[place] in taken:
            names[place], again = f"{name}-{again}", again + 1
        taken.add(names[place])
    return names


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())


def _thresholds(trained: LoadedModel, weights: Path, call: str) -> dict[str, float]:
    if call not in RULES:
        raise InputError(f"--threshold {call}: no such threshold; {suggest(call, RULES)}")
    if not trained.thresholds:
        raise InputError(
            f"--threshold {call}: {weights} has no thresholds; give a folder that chex-search export wrote, "
            "or leave --threshold out"
        )
    return {name: rules[call] for name, rules in trained.thresholds.items()}


def _drawn(trained: LoadedModel, drawn: Sequence[str] | None) -> list[int]:
    for name in drawn or ():
        if name not in trained.observations:
            raise InputError(
                f"--observation: the weights were not trained on '{name}'; {suggest(name, trained.observations)}"
            )
    return [trained.observations.index(name) for name in dict.fromkeys(drawn or trained.observations)]


def _decode_images(paths: Sequence[Path], config: ImageConfig) -> np.ndarray:
    """Returns uint8 (N, size, size). Raises InputError with all images that cannot be decoded."""
    pixels, bad = np.empty((len(paths), config.size, config.size), dtype=np.uint8), []
    with progress_bar("decoding images") as advance:
        for row, image in enumerate(decode_all(Path(), list(map(str, paths)), config.size, config.resize)):
            if image is None:
                bad.append(str(paths[row]))
            else:
                pixels[row] = image
            advance(row + 1, len(paths))
    if bad:
        raise InputError(
            f"{len(bad):,} of {len(paths):,} images cannot be decoded: {', '.join(bad)}; "
            "replace the files or leave them out"
        )
    return pixels


def _write(table: pd.DataFrame, out: Path | None) -> None:
    if out is None:
        try:
            print(table.to_csv(index=False), end="", flush=True)
        except BrokenPipeError:  # the reader closed the pipe; the flush at exit must not fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, table)
    print(f"{out}: {len(table):,} images", file=sys.stderr)


def _draw(
    trained: LoadedModel,
    paths: Sequence[Path],
    pixels: np.ndarray,
    table: pd.DataFrame,
    chosen: Sequence[int],
    chosen_map: FeatureMap,
    folder: Path,
    batch: int,
    device: torch.device,
) -> int:
    """Writes the overlays and returns their number."""
    claim(folder, "overlays", option="--grad-cam")
    names = overlay_names(paths)
    with progress_bar("drawing overlays") as advance:
        for row, maps in enumerate(_heats(trained, pixels, chosen, chosen_map, batch, device)):
            shown = decode(paths[row], OVERLAY_SIZE, trained.image.resize)
            for column, one in zip(chosen, maps, strict=True):
                observation = trained.observations[column]
                probability = format_decimal(float(table[observation].iloc[row]))
                label = f"{observation} {probability}, {chosen_map.height} x {chosen_map.width} cells"
                caption = label if one.any() else f"{label}: nothing speaks for it"
                overlay(shown, one, caption).save(folder / f"{names[row]} {observation}.png")
            advance(row + 1, len(paths))
    return len(paths) * len(chosen)


def _heats(
    trained: LoadedModel,
    pixels: np.ndarray,
    chosen: Sequence[int],
    chosen_map: FeatureMap,
    batch: int,
    device: torch.device,
) -> Iterator[np.ndarray]:
    for piece in sequential_batches(len(pixels), batch):
        yield from grad_cam(
            trained, load_batch(pixels, piece, trained.model.normalization, device), chosen, module=chosen_map.module
        )


def _overlays_note(folder: Path, count: int, chosen_map: FeatureMap) -> str:
    return (
        f"{folder}: {count:,} overlays; the heat of an image is a map of {chosen_map.cells}, smoothed, and is relative "
        "to the strongest of them"
    )
