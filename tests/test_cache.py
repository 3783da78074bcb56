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

from chex import cache
from chex.blocks import BlockFile, blocks_written, total_bytes
from chex.cache import ImageConfig, open_images
from chex.decoding import decode
from chex.errors import InputError
from chex.records import load_tree

BUILDER = """
import os, signal, sys, threading
from pathlib import Path
import numpy as np
from chex import cache

how, root, folder, paths = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), np.array(sys.argv[4:])
decoded, decode, rest = [], cache.decode, threading.Event()
cache.BLOCK, cache.POLL = 4, 0.01

def noted(path, *more):
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

cache.decode = noted
cache.open_images(root, paths, cache.ImageConfig(size=32, cache=folder), progress)
print("decoded", len(decoded), flush=True)
"""
"""Builds a cache in blocks of four and says how many films it decoded.

`killed` dies when it hears of the third block, `stops` then waits for a line; both before the last three blocks.
"""


@pytest.fixture
def config(tmp_path: Path) -> ImageConfig:
    return ImageConfig(size=32, cache=tmp_path / "cache")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were decoded, in blocks of four."""
    files: list[Path] = []

    def noted(path: Path, *how: str) -> np.ndarray:
        files.append(path)
        return decode(path, *how)

    monkeypatch.setattr(cache, "decode", noted)
    monkeypatch.setattr(cache, "BLOCK", 4)
    return files


def build(tree: Path, config: ImageConfig, how: str) -> subprocess.Popen[str]:
    """A process that builds the cache."""
    words = [how, str(tree), str(config.cache), *load_tree(tree).paths]
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", BUILDER, *words], stdin=pipe, stdout=pipe, text=True)


def files_in(folder: Path, ending: str = "") -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix != ".lock" and path.name.endswith(ending))


def test_a_row_is_the_film_of_its_path(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    images = open_images(tree, paths, config)
    assert images.shape == (36, 32, 32)
    assert images.dtype == np.uint8
    for row in range(36):
        np.testing.assert_array_equal(images[row], decode(tree / paths[row], 32))


def test_images_are_decoded_once_and_memory_mapped(tree: Path, config: ImageConfig, decoded: list[Path]) -> None:
    paths = load_tree(tree).paths
    seen: list[tuple[int, int]] = []
    open_images(tree, paths, config, lambda done, total: seen.append((done, total)))
    again = open_images(tree, paths, config, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 36) for done in range(4, 37, 4)]
    assert len(decoded) == 36
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable


def test_another_size_rule_or_a_changed_film_makes_another_array(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    before = open_images(tree, paths, config)
    assert open_images(tree, paths, config.model_copy(update={"size": 48})).shape == (36, 48, 48)
    squashed = open_images(tree, paths, config.model_copy(update={"resize": "squash"}))
    np.testing.assert_array_equal(squashed[3], decode(tree / paths[3], 32, "squash"))
    Image.new("L", (40, 48), 255).save(tree / paths[3])
    after = open_images(tree, paths, config)
    assert (after[3] != before[3]).any()
    assert len(files_in(config.cache, ".npy")) == 4


def test_a_killed_build_goes_on_and_decodes_only_the_rest(tree: Path, config: ImageConfig, decoded: list[Path]) -> None:
    paths = load_tree(tree).paths
    with build(tree, config, "killed") as killed:
        assert killed.wait() == -signal.SIGKILL
    array = Path(str(files_in(config.cache, ".part")[0]).removesuffix(".part"))
    left = blocks_written(array)
    assert 3 <= left <= 6
    assert not array.exists()
    seen: list[int] = []
    images = open_images(tree, paths, config, lambda done, total: seen.append(done))
    assert len(decoded) == 36 - 4 * left
    assert seen[-1] == 36
    np.testing.assert_array_equal(images, [decode(tree / path, 32) for path in paths])
    assert files_in(config.cache) == [array]


def test_an_interrupted_build_does_not_forget_what_it_could_not_decode(
    tree: Path, config: ImageConfig, decoded: list[Path]
) -> None:
    paths = load_tree(tree).paths
    (tree / paths[0]).write_bytes(b"x")

    def interrupt(done: int, total: int) -> None:
        if done == 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_images(tree, paths, config, interrupt)
    with pytest.raises(InputError, match=f"1 of 36 images cannot be decoded, first {paths[0]}"):
        open_images(tree, paths, config)


def test_two_processes_at_once_decode_once_and_the_second_shows_how_far_the_first_is(
    tree: Path, config: ImageConfig
) -> None:
    with build(tree, config, "stops") as first:
        assert first.stdout
        assert first.stdout.readline() == "12\n"
        with build(tree, config, "waits") as second:
            assert second.stdout
            assert int(second.stdout.readline()) >= 12
            first.communicate("\n")
            told = second.stdout.read()
    assert "decoded 0" in told
    assert len(files_in(config.cache)) == 1


def test_who_waits_goes_on_when_the_builder_is_killed(tree: Path, config: ImageConfig) -> None:
    with build(tree, config, "stops") as first:
        assert first.stdout
        first.stdout.readline()
        with build(tree, config, "waits") as second:
            assert second.stdout
            second.stdout.readline()
            first.kill()
            count = int(second.stdout.read().rpartition("decoded ")[2])
    assert 12 <= count <= 24
    np.testing.assert_array_equal(np.load(files_in(config.cache)[0])[35], decode(tree / load_tree(tree).paths[35], 32))


@pytest.mark.parametrize("damage", [lambda content: content[:-100], lambda content: b"x" + content[1:]])
def test_a_damaged_cache_is_built_again(
    tree: Path, config: ImageConfig, decoded: list[Path], damage: Callable[[bytes], bytes]
) -> None:
    paths = load_tree(tree).paths
    open_images(tree, paths, config)
    array = files_in(config.cache)[0]
    array.write_bytes(damage(array.read_bytes()))
    np.testing.assert_array_equal(open_images(tree, paths, config)[35], decode(tree / paths[35], 32))
    assert len(decoded) == 72


def test_missing_films_are_counted_and_nothing_is_written(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    for path in paths[[2, 5]]:
        (tree / path).unlink()
    told = rf"2 of 36 images that the CSVs list are missing, first {paths[2]}, {paths[5]}; complete the download"
    with pytest.raises(InputError, match=told):
        open_images(tree, paths, config)
    assert not config.cache.exists()


@pytest.mark.parametrize("content", [b"", b"not a film", b"\xff\xd8\xff\xe0 cut"])
def test_undecodable_films_are_all_listed_and_no_array_is_left(
    tree: Path, config: ImageConfig, decoded: list[Path], content: bytes
) -> None:
    paths = load_tree(tree).paths
    for row in (4, 9, 20):
        (tree / paths[row]).write_bytes(content)
    whole = (tree / paths[35]).read_bytes()
    (tree / paths[35]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError) as told:
        open_images(tree, paths, config)
    (listed,) = files_in(config.cache)
    assert str(told.value) == (
        f"{tree}: 4 of 36 images cannot be decoded, first {paths[4]}, {paths[9]}, {paths[20]} "
        f"(all of them, with reasons: {listed}); replace the files or remove their rows"
    )
    named, reasons = zip(*(line.split("\t") for line in listed.read_text().splitlines()), strict=True)
    assert named == tuple(paths[[4, 9, 20, 35]])
    assert all(reasons)


def test_a_disk_without_room_is_told_before_anything_is_decoded(
    tree: Path, config: ImageConfig, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=40_959))
    needed = total_bytes((36, 32, 32))
    assert needed == 40_960
    told = (
        f"{config.cache}: the decoded images of {tree} need 40,960 bytes more and 40,959 are free; make room, give a "
        "folder on another disk with image.cache, or lower image.size"
    )
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        open_images(tree, load_tree(tree).paths, config)
    assert decoded == []
    assert files_in(config.cache) == []


def test_a_disk_that_fills_up_is_told_and_the_build_can_go_on(
    tree: Path, config: ImageConfig, decoded: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = load_tree(tree).paths
    write = BlockFile.write

    def full(part: BlockFile, block: int, pixels: np.ndarray) -> None:
        if block == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(part, block, pixels)

    with monkeypatch.context() as patch:
        patch.setattr(BlockFile, "write", full)
        with pytest.raises(InputError, match=r"need [\d,]+ bytes more and [\d,]+ are free; make room"):
            open_images(tree, paths, config)
    decoded.clear()
    np.testing.assert_array_equal(open_images(tree, paths, config)[35], decode(tree / paths[35], 32))
    assert len(decoded) <= 36 - 4 * 5


def test_a_folder_that_cannot_be_made_is_refused(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    told = rf"image.cache: {tmp_path}/file/cache cannot be written \(not a directory\); give a folder on a local disk"
    with pytest.raises(InputError, match=told):
        open_images(tree, load_tree(tree).paths, ImageConfig(size=32, cache=tmp_path / "file" / "cache"))


def test_a_folder_without_permission_is_refused(
    tree: Path, config: ImageConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *asked: False)
    with pytest.raises(InputError, match=r"cannot be written \(permission denied\); give a folder on a local disk"):
        open_images(tree, load_tree(tree).paths, config)


def test_images_in_a_folder_beside_the_tree_are_said_to_be_there(tree: Path, tmp_path: Path) -> None:
    paths = load_tree(tree).paths
    part = tree.with_name("CheXpert-v1.0 batch 2 (train 1)")
    (tree / "train").rename(part)
    told = rf"24 of 36 images .*; the first lies in {re.escape(str(part))}: move the patients' folders of each such"
    with pytest.raises(InputError, match=told):
        cache.array_path(tree, paths, ImageConfig(size=32, cache=tmp_path / "cache"))
