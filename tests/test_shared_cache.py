import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from chex import cache
from chex.cache import ImageConfig, array_path, open_images
from chex.errors import InputError
from chex.records import load_tree
from search import shared_cache
from search.bucket import Unreachable, reach
from search.shared_cache import MANIFEST, shared_images

Where = Callable[[str], str]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "PIECE", 1)  # a piece a block: three for the 36 films of the tree


@pytest.fixture
def paths(tree: Path) -> np.ndarray:
    return load_tree(tree).paths


@pytest.fixture
def machines(tmp_path: Path) -> list[ImageConfig]:
    """The same cache on the disks of two machines."""
    return [ImageConfig(size=32, cache=tmp_path / name) for name in ("one", "two")]


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*how: object) -> None:
        raise AssertionError("a film was decoded")

    monkeypatch.setattr(cache, "decode", refused)


def test_what_one_machine_decodes_the_other_gets_bit_for_bit(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shared_images(tree, paths, machines[0], bucket("cache"))
    heard: list[tuple[int, int]] = []
    no_decoding(monkeypatch)
    brought = shared_images(tree, paths, machines[1], bucket("cache"), lambda *told: heard.append(told))
    assert heard[-1] == (36, 36)
    assert np.array_equal(made, brought)
    assert np.array_equal(open_images(tree, paths, machines[1]), made)
    one, two = (array_path(tree, paths, machine).read_bytes() for machine in machines)
    assert one == two


def test_a_machine_that_has_the_images_asks_nobody(tree: Path, paths: np.ndarray, machines: list[ImageConfig]) -> None:
    made = open_images(tree, paths, machines[0])
    assert np.array_equal(shared_images(tree, paths, machines[0], "gs://nowhere/cache"), made)


def test_other_films_and_another_size_have_caches_of_their_own(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where
) -> None:
    shared_images(tree, paths, machines[0], bucket("cache"))
    larger = machines[1].model_copy(update={"size": 48})
    assert shared_images(tree, paths, larger, bucket("cache")).shape == (36, 48, 48)
    shared_images(tree, paths[:20], machines[1], bucket("cache"))
    found = [name for name in reach(bucket("cache")).entries() if name.endswith(MANIFEST)]
    assert len(found) == 3


def test_without_a_manifest_there_is_no_cache_and_it_is_made_again(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = shared_cache.Place.write

    def cut(place: shared_cache.Place, content: bytes) -> None:
        if place.path.endswith(MANIFEST):
            raise Unreachable("gs://films", "its store cannot be reached", "check the network")
        write(place, content)

    with monkeypatch.context() as first:
        first.setattr(shared_cache.Place, "write", cut)
        with pytest.raises(Unreachable):
            shared_images(tree, paths, machines[0], bucket("cache"))
    assert len(reach(bucket("cache")).entries()) == 3
    made = shared_images(tree, paths, machines[1], bucket("cache"))
    assert np.array_equal(made, open_images(tree, paths, machines[0]))
    assert len(reach(bucket("cache")).entries()) == 3 + 3 + 1


def test_of_two_machines_that_decode_at_once_the_first_one_counts(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*how: object) -> np.ndarray:
        monkeypatch.setattr(shared_cache, "open_images", open_images)
        shared_images(tree, paths, machines[1], bucket("cache"))
        return open_images(tree, paths, machines[0])

    monkeypatch.setattr(shared_cache, "open_images", meanwhile)
    shared_images(tree, paths, machines[0], bucket("cache"))
    assert len(reach(bucket("cache")).entries()) == 3 + 1


def test_a_fetch_that_was_cut_off_keeps_its_pieces(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, piece, asked = shared_images(tree, paths, machines[0], bucket("cache")), shared_cache._piece, list[str]()

    def cut(place: shared_cache.Place, name: str, digest: str) -> bytes:
        if len(asked) == 2:
            raise ConnectionError
        asked.append(name)
        return piece(place, name, digest)

    no_decoding(monkeypatch)
    monkeypatch.setattr(shared_cache, "AT_ONCE", 1)
    with monkeypatch.context() as first:
        first.setattr(shared_cache, "_piece", cut)
        with pytest.raises(ConnectionError):
            shared_images(tree, paths, machines[1], bucket("cache"))
    monkeypatch.setattr(shared_cache, "_piece", lambda *how: (asked.append(how[1]), piece(*how))[1])
    assert np.array_equal(shared_images(tree, paths, machines[1], bucket("cache")), made)
    assert len(asked) == len(set(asked)) == 3


def test_a_damaged_piece_is_refused(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_images(tree, paths, machines[0], bucket("cache"))
    home = reach(bucket("cache"))
    name = next(each for each in home.entries() if not each.endswith(MANIFEST))
    (home / name).write(b"x" * 16 * 32 * 32)
    sentence = r"-32px is damaged, the SHA-256 of its piece \w+/000000000 is another; remove that folder, and the cache"
    with pytest.raises(InputError, match=sentence):
        shared_images(tree, paths, machines[1], bucket("cache"))
    assert not array_path(tree, paths, machines[1]).exists()


def test_a_disk_without_room_is_told(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_images(tree, paths, machines[0], bucket("cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=40_000))
    sentence = r"two: the image cache \S+-32px needs 40,960 bytes more and 40,000 are free; make room, give a folder"
    with pytest.raises(InputError, match=sentence):
        shared_images(tree, paths, machines[1], bucket("cache"))
