"""Trials on the nodes of a search that has a storage: who decodes, who sends, and who needs no image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from chex.config import RunConfig, to_yaml, validate
from chex.data import image_cache
from chex.data.image_cache import load_or_build
from chex.errors import InputError
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from search.config.local_data import images_of
from search.config.search_config import SearchConfig
from search.engine.runner import CONFIG
from search.engine.trainable import run_trial
from search.storage import dataset, shared_images
from search.storage.dataset import STAGED_MARK
from search.storage.lease import take_lease
from search.storage.node_data import IMAGES_FOLDER, image_cache_uri, resolve_data
from search.storage.remote_path import connect
from search.storage.shared_images import MANIFEST
from search.storage.uri import Unreachable, child_uri
from tests.zip_and_upload import upload, zipped

Make = Callable[..., RunConfig]
Where = Callable[[str], str]
Train = Callable[..., list[dict[str, Any]]]
FILM = "view1_frontal.jpg"


@pytest.fixture
def node(make_run: Make, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The base run on a node with a disk of its own, as a head hands it out that has the tree elsewhere."""

    def made(name: str) -> dict[str, Any]:
        run = make_run({"schedule.epochs": 1, "image.cache_dir": str(tmp_path / name)})
        base = run.model_dump(mode="json")
        return base | {"data": base["data"] | {"root": "/head/has/it/here"}}

    return made


@pytest.fixture
def train(
    node: Callable[[str], dict[str, Any]], bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Train:
    """Trains a trial on a node, whose search has its image caches in the bucket; gives what it reports."""
    received: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", received.append)

    def trained(name: str, source: str, number: int = 1) -> list[dict[str, Any]]:
        received.clear()
        folder = tmp_path / "head" / "s" / "trials" / f"{number:03d}"
        stored, images = take_lease((tmp_path / "storage" / "s").as_uri()), image_cache_uri(bucket("searches"))
        run_trial({}, folder, node(name), share=0, lease=stored, data_uri=source, images_uri=images)
        return [{name: value for name, value in row.items() if name != "seconds"} for row in received]

    return trained


def films_on(node: Path) -> int:
    return len(list(node.rglob(FILM)))


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*how: object) -> None:
        raise AssertionError("an image was decoded")

    monkeypatch.setattr(image_cache, "decode", refused)


def source_of(form: str, tree: Path, bucket: Where) -> str:
    return upload(zipped(tree), bucket("images.zip")) if form == "zip" else upload(tree, bucket("tree"))


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_the_second_node_trains_the_same_without_image_files(
    form: str, tree: Path, bucket: Where, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(form, tree, bucket)
    first = train("first", source)
    assert first[-1]["percent"] == 100
    assert films_on(tmp_path / "first") == 18
    assert (
        len([name for name in connect(bucket(f"searches/{IMAGES_FOLDER}")).entries() if name.endswith(MANIFEST)]) == 1
    )
    no_decoding(monkeypatch)
    assert train("second", source, 2) == first
    assert films_on(tmp_path / "second") == 0
    one, two = ((tmp_path / name).glob("*px.npy") for name in ("first", "second"))
    assert [(path.name, path.read_bytes()) for path in one] == [(path.name, path.read_bytes()) for path in two]


def test_a_node_with_the_images_contacts_neither_the_dataset_nor_the_caches(
    tree: Path, bucket: Where, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("zip", tree, bucket)
    train("first", source)
    second = train("second", source, 2)
    monkeypatch.setattr(shared_images, "connect", lambda uri: pytest.fail("the caches were asked"))
    monkeypatch.setattr(dataset, "connect_existing", lambda uri: pytest.fail("the source was asked"))
    assert train("first", source, 3) == train("second", source, 4) == second


def test_unreachable_or_read_only_caches_fail_no_trial(
    tree: Path, bucket: Where, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*how: object) -> None:
        raise Unreachable("gs://images", "permission denied", "use an account that may")

    source = source_of("zip", tree, bucket)
    monkeypatch.setattr(shared_images, "_upload", refused)
    unwritten = train("first", source)
    assert unwritten[-1]["percent"] == 100
    assert capfd.readouterr().err.count("permission denied") == 1
    monkeypatch.setattr(shared_images, "connect", refused)
    assert train("second", source, 2) == unwritten
    assert capfd.readouterr().err.count("permission denied") == 2
    assert connect(bucket(f"searches/{IMAGES_FOLDER}")).entries() == {}


def test_a_damaged_cache_fails_no_trial_and_the_images_are_staged(
    tree: Path, bucket: Where, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("zip", tree, bucket)
    first = train("first", source)
    caches = connect(bucket(f"searches/{IMAGES_FOLDER}"))
    piece = next(name for name in caches.entries() if not name.endswith(MANIFEST))
    (caches / piece).write(b"cut")
    assert train("second", source, 2) == first
    assert films_on(tmp_path / "second") == 18
    assert list((tmp_path / "second").rglob(STAGED_MARK))


def test_without_a_storage_the_whole_dataset_is_staged_and_no_cache_is_shared(
    tree: Path, bucket: Where, node: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    base, opening = resolve_data(node("one"), source_of("zip", tree, bucket), None, tmp_path / "one")
    assert opening is load_or_build
    assert films_on(tmp_path / "one") == 18
    assert Path(base["data"]["root"], STAGED_MARK).exists()
    settings = node("two")
    assert resolve_data(settings, None, None, tmp_path / "two") == (settings, load_or_build)


def test_a_dataset_that_all_nodes_see_is_decoded_by_the_first_node(
    tree: Path, bucket: Where, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[np.ndarray]()
    for name in ("one", "two"):
        base = make_run({"image.cache_dir": str(tmp_path / name)}).model_dump(mode="json")
        own, opening = resolve_data(base, None, bucket("caches"), tmp_path / name)
        assert own is base
        run = validate(RunConfig, own, "test")
        found.append(load_run_data(run, load_run_tables(run), load_images=opening).images)
        no_decoding(monkeypatch)
    assert np.array_equal(*found)


def test_images_that_the_dataset_lacks_are_named(
    tree: Path, node: Callable[[str], dict[str, Any]], bucket: Where, tmp_path: Path
) -> None:
    (tree / "valid" / "patient00103" / "study1" / FILM).unlink()
    own, opening = resolve_data(node("one"), source_of("zip", tree, bucket), bucket("caches"), tmp_path / "one")
    run = validate(RunConfig, own, "test")
    told = r"1 of 36 images that the CSVs list are missing, first valid/patient00103/study1/view1_frontal.jpg; complete"
    with pytest.raises(InputError, match=told):
        load_run_data(run, load_run_tables(run), load_images=opening)
    assert films_on(tmp_path / "one") == 0


def test_searches_in_a_storage_share_caches_and_a_confirmation_uses_those_of_its_search(
    make_run: Make, tmp_path: Path
) -> None:
    search = SearchConfig(base=make_run(), space={}, storage_uri="gs://images/searches?region=here")
    folder = tmp_path / "results" / "demo"
    (folder / "confirm").mkdir(parents=True)
    (folder / CONFIG).write_text(to_yaml(search))
    assert images_of(search, folder) == f"gs://images/searches/{IMAGES_FOLDER}?region=here"
    inner = search.model_copy(update={"storage_uri": child_uri("gs://images/searches?region=here", "demo")})
    assert images_of(inner, folder / "confirm") == images_of(search, folder)
    assert images_of(search.model_copy(update={"storage_uri": None}), tmp_path / "results" / "other") is None
