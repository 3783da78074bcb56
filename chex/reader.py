"""Batches that are gathered ahead of their use, on one background thread."""

import math
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch

from chex.batches import normalised

AHEAD = 2
"""Batches that are gathered while another one is in use."""


def prefetched(
    images: np.ndarray, batches: Iterable[np.ndarray], device: torch.device
) -> Generator[tuple[np.ndarray, torch.Tensor], None, None]:
    """The rows of each batch and its films, float32 (B, 1, H, W) on `device`: bit by bit what `load_batch` gives.

    A thread gathers rows of `images`, uint8 (N, H, W), AHEAD batches before they are asked for; `batches` itself is
    read, and films are normalised, where this iterator is advanced. An error of the thread is raised here, at its
    batch. The thread ends with the iterator: exhaust it or call its close().
    """
    slots = [_Slot(device) for _ in range(AHEAD + 1)]
    waiting: deque[tuple[np.ndarray, _Slot, Future[torch.Tensor]]] = deque()
    thread = ThreadPoolExecutor(1, "reader")
    try:
        for number, rows in enumerate(batches):
            slot = slots[number % len(slots)]
            waiting.append((rows, slot, thread.submit(slot.gather, images, rows)))
            if len(waiting) > AHEAD:
                yield _next(waiting, device)
        while waiting:
            yield _next(waiting, device)
    finally:
        thread.shutdown(cancel_futures=True)


def _next(
    waiting: deque[tuple[np.ndarray, "_Slot", Future[torch.Tensor]]], device: torch.device
) -> tuple[np.ndarray, torch.Tensor]:
    rows, slot, gathered = waiting.popleft()
    films = normalised(gathered.result(), device)
    slot.leave()
    return rows, films


class _Slot:
    """Memory that the thread gathers into and the device copies from; page-locked for a GPU."""

    def __init__(self, device: torch.device):
        self._device = device
        self._pixels = torch.empty(0, dtype=torch.uint8)
        self._copied: torch.cuda.Event | None = None

    def gather(self, images: np.ndarray, rows: np.ndarray) -> torch.Tensor:
        """uint8 (B, H, W): the films of `rows`, until the next call."""
        if self._copied is not None:
            self._copied.synchronize()
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(images):
            raise IndexError(f"rows {rows.min()} to {rows.max()} of {len(images)} images")
        count = len(rows) * math.prod(images.shape[1:])
        if len(self._pixels) < count:
            self._pixels = torch.empty(count, dtype=torch.uint8, pin_memory=self._device.type == "cuda")
        pixels = self._pixels[:count].view(len(rows), *images.shape[1:])
        np.take(images, rows, axis=0, out=pixels.numpy(), mode="clip")  # "raise" would gather into a second copy
        return pixels

    def leave(self) -> None:
        """The copy to the device is on its way: the memory may be written again once it has arrived."""
        if self._device.type == "cuda":
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record(torch.cuda.current_stream(self._device))
