"""Batches that are fetched ahead of their use, on one background thread."""

import math
import mmap
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from chex.batches import load_batch, normalised

AHEAD = 2
"""Batches that are fetched while another one is in use."""


def prefetched(
    images: np.ndarray, batches: Iterable[np.ndarray], device: torch.device
) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
    """The rows of each batch and its films, float32 (B, 1, H, W) on `device`: bit by bit what `load_batch` gives.

    A thread fetches rows of `images`, uint8 (N, H, W), AHEAD batches before they are asked for; `batches` itself is
    read, and films are normalised, where this iterator is advanced. An error of the thread is raised here, at its
    batch. The thread ends with the iterator: exhaust it or call its close().
    """
    kind = _Pinned if device.type == "cuda" else _Mapped
    slots = [kind(images, device) for _ in range(AHEAD + 1)]
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


class _Slot:
    """A batch on its way: `fetch` is called by the thread, `films` afterwards by its user, and then `fetch` again."""

    def __init__(self, images: np.ndarray, device: torch.device):
        self.images, self.device = images, device
        self.rows = np.empty(0, dtype=np.int64)

    def fetch(self, rows: np.ndarray) -> None:
        raise NotImplementedError

    def films(self) -> torch.Tensor:
        """float32 (B, 1, H, W): the films of the rows that were fetched last, normalised."""
        raise NotImplementedError


class _Mapped(_Slot):
    """For a CPU, which converts the films where they lie: to fetch them is to have their pages in memory."""

    def fetch(self, rows: np.ndarray) -> None:
        self.rows = rows
        np.asarray(self.images).reshape(len(self.images), -1)[rows, :: mmap.PAGESIZE].sum()

    def films(self) -> torch.Tensor:
        return load_batch(self.images, self.rows, self.device)


class _Pinned(_Slot):
    """For a GPU, which copies page-locked memory while other work goes on."""

    def __init__(self, images: np.ndarray, device: torch.device):
        super().__init__(images, device)
        self.memory = torch.empty(0, dtype=torch.uint8)
        self.copied: torch.cuda.Event | None = None

    def fetch(self, rows: np.ndarray) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.images):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all among {len(self.images)} images")
        if self.copied is not None:
            self.copied.synchronize()  # the GPU may still be copying what lies here
        needed = len(rows) * math.prod(self.images.shape[1:])
        if len(self.memory) < needed:
            self.memory = torch.empty(needed, dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        self.rows = rows
        np.take(self.images, rows, axis=0, out=self._pixels().numpy(), mode="clip")  # "raise" would copy twice

    def films(self) -> torch.Tensor:
        films = normalised(self._pixels(), self.device)
        if self.device.type == "cuda":
            self.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self.copied.record(torch.cuda.current_stream(self.device))
        return films

    def _pixels(self) -> torch.Tensor:
        shape = (len(self.rows), *self.images.shape[1:])
        return self.memory[: math.prod(shape)].view(shape)


def _first(waiting: deque[tuple[np.ndarray, _Slot, Future[None]]]) -> tuple[np.ndarray, torch.Tensor]:
    rows, slot, fetched = waiting.popleft()
    fetched.result()
    return rows, slot.films()
