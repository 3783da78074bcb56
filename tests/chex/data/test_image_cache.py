import errno
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from chex.data import image_cache
from chex.data.data_config import ImageConfig
from chex.data.decoding import decode
from chex.data.image_cache import load_or_build
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.runtime.resumable_memmap import ResumableMemmap, blocks_written, total_bytes

BUILDER = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np
from chex.data import image_cache as cache

how, root, folder, paths = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), np.array(sys.argv[4:])
decoded, decode, rest = [], cache.decode, threading.Event()
cache.BLOCK_IMAGES, cache.POLL_SECONDS = 4, 0.01

def record(path, *more):
    if how in ("killed", "stops") and str(path.relative_to(root)) in paths[24:]:
        rest.wait()
    decoded.append(path)
    return decode(path, *more)

def progress(done, total):
    if how == "killed" and done >= 12:
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "waits" or how == "stops" and done == 12:
        print(done, flush=True)
    if how == "stops" and done == 12:
        sys.stdin.readline()
        rest.set()

cache.decode = record
cache.load_or_build(root, paths, cache.ImageConfig(size=32, cache_dir=folder), progress)
print("decoded", len(decoded), flush=True)
"""
"""Builds a cache in blocks of four and prints the number of images that it decoded.

After the third block `killed` kills itself and `stops` waits for a line on stdin; the last three blocks wait for it.
"""


@pytest.fixture
def config(tmp_path: Path) -> ImageConfig:
    return ImageConfig(size=32, cache_dir=tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in blocks of four."""
    files: list[Path] = []

    def noted(path: Path, *how: str) -> np.ndarray:
        files.append(path)
        return decode(path, *how)

    monkeypatch.setattr(image_cache, "decode", noted)
    monkeypatch.setattr(image_cache, "BLOCK_IMAGES", 4)
    return files


def build(tree: Path, config: ImageConfig, how: str) -> subprocess.Popen[str]:
    """A process that builds the cache."""
    words = [how, str(tree), str(config.cache_dir), *load_tree(tree).paths]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", BUILDER, *words], stdin=pipe, stdout=pipe, text=True)


def files_in(folder: Path, ending: str = "") -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock" and path.name.endswith(ending))


def test_each_row_is_the_image_of_its_path(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    images = load_or_build(tree, paths, config)
    assert images.shape == (36, 32, 32)
    assert images.dtype == np.uint8
    for row in range(36):
        np.testing.assert_array_equal(images[row], decode(tree / paths[row], 32))


def test_images_are_decoded_once_and_memory_mapped(tree: Path, config: ImageConfig, decoded: list[Path]) -> None:
    paths = load_tree(tree).paths
    seen: list[tuple[int, int]] = []
    load_or_build(tree, paths, config, lambda done, total: seen.append((done, total)))
    again = load_or_build(tree, paths, config, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 36) for done in range(4, 37, 4)]
    assert len(decoded) == 36
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable


def test_another_size_or_resize_or_a_changed_image_makes_another_array(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    before = load_or_build(tree, paths, config)
    assert load_or_build(tree, paths, config.model_copy(update={"size": 48})).shape == (36, 48, 48)
    stretched = load_or_build(tree, paths, config.model_copy(update={"resize": "stretch"}))
    np.testing.assert_array_equal(stretched[3], decode(tree / paths[3], 32, "stretch"))
    Image.new("L", (40, 48), 255).save(tree / paths[3])
    after = load_or_build(tree, paths, config)
    assert (after[3] != before[3]).any()
    assert len(files_in(config.cache_dir, ".npy")) == 4


def test_a_killed_build_continues_and_decodes_only_the_rest(
    tree: Path, config: ImageConfig, decoded: list[Path]
) -> None:
    paths = load_tree(tree).paths
    with build(tree, config, "killed") as killed:
        assert killed.wait() == -signal.SIGKILL
    array = Path(str(files_in(config.cache_dir, ".part")[0]).removesuffix(".part"))
    left = blocks_written(array)
    assert 3 <= left <= 6
    assert not array.exists()
    seen: list[int] = []
    images = load_or_build(tree, paths, config, lambda done, total: seen.append(done))
    assert len(decoded) == 36 - 4 * left
    assert seen[-1] == 36
    np.testing.assert_array_equal(images, [decode(tree / path, 32) for path in paths])
    assert files_in(config.cache_dir) == [array]


def test_an_interrupted_build_lists_its_undecodable_images_again(
    tree: Path, config: ImageConfig, decoded: list[Path]
) -> None:
    paths = load_tree(tree).paths
    (tree / paths[0]).write_bytes(b"x")

    def interrupt(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_or_build(tree, paths, config, interrupt)
    with pytest.raises(InputError, match=f"1 of 36 images cannot be decoded, first {paths[0]}"):
        load_or_build(tree, paths, config)


def test_two_processes_decode_once_and_the_second_shows_the_progress_of_the_first(
    tree: Path, config: ImageConfig
) -> None:
    with build(tree, config, "stops") as first:
        assert first.stdout
        assert first.stdout.readline() == "12\n"
        with build(tree, config, "waits") as second:
            assert second.stdout
            assert int(second.stdout.readline()) >= 12
            first.communicate("\n")
            message = second.stdout.read()
    assert "decoded 0" in message
    assert len(files_in(config.cache_dir)) == 1


def test_a_waiting_process_continues_the_build_of_a_killed_one(tree: Path, config: ImageConfig) -> None:
    with build(tree, config, "stops") as first:
        assert first.stdout
        first.stdout.readline()
        with build(tree, config, "waits") as second:
            assert second.stdout
            second.stdout.readline()
            first.kill()
            count = int(second.stdout.read().rpartition("decoded ")[2])
    assert 12 <= count <= 24
    np.testing.assert_array_equal(
        np.load(files_in(config.cache_dir)[0])[35], decode(tree / load_tree(tree).paths[35], 32)
    )


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"x" + content[1:]])
def test_a_damaged_cache_is_built_again(
    tree: Path, config: ImageConfig, decoded: list[Path], damage: Callable[[bytes], bytes]
) -> None:
    paths = load_tree(tree).paths
    load_or_build(tree, paths, config)
    array = files_in(config.cache_dir)[0]
    array.write_bytes(damage(array.read_bytes()))
    np.testing.assert_array_equal(load_or_build(tree, paths, config)[35], decode(tree / paths[35], 32))
    assert len(decoded) == 72


def test_missing_images_are_counted_and_nothing_is_written(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    for path in paths[[2, 5]]:
        (tree / path).unlink()
    message = rf"2 of 36 images that the CSVs list are missing, first {paths[2]}, {paths[5]}; complete the download"
    with pytest.raises(InputError, match=message):
        load_or_build(tree, paths, config)
    assert not config.cache_dir.exists()


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut"])
def test_all_undecodable_images_are_listed_and_no_array_is_left(
    tree: Path, config: ImageConfig, decoded: list[Path], content: bytes
) -> None:
    paths = load_tree(tree).paths
    for row in (4, 9, 20):
        (tree / paths[row]).write_bytes(content)
    whole = (tree / paths[35]).read_bytes()
    (tree / paths[35]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as message:
        load_or_build(tree, paths, config)
    (listed,) = files_in(config.cache_dir)
    assert str(message.value) == (
        f"{tree}: 4 of 36 images cannot be decoded, first {paths[4]}, {paths[9]}, {paths[20]} "
        f"(all of them, with reasons: {listed}); replace the files or remove their rows"
    )
    named, reasons = zip(*(line.split("\t") for line in listed.read_text().splitlines()), strict=True)
    assert named == tuple(paths[[4, 9, 20, 35]])
    assert all(reasons)


def test_a_disk_that_is_too_small_is_reported_before_anything_is_decoded(
    tree: Path, config: ImageConfig, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=40_959))
    needed = total_bytes((36, 32, 32))
    assert needed == 40_960
    message = (
        f"{config.cache_dir}: the decoded images of {tree} need 40,960 bytes more and 40,959 are free; free some "
        "space, give a folder on another disk with image.cache_dir, or lower image.size"
    )
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        load_or_build(tree, load_tree(tree).paths, config)
    assert decoded == []
    assert files_in(config.cache_dir) == []


def test_a_disk_that_fills_up_is_reported_and_the_build_can_continue(
    tree: Path, config: ImageConfig, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = load_tree(tree).paths
    write = ResumableMemmap.write

    def full(part: ResumableMemmap, block: int, pixels: np.ndarray) -> None:
        if block == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(part, block, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableMemmap, "write", full)
        with pytest.raises(InputError, match=r"need [\d,]+ bytes more and [\d,]+ are free; free some space"):
            load_or_build(tree, paths, config)
    decoded.clear()
    np.testing.assert_array_equal(load_or_build(tree, paths, config)[35], decode(tree / paths[35], 32))
    assert len(decoded) <= 36 - 4 * 5


def test_a_folder_that_cannot_be_made_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = (
        rf"image.cache_dir: {tmp_path}/file/cache cannot be written \(not a directory\); give a folder on a local disk"
    )
    with pytest.raises(InputError, match=message):
        load_or_build(tree, load_tree(tree).paths, ImageConfig(size=32, cache_dir=tmp_path / "file" / "cache"))


def test_a_folder_without_permission_is_refused(
    tree: Path, config: ImageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *asked: False)
    with pytest.raises(InputError, match=r"cannot be written \(permission denied\); give a folder on a local disk"):
        load_or_build(tree, load_tree(tree).paths, config)


def test_the_error_about_missing_images_names_the_folder_beside_the_tree_that_has_them(
    tree: Path, tmp_path: Path
) -> None:
    paths = load_tree(tree).paths
    part = tree.with_name("CheXpert-v1.0 batch 2 (train 1)")
    (tree / "train").rename(part)
    message = rf"24 of 36 images .*; the first is in {re.escape(str(part))}: move the patients' folders of each such"
    with pytest.raises(InputError, match=message):
        image_cache.array_path(tree, paths, ImageConfig(size=32, cache_dir=tmp_path / "cache"))
