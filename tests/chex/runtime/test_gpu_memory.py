"""Without a GPU: stand-ins take the place of torch.cuda's functions, and say in which order they were called."""

import gc
import os
import sys
import threading
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from chex.errors import InputError
from chex.runtime.gpu_memory import CUDA_CONTEXT_BYTES, GIB, free_gpu_memory, limit_gpu_memory, usable_bytes


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a GPU of 16 GiB hears."""
    calls: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(total_memory=16 * GIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", calls.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("emptied"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: calls.append("peak reset"))
    return calls


def test_all_shares_fit_into_the_gpu_with_their_cuda_contexts() -> None:
    for count in (2, 3, 4, 8):
        assert count * (usable_bytes(1 / count, 16 * GIB) + CUDA_CONTEXT_BYTES) <= 16 * GIB
    assert usable_bytes(0.25, 16 * GIB) == 4 * GIB - CUDA_CONTEXT_BYTES
    assert usable_bytes(1, 16 * GIB) == 16 * GIB


def test_a_share_without_usable_memory_is_refused_with_the_arithmetic() -> None:
    message = (
        r"resources.gpus_per_trial: 0.05 of a GPU of 8.0 GiB is 0.40 GiB, and CUDA itself takes about 0.59 GiB in each "
        r"process; raise it"
    )
    with pytest.raises(InputError, match=message):
        usable_bytes(0.05, 8 * GIB)


@pytest.mark.parametrize(
    ("share", "caps"), [(0.25, [(4 * GIB - CUDA_CONTEXT_BYTES) / (16 * GIB)]), (1, []), (2, []), (0, [])]
)
def test_a_process_with_a_part_of_a_gpu_is_limited_to_its_share(
    gpu: list[Any], share: float, caps: list[float]
) -> None:
    limit_gpu_memory(share)
    assert gpu == caps


def test_without_a_gpu_nothing_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    limit_gpu_memory(0.25)
    with free_gpu_memory():
        pass


class Model(torch.nn.Module):
    """Refers to itself, as an optimizer's hooks or a scheduler make a model do."""

    def __init__(self) -> None:
        super().__init__()
        self.hook = lambda: self


def ending(seen: list[weakref.ref[Model]], error: BaseException | None) -> None:
    model = Model()
    seen.append(weakref.ref(model))
    if error:
        try:
            raise error
        except ValueError as first:
            raise RuntimeError("after the first") from first


@pytest.mark.parametrize("error", [None, SystemExit(0), ValueError("first"), KeyboardInterrupt()])
def test_a_block_frees_its_memory_at_a_normal_end_and_after_an_exception(
    gpu: list[Any], monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    seen: list[weakref.ref[Model]] = []
    alive: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(seen[0]() is not None))
    gc.disable()
    raised = None
    try:
        with free_gpu_memory():
            ending(seen, error)
    except BaseException as caught:
        raised = caught  # whose traceback lives on, as in a queue to another thread
    finally:
        gc.enable()
    assert (raised.__cause__ or raised if raised else None) is error
    assert alive == [False]
    assert gpu == ["peak reset"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_that_a_thread_has_freed_returns_to_the_machine() -> None:
    def fragmented() -> None:
        pieces = [bytearray(50_000) for _ in range(4_000)]  # 200 MB, too small to be mapped one by one
        blocks.append(bytearray(50_000))  # lies above them
        del pieces

    blocks = list[bytearray]()
    before = resident()
    with free_gpu_memory():
        thread = threading.Thread(target=fragmented)
        thread.start()
        thread.join()
    assert resident() < before + 50_000_000


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
