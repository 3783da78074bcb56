"""`chex predict`: probabilities for image files as a CSV, and overlays of where the evidence lies."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from chex.batches import check_batch, in_order, load_batch
from chex.cache import ImageConfig
from chex.checkpoint import save_table
from chex.console import decimal, progress_bar
from chex.decoding import decode, decoded
from chex.device import DeviceConfig, pick_device
from chex.errors import InputError, one_of
from chex.exported import RULES, load_network
from chex.gradcam import FeatureMap, check_map, heat, overlay
from chex.inference import predict
from chex.labels import OBSERVATIONS
from chex.output_folder import check_claim, check_place, claim
from chex.trained import NO_DIAGNOSIS, Trained

SUFFIXES = (".jpg", ".jpeg", ".png")
PATH, CALLED = "path", " called"
"""Of a table: the first column, and how a column ends that says what is called."""
OVERLAY_SIZE = 512
"""Side in pixels of the film in an overlay."""


def predict_files(
    weights: Path,
    images: Sequence[Path],
    out: Path | None,
    overlays: Path | None,
    drawn: Sequence[str] | None,
    batch: int,
    call: str | None = None,
) -> int:
    """Writes a CSV of each image's probabilities into `out`, or prints it, and overlays where they are asked for.

    `images` are files and folders; `drawn` names the observations of `overlays`, None for all; `call` adds what is
    called at the threshold of that rule, one of RULES. Raises InputError before anything is written.
    """
    check_batch(batch)
    _check_outputs(out, overlays, drawn)
    trained = load_network(weights)
    cuts = None if call is None else _cuts(trained, weights, call)
    chosen = _drawn(trained, drawn)
    chosen_map = check_map(trained) if overlays else None
    paths = image_files(images)
    films = _films(paths, trained.image)
    config = DeviceConfig()
    device = pick_device(config)
    trained.model.to(device)
    with progress_bar("scoring films") as advance:
        logits = predict(trained.model, trained.outputs, films, np.arange(len(films)), config, device, batch, advance)
    probability = logits.sigmoid().numpy()
    table = probability_table(paths, trained.observations, probability)
    _write(table if cuts is None else table.assign(**calls(trained.observations, probability, cuts)), out)
    if overlays and chosen_map:
        count = _draw(trained, paths, films, table, chosen, chosen_map, overlays, batch, device)
        print(_told_of_overlays(overlays, count, chosen_map), file=sys.stderr)
    print(NO_DIAGNOSIS, file=sys.stderr)
    return 0


def image_files(given: Sequence[Path]) -> list[Path]:
    """The files given and the images below the folders given, each once, in order. Raises InputError."""
    absent = [str(path) for path in given if not path.exists()]
    if absent:
        raise InputError(f"{', '.join(absent)}: no such file or folder; give image files, or folders of them")
    found = [file for path in given for file in (_below(path) if path.is_dir() else [path])]
    if not found:
        raise InputError(
            f"{', '.join(map(str, given))}: no images found; a folder is searched for files that end in "
            f"{', '.join(SUFFIXES)}: give another, or name the files"
        )
    once: dict[str, Path] = {}
    for file in found:
        once.setdefault(os.path.abspath(file), file)
    return list(once.values())


def probability_table(paths: Sequence[Path], observations: Sequence[str], probability: np.ndarray) -> pd.DataFrame:
    """A row per image: path, and the probability (N, K) of each observation, in [0, 1]."""
    table = pd.DataFrame({PATH: list(map(str, paths))})
    for column, name in enumerate(observations):
        table[name] = probability[:, column].astype(np.float64).round(6)
    return table


def calls(observations: Sequence[str], probability: np.ndarray, cuts: Mapping[str, float]) -> dict[str, np.ndarray]:
    """A column `<observation> called` for each of `cuts`, of (N, K) probabilities: yes, no, blank where it is NaN."""
    return {
        f"{name}{CALLED}": np.where(probability[:, observations.index(name)] >= cut, "yes", "" if cut != cut else "no")
        for name, cut in cuts.items()
    }


def overlay_names(paths: Sequence[Path]) -> list[str]:
    """A name per image, each once: its path below the folder that all have in common, `/` as `_`, without suffix."""
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


def _check_outputs(out: Path | None, overlays: Path | None, drawn: Sequence[str] | None) -> None:
    if out and out.is_dir():
        raise InputError(
            f"--out {out}: is a folder and the CSV needs a file; give for example --out {out / 'films.csv'}"
        )
    if out:
        check_place(out.parent, f"--out {out}")
    if out and out.exists() and not _is_table(out):
        raise InputError(f"--out {out}: is a file that chex predict did not write, and it stays as it is; give another")
    if overlays:
        check_claim(overlays, "overlays", option="--grad-cam")
    if drawn and not overlays:
        raise InputError(
            f"--observation {' '.join(drawn)}: chooses what --grad-cam draws, which is not asked for; "
            "add --grad-cam FOLDER or leave it out"
        )


def _is_table(path: Path) -> bool:
    """Whether the first line of a file is that of a table which this command writes, or the file is empty."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.readline(10_000).decode("utf-8", errors="replace").strip()
    names = [name.removesuffix(CALLED) for name in head.split(",")]
    return not head or (names[0] == PATH and len(names) > 1 and set(names[1:]) <= set(OBSERVATIONS))


def _cuts(trained: Trained, weights: Path, call: str) -> dict[str, float]:
    if call not in RULES:
        raise InputError(f"--call {call}: no such threshold; {one_of(call, RULES)}")
    if not trained.thresholds:
        raise InputError(
            f"--call {call}: {weights} has no thresholds with it; give a folder that chex-search export wrote, "
            "or leave --call out"
        )
    return {name: own[call] for name, own in trained.thresholds.items()}


def _drawn(trained: Trained, drawn: Sequence[str] | None) -> list[int]:
    for name in drawn or ():
        if name not in trained.observations:
            raise InputError(
                f"--observation: the weights were not trained on '{name}'; {one_of(name, trained.observations)}"
            )
    return [trained.observations.index(name) for name in dict.fromkeys(drawn or trained.observations)]


def _films(paths: Sequence[Path], config: ImageConfig) -> np.ndarray:
    """uint8 (N, size, size)."""
    films, bad = np.empty((len(paths), config.size, config.size), dtype=np.uint8), []
    with progress_bar("decoding films") as advance:
        for row, film in enumerate(decoded(Path(), list(map(str, paths)), config.size, config.resize)):
            if film is None:
                bad.append(str(paths[row]))
            else:
                films[row] = film
            advance(row + 1, len(paths))
    if bad:
        raise InputError(
            f"{len(bad):,} of {len(paths):,} images cannot be decoded: {', '.join(bad)}; "
            "replace the files or leave them out"
        )
    return films


def _write(table: pd.DataFrame, out: Path | None) -> None:
    if out is None:
        try:
            print(table.to_csv(index=False), end="", flush=True)
        except BrokenPipeError:  # whoever reads has read enough; what is left to print at exit must not fail again
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    save_table(out, table)
    print(f"{out}: {len(table):,} films", file=sys.stderr)


def _draw(
    trained: Trained,
    paths: Sequence[Path],
    films: np.ndarray,
    table: pd.DataFrame,
    chosen: Sequence[int],
    chosen_map: FeatureMap,
    folder: Path,
    batch: int,
    device: torch.device,
) -> int:
    """Writes the overlays; returns how many."""
    claim(folder, "overlays", option="--grad-cam")
    names = overlay_names(paths)
    with progress_bar("drawing overlays") as advance:
        for row, maps in enumerate(_heats(trained, films, chosen, chosen_map, batch, device)):
            shown = decode(paths[row], OVERLAY_SIZE, trained.image.resize)
            for column, one in zip(chosen, maps, strict=True):
                observation = trained.observations[column]
                given = decimal(float(table[observation].iloc[row]))
                told = f"{observation} {given}, {chosen_map.height} x {chosen_map.width} cells"
                caption = told if one.any() else f"{told}: nothing speaks for it"
                overlay(shown, one, caption).save(folder / f"{names[row]} {observation}.png")
            advance(row + 1, len(paths))
    return len(paths) * len(chosen)


def _heats(
    trained: Trained,
    films: np.ndarray,
    chosen: Sequence[int],
    chosen_map: FeatureMap,
    batch: int,
    device: torch.device,
) -> Iterator[np.ndarray]:
    for piece in in_order(len(films), batch):
        yield from heat(
            trained, load_batch(films, piece, trained.model.normalisation, device), chosen, module=chosen_map.module
        )


def _told_of_overlays(folder: Path, count: int, chosen_map: FeatureMap) -> str:
    return (
        f"{folder}: {count:,} overlays; the heat of an image is a map of {chosen_map.cells}, smoothed, and is relative "
        "to the strongest of them"
    )
