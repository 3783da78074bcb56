import json
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from chex.data import image_cache
from chex.data.data_config import ImageConfig
from chex.data.image_cache import array_path, load_or_build
from chex.data.tables import load_tree
from chex.errors import InputError
from search.storage import shared_images as shared_cache
from search.storage.remote_path import RemotePath, connect
from search.storage.shared_images import MANIFEST, PIECE_NAME, load_shared_images
from search.storage.uri import Unreachable

Where = Callable[[str], str]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_cache, "PIECE_BYTES", 1)  # a piece a block: three for the 36 images of the tree


@pytest.fixture
def paths(tree: Path) -> np.ndarray:
    return load_tree(tree).paths


@pytest.fixture
def machines(tmp_path: Path) -> list[ImageConfig]:
    """The same cache on the disks of three machines."""
    return [ImageConfig(size=32, cache_dir=tmp_path / name) for name in ("one", "two", "three")]


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are put anywhere from now on, by their last two names."""
    put, write = list[str](), RemotePath.write

    def recorded(remote: RemotePath, content: bytes) -> None:
        put.append("/".join(remote.path.split("/")[-2:]))
        write(remote, content)

    monkeypatch.setattr(RemotePath, "write", recorded)
    return put


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*how: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(image_cache, "decode", refused)


def pieces_at(uri: str) -> list[str]:
    return [name for name in connect(uri).entries() if not name.endswith(MANIFEST)]


def test_another_machine_gets_the_decoded_images_bit_for_bit(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    received: list[tuple[int, int]] = []
    no_decoding(monkeypatch)
    brought = load_shared_images(
        tree, paths, machines[1], lambda *message: received.append(message), uri=bucket("cache")
    )
    assert received[-1] == (36, 36)
    assert np.array_equal(made, brought)
    assert np.array_equal(load_or_build(tree, paths, machines[1]), made)
    one, two = (array_path(tree, paths, machine).read_bytes() for machine in machines[:2])
    assert one == two


def test_a_machine_with_the_images_makes_no_request(tree: Path, paths: np.ndarray, machines: list[ImageConfig]) -> None:
    made = load_or_build(tree, paths, machines[0])
    assert np.array_equal(load_shared_images(tree, paths, machines[0], uri="gs://nowhere/cache"), made)


def test_other_images_and_another_size_have_separate_caches(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where
) -> None:
    load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    larger = machines[1].model_copy(update={"size": 48})
    assert load_shared_images(tree, paths, larger, uri=bucket("cache")).shape == (36, 48, 48)
    load_shared_images(tree, paths[:20], machines[1], uri=bucket("cache"))
    found = [name for name in connect(bucket("cache")).entries() if name.endswith(MANIFEST)]
    assert len(found) == 3


def test_an_incomplete_cache_is_ignored_and_made_again(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write = RemotePath.write

    def cut(remote: RemotePath, content: bytes) -> None:
        if remote.path.endswith(MANIFEST):
            raise Unreachable("gs://images", "its storage cannot be reached", "check the network")
        write(remote, content)

    with monkeypatch.context() as first:
        first.setattr(RemotePath, "write", cut)
        made = load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert capsys.readouterr().err == (
        "image cache: gs://images: its storage cannot be reached; check the network; the decoded images stay on this "
        "machine\n"
    )
    assert np.array_equal(made, load_or_build(tree, paths, machines[0]))
    assert len(pieces_at(bucket("cache"))) == 3
    monkeypatch.setattr(shared_cache, "SENDER_TIMEOUT_SECONDS", 0)  # the first machine is given up
    assert np.array_equal(load_shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    no_decoding(monkeypatch)
    assert np.array_equal(load_shared_images(tree, paths, machines[2], uri=bucket("cache")), made)


def test_a_machine_does_not_upload_while_another_one_does(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    writes: list[str],
) -> None:
    first_of_all, meanwhile = shared_cache._another_machine_sends, list[np.ndarray]()

    def later(remote: RemotePath, own: str) -> bool:
        monkeypatch.setattr(shared_cache, "_another_machine_sends", first_of_all)
        meanwhile.append(load_shared_images(tree, paths, machines[1], uri=bucket("cache")))
        return first_of_all(remote, own)

    monkeypatch.setattr(shared_cache, "_another_machine_sends", later)  # the first machine has put its first piece
    made = load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert np.array_equal(meanwhile[0], made)
    assert len(writes) == 3 + 1 + 1
    assert len(pieces_at(bucket("cache"))) == 3
    assert writes[-1].endswith(MANIFEST)


def test_the_first_manifest_counts_if_two_machines_upload(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*how: object) -> bool:
        monkeypatch.setattr(shared_cache, "_another_machine_sends", lambda *how: False)
        load_shared_images(tree, paths, machines[1], uri=bucket("cache"))
        return False

    monkeypatch.setattr(shared_cache, "_another_machine_sends", meanwhile)
    load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert len(pieces_at(bucket("cache"))) == 3
    no_decoding(monkeypatch)
    load_shared_images(tree, paths, machines[2], uri=bucket("cache"))


def test_only_the_process_that_decoded_uploads(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    writes: list[str],
) -> None:
    decode, both_ask, requested = image_cache.decode, threading.Event(), list[object]()

    def waits(*how: object, **more: object) -> np.ndarray:
        assert both_ask.wait(60)
        return decode(*how, **more)

    def opening(*how: object) -> np.ndarray:
        requested.append(how)
        if len(requested) == 2:
            both_ask.set()
        return load_or_build(*how)

    monkeypatch.setattr(image_cache, "decode", waits)
    monkeypatch.setattr(image_cache, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(shared_cache, "load_or_build", opening)
    found = list[np.ndarray]()
    processes = [
        threading.Thread(target=lambda: found.append(load_shared_images(tree, paths, machines[0], uri=bucket("cache"))))
        for _ in range(2)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert np.array_equal(*found)
    assert len(writes) == 3 + 1


def test_an_interrupted_download_keeps_its_pieces(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, content = load_shared_images(tree, paths, machines[0], uri=bucket("cache")), shared_cache._read_piece
    requested = list[str]()

    def cut(remote: RemotePath, piece: shared_cache._Piece, shape: shared_cache.Shape) -> np.ndarray:
        if len(requested) == 2:
            raise ConnectionError
        requested.append(piece.name)
        return content(remote, piece, shape)

    no_decoding(monkeypatch)
    monkeypatch.setattr(shared_cache, "PARALLEL_PIECES", 1)
    with monkeypatch.context() as first:
        first.setattr(shared_cache, "_read_piece", cut)
        with pytest.raises(ConnectionError):
            load_shared_images(tree, paths, machines[1], uri=bucket("cache"))
    monkeypatch.setattr(shared_cache, "_read_piece", lambda *how: (requested.append(how[1].name), content(*how))[1])
    assert np.array_equal(load_shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    assert len(requested) == len(set(requested)) == 3


def spoiled_piece(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    (remote / manifest["pieces"][1][0]).write(b"x" * 16 * 32 * 32)


def lost_piece(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    (remote / manifest["pieces"][1][0]).remove()


def short_piece(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    """One that is as the manifest says and has too few images."""
    manifest["pieces"][1] = manifest["pieces"][2]
    (remote / MANIFEST).write(json.dumps(manifest).encode())


def no_json(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    (remote / MANIFEST).write(b"{")


def another_shape(remote: RemotePath, manifest: dict[str, object]) -> None:
    (remote / MANIFEST).write(json.dumps(manifest | {"shape": [36, 48, 48]}).encode())


def too_few_pieces(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    (remote / MANIFEST).write(json.dumps(manifest | {"pieces": manifest["pieces"][:2]}).encode())


def pieces_elsewhere(remote: RemotePath, manifest: dict[str, list[list[str]]]) -> None:
    outside = [["../secret", digest] for _, digest in manifest["pieces"]]
    (remote / MANIFEST).write(json.dumps(manifest | {"pieces": outside}).encode())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (spoiled_piece, "its piece NAME has another SHA-256"),
        (short_piece, "its piece NAME has another SHA-256"),
        (lost_piece, "its piece NAME is missing or cannot be read completely"),
        (no_json, "its manifest is not valid"),
        (another_shape, "its shape is [36, 48, 48] and should be [36, 32, 32]"),
        (too_few_pieces, "its manifest does not list the pieces of its shape"),
        (pieces_elsewhere, "its manifest does not list the pieces of its shape"),
    ],
)
def test_a_damaged_cache_is_reported_decoded_again_and_replaced(
    damage: Callable[..., None],
    message: str,
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(shared_cache, "SENDER_TIMEOUT_SECONDS", 0)
    made = load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    remote = connect(bucket("cache")) / array_path(tree, paths, machines[0]).stem
    damage(remote, json.loads((remote / MANIFEST).read()))
    assert np.array_equal(load_shared_images(tree, paths, machines[1], uri=bucket("cache")), made)
    output = PIECE_NAME.sub("NAME", capsys.readouterr().err)
    assert output == f"image cache: {remote.uri} is damaged: {message}; decoding the images here\n"
    no_decoding(monkeypatch)
    assert np.array_equal(load_shared_images(tree, paths, machines[2], uri=bucket("cache")), made)


def test_a_missing_or_unreachable_storage_does_not_prevent_decoding(
    tree: Path,
    paths: np.ndarray,
    machines: list[ImageConfig],
    bucket: Where,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    nowhere = bucket("cache").replace("images", "no-such-bucket")
    load_shared_images(tree, paths, machines[0], uri=nowhere)
    output = capsys.readouterr().err
    assert output.startswith("image cache: gs://anonymous@no-such-bucket/")
    assert output.count("\n") == 1
    assert (
        "nothing exists there, or the bucket does not exist; create the bucket, or correct the address; the decoded"
        in output
    )

    def away(uri: str) -> RemotePath:
        raise Unreachable(uri, "its storage cannot be reached", "check the network and the address")

    monkeypatch.setattr(shared_cache, "connect", away)
    made = load_shared_images(tree, paths, machines[1], uri="gs://away")
    message = "image cache: gs://away: its storage cannot be reached; check the network and the address; "
    here, saved = "decoding the images here\n", "the decoded images stay on this machine\n"
    assert capsys.readouterr().err == f"{message}{here}{message}{saved}"
    assert np.array_equal(made, load_or_build(tree, paths, machines[0]))


def test_an_upload_stops_when_the_storage_becomes_unreachable(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried, write, shutdown, left = list[str](), RemotePath.write, ThreadPoolExecutor.shutdown, threading.Event()

    def gone(remote: RemotePath, content: bytes) -> None:
        tried.append(remote.path)
        if len(tried) == 2:
            left.clear()
            raise Unreachable("gs://images", "its storage cannot be reached", "check the network")
        if len(tried) > 2:
            assert left.wait(60)
        write(remote, content)

    def message(pool: ThreadPoolExecutor, wait: bool = True, *, cancel_futures: bool = False) -> None:
        shutdown(pool, wait=False, cancel_futures=cancel_futures)
        left.set()
        shutdown(pool, wait=wait)

    monkeypatch.setattr(RemotePath, "write", gone)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", message)
    monkeypatch.setattr(shared_cache, "PARALLEL_PIECES", 1)
    monkeypatch.setattr(shared_cache, "BLOCK_IMAGES", 4)  # nine pieces
    load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    assert len(tried) in (2, 3)


def test_a_full_disk_is_reported(
    tree: Path, paths: np.ndarray, machines: list[ImageConfig], bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_shared_images(tree, paths, machines[0], uri=bucket("cache"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=40_000))
    sentence = r"two: the image cache \S+-32px needs 40,960 more bytes and 40,000 are free; free disk space, give"
    with pytest.raises(InputError, match=sentence):
        load_shared_images(tree, paths, machines[1], uri=bucket("cache"))
