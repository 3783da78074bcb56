"""Checks which images exist and measures a random sample of them."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from chex.data.decoding import UNDECODABLE, decode
from chex.data.tables import ImageTable
from chex.explore.summary_tables import KINDS
from chex.reporting.console import ProgressCallback
from chex.runtime.cpu_count import usable_cpus
from chex.schema.labels import FIVE, label_columns

THUMBNAIL = 192
"""The side of an image on a contact sheet, in pixels."""

SHEET = ("positive", "positive", "uncertain", "uncertain", "negative")
"""The labels of one observation's images on the contact sheet, from left to right."""


@dataclass(frozen=True)
class ImageStats:
    """Measurements of a sample of images. All arrays have one entry per image that could be decoded."""

    paths: np.ndarray
    """str (n,): paths relative to the root."""
    widths: np.ndarray
    """int64 (n,): pixels, as stored."""
    heights: np.ndarray
    """int64 (n,): pixels, as stored."""
    means: np.ndarray
    """float64 (n,): mean gray, 0 black to 255 white."""
    deviations: np.ndarray
    """float64 (n,): standard deviation of the gray, 0 for an image of one gray."""
    digests: np.ndarray
    """str (n,): equal for images with the same size and pixels."""
    damaged: tuple[str, ...]
    """Paths of the images that could not be decoded."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def opened(self) -> int:
        """The number of files that were opened."""
        return len(self.paths) + len(self.damaged)


@dataclass(frozen=True)
class ImageSample:
    """An image on a contact sheet."""

    group: str
    """The observation, `darkest` or `brightest`."""
    caption: str
    path: str
    """Relative to the root; "" if the tree has no such image."""
    pixels: np.ndarray
    """uint8 (THUMBNAIL, THUMBNAIL)."""


def check_files_exist(root: Path, paths: np.ndarray, progress: ProgressCallback) -> np.ndarray:
    """Returns bool (N,): whether each of `paths` is a file inside `root`."""
    exists_ = np.zeros(len(paths), dtype=bool)
    for row, path in enumerate(paths):
        exists_[row] = os.path.isfile(root / path)
        if row % 1000 == 999 or row + 1 == len(paths):
            progress(row + 1, len(paths))
    return exists_


def measure_images(
    root: Path, paths: np.ndarray, count: int, rng: np.random.Generator, progress: ProgressCallback
) -> ImageStats:
    """Measures `count` images drawn by `rng` from `paths` (repeats count once), or all if there are fewer."""
    unique_paths = np.unique(paths)
    sample = np.sort(rng.choice(unique_paths, min(count, len(unique_paths)), replace=False))
    rows, damaged = [], []
    with ThreadPoolExecutor(usable_cpus()) as pool:
        measured = pool.map(lambda path: _measure(root / path), sample)
        for done, (path, row) in enumerate(zip(sample, measured, strict=True), 1):
            if row is None:
                damaged.append(str(path))
            else:
                rows.append((path, *row))
            progress(done, len(sample))
    table = pd.DataFrame(rows, columns=["path", "width", "height", "mean", "deviation", "digest"])
    return ImageStats(
        paths=table["path"].to_numpy(dtype=str),
        widths=table["width"].to_numpy(dtype=np.int64),
        heights=table["height"].to_numpy(dtype=np.int64),
        means=table["mean"].to_numpy(dtype=np.float64),
        deviations=table["deviation"].to_numpy(dtype=np.float64),
        digests=table["digest"].to_numpy(dtype=str),
        damaged=tuple(damaged),
    )


def _measure(path: Path) -> tuple[int, int, float, float, str] | None:
    try:
        with Image.open(path) as image:
            width, height = image.size
            image.draft("L", (512, 512))  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below 512 pixels
            gray = np.asarray(image.convert("L"))
    except UNDECODABLE:
        return None
    digest = hashlib.sha256(f"{width} {height} ".encode() + gray.tobytes()).hexdigest()
    return width, height, float(gray.mean()), float(gray.std()), digest


def identical(stats: ImageStats) -> list[tuple[str, ...]]:
    """Returns groups of two or more paths whose images have the same pixels."""
    groups = pd.Series(stats.paths).groupby(stats.digests).agg(tuple)
    return sorted(group for group in groups if len(group) > 1)


def extremes(root: Path, stats: ImageStats, count: int = 4) -> list[ImageSample]:
    """Returns the `count` darkest images and the `count` brightest by mean gray; no image twice."""
    order = np.argsort(stats.means, kind="stable")
    count = min(count, len(order) // 2)
    chosen = [("darkest", row) for row in order[:count]] + [("brightest", row) for row in order[::-1][:count]]
    return [
        ImageSample(group, f"mean gray {stats.means[row]:.0f}", str(stats.paths[row]), decode(root / path, THUMBNAIL))
        for group, row in chosen
        for path in [stats.paths[row]]
    ]


def contact_sheet(root: Path, records: ImageTable, exists: np.ndarray, rng: np.random.Generator) -> list[ImageSample]:
    """Draws, for each scored observation, five existing images labelled as in SHEET.

    `exists` is bool (N,). Frontal images are preferred; without a suitable image the path is "".
    """
    samples, used = [], set[str]()
    for name, column in zip(FIVE, label_columns(FIVE), strict=True):
        for label in SHEET:
            rows = np.flatnonzero(exists & (records.labels[:, column] == KINDS[label]))
            rows = rng.permutation(rows)[:200]
            rows = rows[np.argsort(~records.frontal[rows], kind="stable")]
            samples.append(
                _first_decodable(
                    root, records, name, label, [int(row) for row in rows if records.paths[row] not in used]
                )
            )
            used.add(samples[-1].path)
    return samples


def _first_decodable(root: Path, records: ImageTable, name: str, label: str, rows: Iterable[int]) -> ImageSample:
    for row in rows:
        path = str(records.paths[row])
        try:
            pixels = decode(root / path, THUMBNAIL)
        except UNDECODABLE:
            continue
        age = "" if np.isnan(records.ages[row]) else f" {records.ages[row]:.0f}"
        return ImageSample(name, f"{label}\n{records.sexes[row][:7]}{age}", path, pixels)
    return ImageSample(name, f"{label}\nno image", "", np.full((THUMBNAIL, THUMBNAIL), 255, dtype=np.uint8))
