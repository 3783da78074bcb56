import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from chex.data.batches import epoch_batches, load_batch, sequential_batches
from chex.data.normalization import Normalization
from chex.data.prefetch import PREFETCH_DEPTH, _GpuSlot, prefetch

CPU = torch.device("cpu")
GRAY = Normalization(0.449, 0.226)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12, 12), dtype=np.uint8)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_prefetched_images_are_bit_identical_to_loaded_ones_in_the_same_order() -> None:
    batches = [rows for epoch in range(3) for rows in epoch_batches(np.arange(50), 8, 0, epoch)]
    read = 0
    for (rows, batch), wanted in zip(prefetch(IMAGES, batches, GRAY, CPU), batches, strict=True):
        np.testing.assert_array_equal(rows, wanted)
        assert torch.equal(batch, load_batch(IMAGES, wanted, GRAY, CPU))
        read += 1
    assert read == 18


def test_batches_can_differ_in_size_and_images_can_be_changed_in_place() -> None:
    sizes = []
    for rows, batch in prefetch(IMAGES, [*sequential_batches(50, 7), np.arange(40), np.array([3, 3])], GRAY, CPU):
        assert torch.equal(batch, load_batch(IMAGES, rows, GRAY, CPU))
        batch.zero_()
        sizes.append(len(batch))
    assert sizes == [7] * 7 + [1, 40, 2]


def test_the_memory_of_batches_is_reused() -> None:
    assert len({batch.data_ptr() for _, batch in prefetch(IMAGES, [np.arange(9)] * 9, GRAY, CPU)}) == 1


def test_no_batches_yield_nothing_and_leave_no_thread() -> None:
    assert list(prefetch(IMAGES, [], GRAY, CPU)) == []
    assert readers() == []


def test_one_thread_fetches_two_batches_ahead_and_ends_with_the_iterator() -> None:
    asked = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(10):
            asked.append(number)
            yield np.array([number])

    reading = prefetch(IMAGES, batches(), GRAY, CPU)
    assert asked == []
    next(reading)
    assert asked == list(range(1 + PREFETCH_DEPTH))
    assert len(readers()) == 1
    assert not any(thread.daemon for thread in threading.enumerate() if thread.name.startswith("reader"))
    reading.close()
    assert readers() == []
    assert asked == list(range(1 + PREFETCH_DEPTH))


def test_an_error_in_the_thread_reaches_the_caller_at_its_batch() -> None:
    reading = prefetch(IMAGES, [np.arange(4), np.array([2, 50]), np.arange(4)], GRAY, CPU)
    next(reading)
    with pytest.raises(IndexError, match="50"):
        next(reading)
    assert readers() == []


def test_the_slot_for_a_gpu_loads_bit_identical_images_into_reused_memory() -> None:
    slot = _GpuSlot(IMAGES, GRAY, CPU)
    for rows in (np.arange(8), np.array([49, 0, 0]), np.arange(12), np.arange(5)):
        slot.fetch(rows)
        assert torch.equal(slot.load(rows), load_batch(IMAGES, rows, GRAY, CPU))


@pytest.mark.parametrize("row", [50, -1])
def test_rows_out_of_range_are_refused_for_a_gpu_too(row: int) -> None:
    with pytest.raises(IndexError, match=f"rows {min(2, row)} to {max(2, row)} are not all among 50 images"):
        _GpuSlot(IMAGES, GRAY, CPU).fetch(np.array([2, row]))


@pytest.mark.slow
def test_a_process_with_an_open_iterator_can_end() -> None:
    code = (
        "import numpy as np, torch\nfrom chex.data.normalization import Normalization\n"
        "from chex.data.prefetch import prefetch\n"
        "reading = prefetch(np.zeros((9, 4, 4), np.uint8), [np.arange(3)] * 9, "
        "Normalization(0.449, 0.226), torch.device('cpu'))\n"
        "print(next(reading)[1].shape)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600, check=True)
    assert "[3, 1, 4, 4]" in ended.stdout
    assert ended.stderr == ""
