"""Trials on the nodes of a search that has a storage: who decodes, who sends, and who needs no film."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray import tune

from chex import cache
from chex.cache import open_images
from chex.config import RunConfig, dump, validated
from chex.errors import InputError
from chex.prepare import prepare, select
from search import shared_cache, staging
from search.bucket import Unreachable, below, reach
from search.feed import IMAGES, fed, images_below
from search.lease import take
from search.search_config import SearchConfig
from search.shared_cache import MANIFEST
from search.staging import STAGED
from search.study import CONFIG, images_of
from search.trainable import train_trial
from tests.test_staging import upload, zipped

Make = Callable[..., RunConfig]
Where = Callable[[str], str]
Train = Callable[..., list[dict[str, Any]]]
FILM = "view1_frontal.jpg"


@pytest.fixture
def node(make_run: Make, tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """The base run on a node with a disk of its own, as a head hands it out that has the tree elsewhere."""

    def made(name: str) -> dict[str, Any]:
        run = make_run({"schedule.epochs": 1, "image.cache": str(tmp_path / name)})
        base = run.model_dump(mode="json")
        return base | {"data": base["data"] | {"root": "/head/has/it/here"}}

    return made


@pytest.fixture
def train(
    node: Callable[[str], dict[str, Any]], bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Train:
    """Trains a trial on a node, whose search has its image caches in the bucket; gives what it reports."""
    heard: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", heard.append)

    def trained(name: str, source: str, number: int = 1) -> list[dict[str, Any]]:
        heard.clear()
        trial = {"number": number, "knobs": {}, "folder": str(tmp_path / "head" / "s" / "trials" / f"{number:03d}")}
        stored, images = take((tmp_path / "storage" / "s").as_uri()), images_below(bucket("searches"))
        train_trial(trial, node(name), share=0, stored=stored, source=source, images=images)
        return [{name: value for name, value in row.items() if name != "seconds"} for row in heard]

    return trained


def films_on(node: Path) -> int:
    return len(list(node.rglob(FILM)))


def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*how: object) -> None:
        raise AssertionError("a film was decoded")

    monkeypatch.setattr(cache, "decode", refused)


def source_of(form: str, tree: Path, bucket: Where) -> str:
    return upload(zipped(tree), bucket("films.zip")) if form == "zip" else upload(tree, bucket("tree"))


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_the_second_node_trains_the_same_without_a_film(
    form: str, tree: Path, bucket: Where, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of(form, tree, bucket)
    first = train("first", source)
    assert first[-1]["percent"] == 100
    assert films_on(tmp_path / "first") == 18
    assert len([name for name in reach(bucket(f"searches/{IMAGES}")).entries() if name.endswith(MANIFEST)]) == 1
    no_decoding(monkeypatch)
    assert train("second", source, 2) == first
    assert films_on(tmp_path / "second") == 0
    one, two = ((tmp_path / name).glob("*px.npy") for name in ("first", "second"))
    assert [(path.name, path.read_bytes()) for path in one] == [(path.name, path.read_bytes()) for path in two]


def test_a_node_that_has_the_images_asks_neither_the_source_nor_the_caches(
    tree: Path, bucket: Where, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("zip", tree, bucket)
    train("first", source)
    second = train("second", source, 2)
    monkeypatch.setattr(shared_cache, "reach", lambda uri: pytest.fail("the caches were asked"))
    monkeypatch.setattr(staging, "check_there", lambda uri: pytest.fail("the source was asked"))
    assert train("first", source, 3) == train("second", source, 4) == second


def test_caches_that_cannot_be_written_or_reached_fail_no_trial(
    tree: Path, bucket: Where, train: Train, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*how: object) -> None:
        raise Unreachable("gs://films", "permission denied", "use an account that may")

    source = source_of("zip", tree, bucket)
    monkeypatch.setattr(shared_cache, "_send", refused)
    unwritten = train("first", source)
    assert unwritten[-1]["percent"] == 100
    assert capfd.readouterr().err.count("permission denied") == 1
    monkeypatch.setattr(shared_cache, "reach", refused)
    assert train("second", source, 2) == unwritten
    assert capfd.readouterr().err.count("permission denied") == 2
    assert reach(bucket(f"searches/{IMAGES}")).entries() == {}


def test_a_damaged_cache_fails_no_trial_and_films_are_staged_then(
    tree: Path, bucket: Where, train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = source_of("zip", tree, bucket)
    first = train("first", source)
    caches = reach(bucket(f"searches/{IMAGES}"))
    piece = next(name for name in caches.entries() if not name.endswith(MANIFEST))
    (caches / piece).write(b"cut")
    assert train("second", source, 2) == first
    assert films_on(tmp_path / "second") == 18
    assert list((tmp_path / "second").rglob(STAGED))


def test_without_a_storage_the_whole_tree_is_staged_and_nobody_shares(
    tree: Path, bucket: Where, node: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    base, opening = fed(node("one"), source_of("zip", tree, bucket), None, tmp_path / "one")
    assert opening is open_images
    assert films_on(tmp_path / "one") == 18
    assert Path(base["data"]["root"], STAGED).exists()
    given = node("two")
    assert fed(given, None, None, tmp_path / "two") == (given, open_images)


def test_a_tree_that_all_nodes_see_is_decoded_by_the_first_of_them(
    tree: Path, bucket: Where, make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[np.ndarray]()
    for name in ("one", "two"):
        base = make_run({"image.cache": str(tmp_path / name)}).model_dump(mode="json")
        own, opening = fed(base, None, bucket("caches"), tmp_path / name)
        assert own is base
        run = validated(RunConfig, own, "test")
        found.append(prepare(run, select(run), opening=opening).images)
        no_decoding(monkeypatch)
    assert np.array_equal(*found)


def test_films_that_the_tables_list_and_the_source_lacks_are_named(
    tree: Path, node: Callable[[str], dict[str, Any]], bucket: Where, tmp_path: Path
) -> None:
    (tree / "valid" / "patient00103" / "study1" / FILM).unlink()
    own, opening = fed(node("one"), source_of("zip", tree, bucket), bucket("caches"), tmp_path / "one")
    run = validated(RunConfig, own, "test")
    told = r"1 of 36 images that the CSVs list are missing, first valid/patient00103/study1/view1_frontal.jpg; complete"
    with pytest.raises(InputError, match=told):
        prepare(run, select(run), opening=opening)
    assert films_on(tmp_path / "one") == 0


def test_the_searches_of_a_storage_share_their_caches_and_a_confirmation_those_of_its_search(
    make_run: Make, tmp_path: Path
) -> None:
    search = SearchConfig(base=make_run(), space={}, storage="gs://films/searches?region=here")
    folder = tmp_path / "results" / "demo"
    (folder / "confirm").mkdir(parents=True)
    (folder / CONFIG).write_text(dump(search))
    assert images_of(search, folder) == f"gs://films/searches/{IMAGES}?region=here"
    inner = search.model_copy(update={"storage": below("gs://films/searches?region=here", "demo")})
    assert images_of(inner, folder / "confirm") == images_of(search, folder)
    assert images_of(search.model_copy(update={"storage": None}), tmp_path / "results" / "other") is None
