"""Fetches batches ahead of their use, on one background thread."""

import math
import mmap
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch

from chex.data.batches import copy_normalized, normalize
from chex.data.normalization import Normalization

PREFETCH_DEPTH = 2
"""The number of batches that are fetched while another one is in use."""


def prefetch(
    images: np.ndarray, batches: Iterable[np.ndarray], normalization: Normalization, device: torch.device
) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
    """Yields the rows of each batch and its images, float32 (B, 1, H, W) on `device`, bit-identical to `load_batch`.

    The caller may change the images in place; the next batch overwrites them. A thread fetches rows of `images`, uint8
    (N, H, W), PREFETCH_DEPTH batches ahead; the caller's thread reads `batches` and normalizes. An error of the thread
    is raised at its batch. The thread ends with the iterator: exhaust it or call its close().
    """
    slots = _make_slots(images, normalization, device)
    fetching = deque[tuple[np.ndarray, _Slot, Future[None]]]()
    thread = ThreadPoolExecutor(1, "reader")
    try:
        for number, rows in enumerate(batches):
            slot = slots[number % len(slots)]
            fetching.append((rows, slot, thread.submit(slot.fetch, rows)))
            if len(fetching) > PREFETCH_DEPTH:
                yield _take_first(fetching)
        while fetching:
            yield _take_first(fetching)
    finally:
        thread.shutdown(cancel_futures=True)


def _take_first(fetching: "deque[tuple[np.ndarray, _Slot, Future[None]]]") -> tuple[np.ndarray, torch.Tensor]:
    rows, slot, fetched = fetching.popleft()
    fetched.result()
    return rows, slot.load(rows)


def _make_slots(images: np.ndarray, normalization: Normalization, device: torch.device) -> Sequence["_Slot"]:
    if device.type == "cuda":
        return [_GpuSlot(images, normalization, device) for _ in range(PREFETCH_DEPTH + 1)]
    return [_CpuSlot(images, normalization, _Buffer(torch.float32))] * (PREFETCH_DEPTH + 1)


class _Buffer:
    """Reused memory, because new pages for each batch would cost as much as filling them."""

    def __init__(self, dtype: torch.dtype, pinned: bool = False):
        self._dtype, self._pinned = dtype, pinned
        self._memory = torch.empty(0, dtype=dtype)

    def tensor(self, *shape: int) -> torch.Tensor:
        """Returns an uninitialized tensor, which shares its memory with earlier ones."""
        count = math.prod(shape)
        if len(self._memory) < count:
            self._memory = torch.empty(count, dtype=self._dtype, pin_memory=self._pinned)
        return self._memory[:count].view(shape)


class _Slot(Protocol):
    """The place of one batch: the thread calls `fetch`, then the caller's thread calls `load`, and so on in turn."""

    def fetch(self, rows: np.ndarray) -> None:
        """Brings the images of `rows` into memory."""

    def load(self, rows: np.ndarray) -> torch.Tensor:
        """Returns float32 (B, 1, H, W): the normalized images of `rows`, which were fetched."""


class _CpuSlot:
    """The slot for a CPU. `fetch` reads the images' memory pages from the disk; `load` normalizes the mapped images."""

    def __init__(self, images: np.ndarray, normalization: Normalization, buffer: _Buffer):
        self._images, self._normalization, self._buffer = np.asarray(images), normalization, buffer

    def fetch(self, rows: np.ndarray) -> None:
        self._images.reshape(len(self._images), -1)[rows, :: mmap.PAGESIZE].sum()

    def load(self, rows: np.ndarray) -> torch.Tensor:
        batch = self._buffer.tensor(len(rows), 1, *self._images.shape[1:])
        return copy_normalized(batch, self._images, rows, self._normalization)


class _GpuSlot:
    """The slot for a GPU. `fetch` copies images to page-locked memory, from which the GPU copies in the background."""

    def __init__(self, images: np.ndarray, normalization: Normalization, device: torch.device):
        self._images, self._normalization, self._device = images, normalization, device
        self._buffer = _Buffer(torch.uint8, pinned=device.type == "cuda")
        self._pixels = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None

    def fetch(self, rows: np.ndarray) -> None:
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self._images):
            raise IndexError(f"rows {rows.min()} to {rows.max()} are not all among {len(self._images)} images")
        if self._copied is not None:
            self._copied.synchronize()  # the GPU may still copy the previous batch
        self._pixels = self._buffer.tensor(len(rows), *self._images.shape[1:])
        np.take(self._images, rows, axis=0, out=self._pixels.numpy(), mode="clip")  # "raise" would copy twice

    def load(self, rows: np.ndarray) -> torch.Tensor:
        batch = normalize(self._pixels, self._normalization, self._device)
        if self._device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(self._device))
        return batch
