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
from chex.memory import CONTEXT, GIB, allowance, hold_to_share, memory_freed


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What a GPU of 16 GiB hears."""
    heard: list[Any] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda: SimpleNamespace(total_memory=16 * GIB))
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", heard.append)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: heard.append("emptied"))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: heard.append("peak reset"))
    return heard


def test_shares_and_what_cuda_takes_for_each_fit_into_the_gpu() -> None:
    for count in (2, 3, 4, 8):
        assert count * (allowance(1 / count, 16 * GIB) + CONTEXT) <= 16 * GIB
    assert allowance(0.25, 16 * GIB) == 4 * GIB - CONTEXT
    assert allowance(1, 16 * GIB) == 16 * GIB


def test_a_share_in_which_nothing_has_room_is_refused_with_the_arithmetic() -> None:
    told = (
        r"resources.gpus_per_trial: 0.05 of a GPU of 8.0 GiB is 0.40 GiB, and CUDA itself takes about 0.59 GiB in each "
        r"process; raise it"
    )
    with pytest.raises(InputError, match=told):
        allowance(0.05, 8 * GIB)


@pytest.mark.parametrize(("share", "caps"), [(0.25, [(4 * GIB - CONTEXT) / (16 * GIB)]), (1, []), (2, []), (0, [])])
def test_a_process_is_capped_at_its_share_where_that_is_a_part_of_a_gpu(
    gpu: list[Any], share: float, caps: list[float]
) -> None:
    hold_to_share(share)
    assert gpu == caps


def test_without_a_gpu_a_share_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    hold_to_share(0.25)
    with memory_freed():
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
def test_a_block_leaves_nothing_in_memory_however_it_ends_and_gives_it_back_after_that(
    gpu: list[Any], monkeypatch: pytest.MonkeyPatch, error: BaseException | None
) -> None:
    seen: list[weakref.ref[Model]] = []
    alive: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: alive.append(seen[0]() is not None))
    gc.disable()
    raised = None
    try:
        with memory_freed():
            ending(seen, error)
    except BaseException as caught:
        raised = caught  # whose traceback lives on, as in a queue to another thread
    finally:
        gc.enable()
    assert (raised.__cause__ or raised if raised else None) is error
    assert alive == [False]
    assert gpu == ["peak reset"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_a_thread_has_freed_goes_back_to_the_machine() -> None:
    def fragmented() -> None:
        pieces = [bytearray(50_000) for _ in range(4_000)]  # 200 MB, too small to be mapped one by one
        kept.append(bytearray(50_000))  # lies above them
        del pieces

    kept = list[bytearray]()
    before = resident()
    with memory_freed():
        thread = threading.Thread(target=fragmented)
        thread.start()
        thread.join()
    assert resident() < before + 50_000_000


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
