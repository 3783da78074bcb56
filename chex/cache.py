"""Every image decoded and resized once into one memory-mapped uint8 array."""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from chex.atomic import replacing
from chex.errors import InputError

RESIZE_RULE = "letterbox-2"
"""Part of the cache's key: change it whenever `decode` gives other pixels."""
Progress = Callable[[int, int], None]
"""Called with what is done and the total."""


class ImageConfig(BaseModel):
    """What an image looks like to the model, and where decoded images are kept."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(64, ge=32, le=2048)
    """Side of the square in pixels; the film keeps its proportions and the rest is black."""
    cache: Path = Path("~/.cache/chexpert-search")
    """Folder of decoded images on a local disk, shared by all runs; it holds rows x size x size bytes a tree."""


def open_images(root: Path, paths: np.ndarray, config: ImageConfig, progress: Progress | None = None) -> np.ndarray:
    """uint8 (N, size, size), read-only and memory-mapped: the images of `paths`, in that order.

    Decodes them on the first call and finds them again on later ones; a file that changes (size or time) makes another
    array. Raises InputError, and writes nothing, for missing or undecodable images.
    """
    key = _digest(paths, _fingerprints(root, paths), config.size)
    folder = config.cache.expanduser()
    array = folder / f"{key}-{config.size}px.npy"
    if not array.exists():
        folder.mkdir(parents=True, exist_ok=True)
        lock = array.with_suffix(".lock")
        try:
            with FileLock(lock):
                if not array.exists():
                    _build(array, root, paths, config.size, progress)
        finally:
            lock.unlink(missing_ok=True)
    images: np.ndarray = np.load(array, mmap_mode="r")
    return images


def decode(path: Path, size: int) -> np.ndarray:
    """uint8 (size, size): the film in grayscale, scaled to fit, centred on black; white is 255, or 65535 in 16 bits."""
    with Image.open(path) as film:
        film.draft("L", (2 * size, 2 * size))  # JPEG only: decodes at 1/2, 1/4 or 1/8, never below twice the size
        gray = _gray(film)
    scale = size / max(gray.size)
    shape = max(1, round(gray.width * scale)), max(1, round(gray.height * scale))
    square = Image.new("L", (size, size))
    square.paste(gray.resize(shape, Image.Resampling.BILINEAR), ((size - shape[0]) // 2, (size - shape[1]) // 2))
    return np.asarray(square)


def decoded(root: Path, paths: Sequence[str] | np.ndarray, size: int) -> Iterator[np.ndarray | None]:
    """Each film as `decode` gives it, in the order of `paths`, or None where it cannot be decoded."""

    def decode_or_none(path: str) -> np.ndarray | None:
        try:
            return decode(root / path, size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):  # what Pillow raises for damaged files
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(paths), 1024):
            yield from pool.map(decode_or_none, paths[start : start + 1024])


def _gray(film: Image.Image) -> Image.Image:
    if not film.mode.startswith("I"):
        return film.convert("L")
    pixels = np.asarray(film)  # 16 bits, which Pillow's own conversion cuts off at 255
    return Image.fromarray(np.clip(np.round(pixels / 257), 0, 255).astype(np.uint8))


def _fingerprints(root: Path, paths: np.ndarray) -> list[tuple[int, int]]:
    found, missing = [], []
    for path in paths:
        try:
            stat = os.stat(root / path)
            found.append((stat.st_size, stat.st_mtime_ns))
        except OSError:
            missing.append(path)
    if missing:
        raise InputError(
            f"{root}: {len(missing):,} of {len(paths):,} images that the CSVs list are missing, {_first(missing)}; "
            "complete the download or remove their rows"
        )
    return found


def _digest(paths: np.ndarray, fingerprints: list[tuple[int, int]], size: int) -> str:
    key = hashlib.sha256(f"{RESIZE_RULE} {size}".encode())
    for path, fingerprint in zip(paths, fingerprints, strict=True):
        key.update(f"{path} {fingerprint}\n".encode())
    return key.hexdigest()[:20]


def _build(array: Path, root: Path, paths: np.ndarray, size: int, progress: Progress | None) -> None:
    with replacing(array) as beside:
        images = np.lib.format.open_memmap(beside, mode="w+", dtype=np.uint8, shape=(len(paths), size, size))
        bad = []
        for row, film in enumerate(decoded(root, paths, size)):
            if film is None:
                bad.append(paths[row])
            else:
                images[row] = film
            if progress:
                progress(row + 1, len(paths))
        if bad:
            raise InputError(
                f"{root}: {len(bad):,} of {len(paths):,} images cannot be decoded, {_first(bad)}; "
                "replace the files or remove their rows"
            )
        images.flush()


def _first(paths: list[str]) -> str:
    return f"first {', '.join(paths[:3])}"
