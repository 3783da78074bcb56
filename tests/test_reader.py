import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from chex.batches import epoch_batches, in_order, load_batch
from chex.normalisation import Normalisation
from chex.reader import AHEAD, _Pinned, prefetched

CPU = torch.device("cpu")
GRAY = Normalisation(0.449, 0.226)
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 12, 12), dtype=np.uint8)


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("reader")]


def test_films_are_bit_by_bit_those_of_the_unthreaded_path_in_the_same_order() -> None:
    batches = [rows for epoch in range(3) for rows in epoch_batches(np.arange(50), 8, 0, epoch)]
    read = 0
    for (rows, films), wanted in zip(prefetched(IMAGES, batches, GRAY, CPU), batches, strict=True):
        np.testing.assert_array_equal(rows, wanted)
        assert torch.equal(films, load_batch(IMAGES, wanted, GRAY, CPU))
        read += 1
    assert read == 18


def test_batches_may_differ_in_size_and_films_may_be_changed() -> None:
    sizes = []
    for rows, films in prefetched(IMAGES, [*in_order(50, 7), np.arange(40), np.array([3, 3])], GRAY, CPU):
        assert torch.equal(films, load_batch(IMAGES, rows, GRAY, CPU))
        films.zero_()
        sizes.append(len(films))
    assert sizes == [7] * 7 + [1, 40, 2]


def test_the_memory_of_films_is_used_again() -> None:
    assert len({films.data_ptr() for _, films in prefetched(IMAGES, [np.arange(9)] * 9, GRAY, CPU)}) == 1


def test_no_batches_give_nothing_and_leave_no_thread() -> None:
    assert list(prefetched(IMAGES, [], GRAY, CPU)) == []
    assert readers() == []


def test_one_thread_reads_two_batches_ahead_and_ends_with_the_iterator() -> None:
    asked = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(10):
            asked.append(number)
            yield np.array([number])

    reading = prefetched(IMAGES, batches(), GRAY, CPU)
    assert asked == []
    next(reading)
    assert asked == list(range(1 + AHEAD))
    assert len(readers()) == 1
    assert not any(thread.daemon for thread in threading.enumerate() if thread.name.startswith("reader"))
    reading.close()
    assert readers() == []
    assert asked == list(range(1 + AHEAD))


def test_an_error_in_the_thread_reaches_the_caller_at_its_batch() -> None:
    reading = prefetched(IMAGES, [np.arange(4), np.array([2, 50]), np.arange(4)], GRAY, CPU)
    next(reading)
    with pytest.raises(IndexError, match="50"):
        next(reading)
    assert readers() == []


def test_what_is_gathered_for_a_gpu_is_bit_by_bit_the_same_in_memory_that_is_used_again() -> None:
    slot = _Pinned(IMAGES, GRAY, CPU)
    for rows in (np.arange(8), np.array([49, 0, 0]), np.arange(12), np.arange(5)):
        slot.fetch(rows)
        assert torch.equal(slot.films(rows), load_batch(IMAGES, rows, GRAY, CPU))


@pytest.mark.parametrize("row", [50, -1])
def test_rows_that_are_not_there_are_refused_for_a_gpu_too(row: int) -> None:
    with pytest.raises(IndexError, match=f"rows {min(2, row)} to {max(2, row)} are not all among 50 images"):
        _Pinned(IMAGES, GRAY, CPU).fetch(np.array([2, row]))


def test_a_process_ends_that_leaves_its_reader_open() -> None:
    code = (
        "import numpy as np, torch\nfrom chex.normalisation import Normalisation\n"
        "from chex.reader import prefetched\n"
        "reading = prefetched(np.zeros((9, 4, 4), np.uint8), [np.arange(3)] * 9, "
        "Normalisation(0.449, 0.226), torch.device('cpu'))\n"
        "print(next(reading)[1].shape)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "[3, 1, 4, 4]" in ended.stdout
    assert ended.stderr == ""
