"""Batches that are fetched ahead of their use, on one background thread."""

import math
import mmap
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from chex.batches import fill, normalised
from chex.normalisation import Normalisation

AHEAD = 2
"""Batches that are fetched while another one is in use."""


def prefetched(
    images: np.ndarray, batches: Iterable[np.ndarray], normalisation: Normalisation, device: torch.device
) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
    """The rows of each batch and its films, float32 (B, 1, H, W) on `device`: bit by bit what `load_batch` gives.

    Films may be changed in place, and are written over when the next batch is asked for. A thread fetches rows of
    `images`, uint8 (N, H, W), AHEAD batches before they are asked for; `batches` itself is read, and films are
    normalised, where this iterator is advanced. An error of the thread is raised here, at its batch. The thread ends
    with the iterator: exhaust it or call its close().
    """
    slots = _slots(images, normalisation, device)
    waiting = deque[tuple[np.ndarray, _Slot, Future[None]]]()
    thread = ThreadPoolExecutor(1, "reader")
    try:
        for number, rows in enumerate(batches):
            slot = slots[number % len(slots)]
            waiting.append((rows, slot, thread.submit(slot.fetch, rows)))
            if len(waiting) > AHEAD:
                yield _first(waiting)
        while waiting:
            yield _first(waiting)
    finally:
        thread.shutdown(cancel_futures=True)


def _first(waiting: "deque[tuple[np.ndarray, _Slot, Future[None]]]") -> tuple[np.ndarray, torch.Tensor]:
    rows, slot, fetched = waiting.popleft()
    fetched.result()
    return rows, slot.films(rows)


def _slots(images: np.ndarray, normalisation: Normalisation, device: torch.device) -> Sequence["_Slot"]:
    if device.type == "cuda":
        return [_Pinned(images, normalisation, device) for _ in range(AHEAD + 1)]
    return [_Mapped(images, normalisation, _Memory(torch.float32))] * (AHEAD + 1)


class _Memory:
    """Memory that is used again and again: new pages for each batch would cost as much as filling them."""

    def __init__(self, dtype: torch.dtype, pinned: bool = False):
        self._dtype, self._pinned = dtype, pinned
        self._held = torch.empty(0, dtype=dtype)

    def shaped(self, *shape: int) -> torch.Tensor:
        """A tensor with anything in it, which shares its memory with those before."""
        count = math.prod(shape)
        if len(self._held) < count:
            self._held = torch.empty(count, dtype=self._dtype, pin_memory=self._pinned)
        return self._held[:count].view(shape)


class _Slot(Protocol):
    """A batch on its way: the thread calls `fetch`, its user calls `films` afterwards, and then `fetch` comes again."""

    def fetch(self, rows: np.ndarray) -> None: ...

    def films(self, rows: np.ndarray) -> torch.Tensor:
        """float32 (B, 1, H, W): the films of `rows`, which were fetched, normalised."""


class _Mapped:
    """For a CPU, which converts the films where they lie: to fetch them is to have their pages in memory."""

    def __init__(self, images: np.ndarray, normalisation: Normalisation, memory: _Memory):
        self._images, self._normalisation, self._memory = np.asarray(images), normalisation, memory

    def fetch(self, rows: np.ndarray) -> None:
        self._images.reshape(len(self._images), -1)[rows, :: mmap.PAGESIZE].sum()

    def films(self, rows: np.ndarray) -> torch.Tensor:
        films = self._memory.shaped(len(rows), 1, *self._images.shape[1:])
        return fill(films, self._images, rows, self._normalisation)


class _Pinned:
    """For a GPU, which copies page-locked memory while other work goes on."""

    def __init__(self, images: np.ndarray, normalisation: Normalisation, device: torch.device):
        self._images, self._normalisation, self._device = images, normalisation, device
        self._memory = _Memory(torch.uint8, pinned=device.type == "cuda")
        self._pixels = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None

    def fetch(self, rows: np.ndarray) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self._images):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all among {len(self._images)} images")
        if self._copied is not None:
            self._copied.synchronize()  # the GPU may still be copying what lies here
        self._pixels = self._memory.shaped(len(rows), *self._images.shape[1:])
        np.take(self._images, rows, axis=0, out=self._pixels.numpy(), mode="clip")  # "raise" would copy twice

    def films(self, rows: np.ndarray) -> torch.Tensor:
        films = normalised(self._pixels, self._normalisation, self._device)
        if self._device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(self._device))
        return films
