from pathlib import Path

import numpy as np
import pytest

from chex.runtime.resumable_memmap import HEADER, ResumableMemmap, blocks_written, bytes_needed, read_array, total_bytes

SHAPE = (7, 4, 4)
PIXELS = np.arange(7 * 16, dtype=np.uint8).reshape(SHAPE)


def write(path: Path, blocks: range) -> None:
    with ResumableMemmap(path, SHAPE, rows=3) as part:
        for block in blocks:
            part.write(block, PIXELS[part.rows(block)])


def finished(path: Path) -> Path:
    with ResumableMemmap(path, SHAPE, rows=3) as part:
        for block in range(part.count):
            part.write(block, PIXELS[part.rows(block)])
        part.finish()
    return path


def test_a_finished_array_is_read_as_written_by_us_and_by_numpy(tmp_path: Path) -> None:
    path = finished(tmp_path / "images.npy")
    ours = read_array(path, SHAPE)
    assert isinstance(ours, np.memmap)
    assert not ours.flags.writeable
    np.testing.assert_array_equal(ours, PIXELS)
    np.testing.assert_array_equal(np.load(path, mmap_mode="r"), PIXELS)
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_is_at_the_path_before_the_array_is_finished(tmp_path: Path) -> None:
    write(tmp_path / "images.npy", range(3))
    assert read_array(tmp_path / "images.npy", SHAPE) is None
    assert blocks_written(tmp_path / "images.npy") == 3


def test_the_next_process_finds_the_written_blocks(tmp_path: Path) -> None:
    write(tmp_path / "images.npy", range(1, 3))
    with ResumableMemmap(tmp_path / "images.npy", SHAPE, rows=3) as part:
        assert [part.has(block) for block in range(part.count)] == [False, True, True]


def test_a_block_whose_bytes_did_not_reach_the_disk_counts_as_not_written(tmp_path: Path) -> None:
    write(tmp_path / "images.npy", range(3))
    with (tmp_path / "images.npy.part").open("r+b") as file:
        file.seek(HEADER + 3 * 16 + 5)
        file.write(b"\0")
    with ResumableMemmap(tmp_path / "images.npy", SHAPE, rows=3) as part:
        assert [part.has(block) for block in range(part.count)] == [True, False, True]


def test_marks_without_data_do_not_count(tmp_path: Path) -> None:
    write(tmp_path / "images.npy", range(3))
    (tmp_path / "images.npy.part").unlink()
    with ResumableMemmap(tmp_path / "images.npy", SHAPE, rows=3) as part:
        assert not any(part.has(block) for block in range(part.count))


def test_discarding_removes_both_files(tmp_path: Path) -> None:
    write(tmp_path / "images.npy", range(2))
    with ResumableMemmap(tmp_path / "images.npy", SHAPE, rows=3) as part:
        part.discard()
    assert list(tmp_path.iterdir()) == []
    assert blocks_written(tmp_path / "images.npy") == 0


def test_blocks_of_an_earlier_process_need_no_more_disk(tmp_path: Path) -> None:
    shape = (4, 512, 512)
    assert bytes_needed(tmp_path / "images.npy", shape) == total_bytes(shape) == HEADER + 4 * 512 * 512
    with ResumableMemmap(tmp_path / "images.npy", shape, rows=2) as part:
        part.write(0, np.ones((2, 512, 512), dtype=np.uint8))
    assert 0 < bytes_needed(tmp_path / "images.npy", shape) <= 2 * 512 * 512


@pytest.mark.parametrize("damage", ["cut", "longer", "header", "another shape"])
def test_a_damaged_array_is_read_as_none(tmp_path: Path, damage: str) -> None:
    path = finished(tmp_path / "images.npy")
    content = path.read_bytes()
    damaged = {"cut": content[:-1], "longer": content + b"x", "header": b"x" + content[1:], "another shape": content}
    path.write_bytes(damaged[damage])
    assert read_array(path, (7, 2, 8) if damage == "another shape" else SHAPE) is None
