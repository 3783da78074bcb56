"""The films themselves: which are there, and how a random sample of them looks."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from chex.console import Advance
from chex.decoding import UNDECODABLE, decode
from chex.explore.tallies import KINDS
from chex.labels import FIVE, columns
from chex.processors import usable_cpus
from chex.records import Records

THUMBNAIL = 192
"""Side of a film in a sheet, in pixels."""

SHEET = ("positive", "positive", "uncertain", "uncertain", "negative")
"""What the films of one observation in the contact sheet are labelled."""


@dataclass(frozen=True)
class Look:
    """What a sample of films looks like. All arrays have one row per film that could be decoded."""

    paths: np.ndarray
    """str (n,): inside the root."""
    widths: np.ndarray
    """int64 (n,): pixels, as stored."""
    heights: np.ndarray
    """int64 (n,): pixels, as stored."""
    means: np.ndarray
    """float64 (n,): mean gray, 0 black to 255 white."""
    deviations: np.ndarray
    """float64 (n,): standard deviation of the gray, 0 for a film of one gray."""
    digests: np.ndarray
    """str (n,): equal for films with the same pixels."""
    damaged: tuple[str, ...]
    """Paths of those that could not be decoded."""

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def looked_at(self) -> int:
        """How many files were opened."""
        return len(self.paths) + len(self.damaged)


@dataclass(frozen=True)
class Shot:
    """A film on a sheet."""

    group: str
    """The observation, or what the film stands for."""
    caption: str
    path: str
    """Inside the root; "" where the tree has no such film."""
    pixels: np.ndarray
    """uint8 (THUMBNAIL, THUMBNAIL)."""


def present(root: Path, paths: np.ndarray, progress: Advance) -> np.ndarray:
    """bool (N,): whether each of `paths` is a file inside `root`."""
    found = np.zeros(len(paths), dtype=bool)
    for row, path in enumerate(paths):
        found[row] = os.path.isfile(root / path)
        if row % 1000 == 999 or row + 1 == len(paths):
            progress(row + 1, len(paths))
    return found


def look(root: Path, paths: np.ndarray, count: int, rng: np.random.Generator, progress: Advance) -> Look:
    """Opens `count` of the different `paths`, or all where there are fewer, drawn by `rng`."""
    different = np.unique(paths)
    sample = np.sort(rng.choice(different, min(count, len(different)), replace=False))
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
    return Look(
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
        with Image.open(path) as film:
            width, height = film.size
            film.draft("L", (512, 512))  # a large JPEG is decoded at 1/2, 1/4 or 1/8, never below 512 pixels
            gray = np.asarray(film.convert("L"))
    except UNDECODABLE:
        return None
    digest = hashlib.sha256(f"{width} {height} ".encode() + gray.tobytes()).hexdigest()
    return width, height, float(gray.mean()), float(gray.std()), digest


def identical(looked: Look) -> list[tuple[str, ...]]:
    """Groups of two or more paths whose films have the same pixels."""
    groups = pd.Series(looked.paths).groupby(looked.digests).agg(tuple)
    return sorted(group for group in groups if len(group) > 1)


def extremes(root: Path, looked: Look, count: int = 4) -> list[Shot]:
    """The `count` darkest films and the `count` brightest, by mean gray; no film twice."""
    order = np.argsort(looked.means, kind="stable")
    count = min(count, len(order) // 2)
    chosen = [("darkest", row) for row in order[:count]] + [("brightest", row) for row in order[::-1][:count]]
    return [
        Shot(group, f"mean gray {looked.means[row]:.0f}", str(looked.paths[row]), decode(root / path, THUMBNAIL))
        for group, row in chosen
        for path in [looked.paths[row]]
    ]


def contact_sheet(root: Path, records: Records, there: np.ndarray, rng: np.random.Generator) -> list[Shot]:
    """For each scored observation, five films labelled as in SHEET, drawn by `rng` from those that are there.

    `there` is bool (N,). Frontal films come first; a place that no film of the split can fill has path "".
    """
    shots, used = [], set[str]()
    for name, column in zip(FIVE, columns(FIVE), strict=True):
        for label in SHEET:
            rows = np.flatnonzero(there & (records.labels[:, column] == KINDS[label]))
            rows = rng.permutation(rows)[:200]
            rows = rows[np.argsort(~records.frontal[rows], kind="stable")]
            shots.append(
                _shot(root, records, name, label, [int(row) for row in rows if records.paths[row] not in used])
            )
            used.add(shots[-1].path)
    return shots


def _shot(root: Path, records: Records, name: str, label: str, rows: Iterable[int]) -> Shot:
    for row in rows:
        path = str(records.paths[row])
        try:
            pixels = decode(root / path, THUMBNAIL)
        except UNDECODABLE:
            continue
        age = "" if np.isnan(records.ages[row]) else f" {records.ages[row]:.0f}"
        return Shot(name, f"{label}\n{records.sexes[row][:7]}{age}", path, pixels)
    return Shot(name, f"{label}\nno film", "", np.full((THUMBNAIL, THUMBNAIL), 255, dtype=np.uint8))
