import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from chex import cache
from chex.cache import ImageConfig, array_path, open_images
from chex.errors import InputError
from chex.records import load_tree
from search import shared_cache
from search.bucket import Place, Unreachable, reach
from search.shared_cache import MANIFEST, PIECE_NAME, shared_images

Where = Callable[[str], str]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "PIECE", 1)  # a piece a block: three for the 36 films of the tree


@pytest.fixture
def paths(tree: Path) -> np.ndarray:
    return load_tree(tree).paths


@pytest.fixture
def machines(tmp_path: Path) -> list[ImageConfig]:
    """The same cache on the disks of three machines."""
    return [ImageConfig(size=32, cache=tmp_path / name) for name in ("one", "two", "three")]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are put anywhere from now on, by their last two names."""
    put, write = list[str](), Place.write

    def noted(place: Place, content: bytes) -> None:
        put.append("/".join(place.path.split("/")[-2:]))
        write(place, content)

    monkeypatch.setattr(Place, "write", noted)
    return put


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*how: object) -> None:
        raise AssertionError("a film was decoded")

    monkeypatch.setattr(cache, "decode", refused)


def pieces_at(uri: str) -> list[str]:
    return [name for name in reach(uri).entries() if not name.endswith(MANIFEST)]


def test_what_one_machine_decodes_the_other_gets_bit_for_bit(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = shared_images(tree, paths, machines[0], uri=bucket("cache"))
    heard: list[tuple[int, int]] = []
    no_decoding(monkeypatch)
    brought = shared_images(tree, paths, machines[1], lambda *told: heard.append(told), uri=bucket("cache"))
    assert heard[-1] == (36, 36)
    assert np.array_equal(made, brought)
    assert np.array_equal(open_images(tree, paths, machines[1]), made)
    one, two = (array_path(tree, paths, machine).read_bytes() for machine in machines[:2])
    assert one == two


def test_a_machine_that_has_the_images_asks_nobody(tree: Path, paths: np.ndarray, machines: list[ImageConfig]) -> None:
    made = open_images(tree, paths, machines[0])
    assert np.array_equal(shared_images(tree, paths, machines[0], uri="gs://nowhere/cache"), made)


def test_other_films_and_another_size_have_caches_of_their_own(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where
) -> None:
    shared_images(tree, paths, machines[0], uri=bucket("cache"))
    larger = machines[1].model_copy(update={"size": 48})
    assert shared_images(tree, paths, larger, uri=bucket("cache")).shape == (36, 48, 48)
    shared_images(tree, paths[:20], machines[1], uri=bucket("cache"))
    found = [name for name in reach(bucket("cache")).entries() if name.endswith(MANIFEST)]
    assert len(found) == 3


def test_a_cache_that_was_not_put_there_whole_is_none_and_made_again(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = Place.write

    def cut(place: Place, content: bytes) -> None:
        if place.path.endswith(MANIFEST):
            raise Unreachable("gs://films", "its store cannot be reached", "check the network")
        write(place, content)

    with monkeypatch.context() as first:
        first.setattr(Place, "write", cut)
        made = shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert capsys.readouterr().err == (
        "image cache: gs://films: its store cannot be reached; check the network; the decoded films stay on this "
        "machine\n"
    )
    assert np.array_equal(made, open_images(tree, paths, machines[0]))
    assert len(pieces_at(bucket("cache"))) == 3
    monkeypatch.setattr(shared_cache, "SILENT", 0)  # the first machine is given up
    assert np.array_equal(shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    no_decoding(monkeypatch)
    assert np.array_equal(shared_images(tree, paths, machines[2], uri=bucket("cache")), made)


def test_who_decodes_while_another_machine_sends_leaves_it_to_that_one(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    writes: list[str],
) -> None:
    first_of_all, meanwhile = shared_cache._another_is_first, list[np.ndarray]()

    def later(place: Place, own: str) -> bool:
        monkeypatch.setattr(shared_cache, "_another_is_first", first_of_all)
        meanwhile.append(shared_images(tree, paths, machines[1], uri=bucket("cache")))
        return first_of_all(place, own)

    monkeypatch.setattr(shared_cache, "_another_is_first", later)  # the first machine has put its first piece
    made = shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert np.array_equal(meanwhile[0], made)
    assert len(writes) == 3 + 1 + 1
    assert len(pieces_at(bucket("cache"))) == 3
    assert writes[-1].endswith(MANIFEST)


def test_of_two_machines_that_send_all_the_same_the_first_manifest_counts(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*how: object) -> bool:
        monkeypatch.setattr(shared_cache, "_another_is_first", lambda *how: False)
        shared_images(tree, paths, machines[1], uri=bucket("cache"))
        return False

    monkeypatch.setattr(shared_cache, "_another_is_first", meanwhile)
    shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert len(pieces_at(bucket("cache"))) == 3
    no_decoding(monkeypatch)
    shared_images(tree, paths, machines[2], uri=bucket("cache"))


def test_of_the_processes_of_a_machine_only_the_one_that_decoded_sends(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    writes: list[str],
) -> None:
    decode, both_ask, asked = cache.decode, threading.Event(), list[object]()

    def waits(*how: object, **more: object) -> np.ndarray:
        assert both_ask.wait(60)
        return decode(*how, **more)

    def opening(*how: object) -> np.ndarray:
        asked.append(how)
        if len(asked) == 2:
            both_ask.set()
        return open_images(*how)

    monkeypatch.setattr(cache, "decode", waits)
    monkeypatch.setattr(cache, "POLL", 0.01)
    monkeypatch.setattr(shared_cache, "open_images", opening)
    found = list[np.ndarray]()
    processes = [
        threading.Thread(target=lambda: found.append(shared_images(tree, paths, machines[0], uri=bucket("cache"))))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert np.array_equal(*found)
    assert len(writes) == 3 + 1


def test_a_fetch_that_was_cut_off_keeps_its_pieces(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = shared_images(tree, paths, machines[0], uri=bucket("cache")), shared_cache._content
    asked = list[str]()

    def cut(place: Place, piece: shared_cache._Piece, shape: shared_cache.Shape) -> np.ndarray:
        if len(asked) == 2:
            raise ConnectionError
        asked.append(piece.name)
        return content(place, piece, shape)

    no_decoding(monkeypatch)
    monkeypatch.setattr(shared_cache, "AT_ONCE", 1)
    with monkeypatch.context() as first:
        first.setattr(shared_cache, "_content", cut)
        with pytest.raises(ConnectionError):
            shared_images(tree, paths, machines[1], uri=bucket("cache"))
    monkeypatch.setattr(shared_cache, "_content", lambda *how: (asked.append(how[1].name), content(*how))[1])
    assert np.array_equal(shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    assert len(asked) == len(set(asked)) == 3


def spoiled_piece(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    (place / manifest["pieces"][1][0]).write(b"x" * 16 * 32 * 32)


def lost_piece(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    (place / manifest["pieces"][1][0]).remove()


def short_piece(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    """One that is as the manifest says and has too few films."""
    manifest["pieces"][1] = manifest["pieces"][2]
    (place / MANIFEST).write(json.dumps(manifest).encode())


def no_json(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    (place / MANIFEST).write(b"{")


def another_shape(place: Place, manifest: dict[str, object]) -> None:
    (place / MANIFEST).write(json.dumps(manifest | {"shape": [36, 48, 48]}).encode())


def too_few_pieces(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    (place / MANIFEST).write(json.dumps(manifest | {"pieces": manifest["pieces"][:2]}).encode())


def pieces_elsewhere(place: Place, manifest: dict[str, list[list[str]]]) -> None:
    outside = [["../secret", digest] for _, digest in manifest["pieces"]]
    (place / MANIFEST).write(json.dumps(manifest | {"pieces": outside}).encode())


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (spoiled_piece, "the SHA-256 of its piece NAME is another"),
        (short_piece, "the SHA-256 of its piece NAME is another"),
        (lost_piece, "its piece NAME is gone, or cannot be read whole"),
        (no_json, "its manifest is none"),
        (another_shape, "its shape is [36, 48, 48] and should be [36, 32, 32]"),
        (too_few_pieces, "its manifest names other pieces than its shape has"),
        (pieces_elsewhere, "its manifest names other pieces than its shape has"),
    ],
)
def test_a_damaged_cache_is_told_decoded_once_more_and_replaced(
    damage: Callable[..., None],
    told: str,
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared_cache, "SILENT", 0)
    made = shared_images(tree, paths, machines[0], uri=bucket("cache"))
    place = reach(bucket("cache")) / array_path(tree, paths, machines[0]).stem
    damage(place, json.loads((place / MANIFEST).read()))
    assert np.array_equal(shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    said = PIECE_NAME.sub("NAME", capsys.readouterr().err)
    assert said == f"image cache: {place.uri} is damaged, {told}; decoding the films here\n"
    no_decoding(monkeypatch)
    assert np.array_equal(shared_images(tree, paths, machines[2], uri=bucket("cache")), made)


def test_a_place_that_is_not_there_or_does_not_answer_costs_the_images_nothing(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = bucket("cache").replace("films", "no-such-bucket")
    shared_images(tree, paths, machines[0], uri=nowhere)
    said = capsys.readouterr().err
    assert said.startswith("image cache: gs://anonymous@no-such-bucket/")
    assert said.count("\n") == 1
    assert (
        "nothing is there, or there is no such bucket; create the bucket, or correct the address; the decoded" in said
    )

    def away(uri: str) -> Place:
        raise Unreachable(uri, "its store cannot be reached", "check the network and the address")

    monkeypatch.setattr(shared_cache, "reach", away)
    made = shared_images(tree, paths, machines[1], uri="gs://away")
    told = "image cache: gs://away: its store cannot be reached; check the network and the address; "
    here, kept = "decoding the films here\n", "the decoded films stay on this machine\n"
    assert capsys.readouterr().err == f"{told}{here}{told}{kept}"
    assert np.array_equal(made, open_images(tree, paths, machines[0]))


def test_a_store_that_goes_away_while_pieces_are_sent_is_not_asked_for_the_others(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, write, shutdown, left = list[str](), Place.write, ThreadPoolExecutor.shutdown, threading.Event()

    def gone(place: Place, content: bytes) -> None:
        tried.append(place.path)
        if len(tried) == 2:
            left.clear()
            raise Unreachable("gs://films", "its store cannot be reached", "check the network")
        if len(tried) > 2:
            assert left.wait(60)
        write(place, content)

    def told(pool: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        shutdown(pool, wait=False, cancel_futures=cancel_futures)
        left.set()
        shutdown(pool, wait=wait)

    monkeypatch.setattr(Place, "write", gone)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", told)
    monkeypatch.setattr(shared_cache, "AT_ONCE", 1)
    monkeypatch.setattr(shared_cache, "BLOCK", 4)  # nine pieces
    shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert len(tried) in (2, 3)


def test_a_disk_without_room_is_told(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_images(tree, paths, machines[0], uri=bucket("cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=40_000))
    sentence = r"two: the image cache \S+-32px needs 40,960 bytes more and 40,000 are free; make room, give a folder"
    with pytest.raises(InputError, match=sentence):
        shared_images(tree, paths, machines[1], uri=bucket("cache"))
