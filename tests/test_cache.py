from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chex.cache import ImageConfig, decode, open_images
from chex.errors import InputError
from chex.records import load_tree


@pytest.fixture
def config(tmp_path: Path) -> ImageConfig:
    return ImageConfig(size=32, cache=tmp_path / "cache")


def test_sixteen_bits_are_scaled_and_not_cut_off(tmp_path: Path) -> None:
    gray = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    Image.fromarray(gray).save(tmp_path / "film.png")
    np.testing.assert_array_equal(decode(tmp_path / "film.png", 64), np.round(gray / 257))


def test_a_row_is_the_film_of_its_path(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    images = open_images(tree, paths, config)
    assert images.shape == (36, 32, 32)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[7], decode(tree / paths[7], 32))


def test_images_are_decoded_once_and_memory_mapped(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    seen: list[tuple[int, int]] = []
    open_images(tree, paths, config, lambda done, total: seen.append((done, total)))
    again = open_images(tree, paths, config, lambda done, total: seen.append((done, total)))
    assert seen == [(done, 36) for done in range(1, 37)]
    assert isinstance(again, np.memmap)
    assert not again.flags.writeable


def test_another_size_or_a_changed_film_makes_another_array(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    before = open_images(tree, paths, config)
    assert open_images(tree, paths, config.model_copy(update={"size": 48})).shape == (36, 48, 48)
    Image.new("L", (40, 48), 255).save(tree / paths[3])
    after = open_images(tree, paths, config)
    assert (after[3] != before[3]).any()


def test_a_film_keeps_its_proportions_on_black(tmp_path: Path) -> None:
    Image.new("L", (80, 40), 200).save(tmp_path / "wide.png")
    square = decode(tmp_path / "wide.png", 32)
    assert (square[:8] == 0).all()
    assert (square[8:24] == 200).all()
    assert (square[24:] == 0).all()


def test_colour_films_become_gray(tmp_path: Path) -> None:
    Image.new("RGB", (40, 40), (255, 255, 255)).save(tmp_path / "colour.jpg")
    assert decode(tmp_path / "colour.jpg", 32).min() > 250


def test_missing_films_are_counted_and_nothing_is_written(tree: Path, config: ImageConfig) -> None:
    paths = load_tree(tree).paths
    for path in paths[[2, 5]]:
        (tree / path).unlink()
    told = rf"2 of 36 images that the CSVs list are missing, first {paths[2]}, {paths[5]}; complete the download"
    with pytest.raises(InputError, match=told):
        open_images(tree, paths, config)
    assert not config.cache.exists()


@pytest.mark.parametrize("content", [b"", b"not a film", b"\xff\xd8\xff\xe0 cut"])
def test_undecodable_films_are_counted_and_no_array_is_left(tree: Path, config: ImageConfig, content: bytes) -> None:
    paths = load_tree(tree).paths
    (tree / paths[4]).write_bytes(content)
    whole = (tree / paths[6]).read_bytes()
    (tree / paths[6]).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match=rf"2 of 36 images cannot be decoded, first {paths[4]}, {paths[6]}; replace"):
        open_images(tree, paths, config)
    assert list(config.cache.iterdir()) == []
