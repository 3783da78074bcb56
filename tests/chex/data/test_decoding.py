from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from chex.data.decoding import UNDECODABLE, decode


def test_an_image_keeps_its_proportions_on_black(tmp_path: Path) -> None:
    Image.new("L", (80, 40), 200).save(tmp_path / "wide.png")
    square = decode(tmp_path / "wide.png", 32)
    assert (square[:8] == 0).all()
    assert (square[8:24] == 200).all()
    assert (square[24:] == 0).all()


def test_a_portrait_image_has_black_at_its_sides(tmp_path: Path) -> None:
    Image.new("L", (40, 80), 200).save(tmp_path / "high.png")
    square = decode(tmp_path / "high.png", 32)
    np.testing.assert_array_equal(square[:, :8] | square[:, 24:], 0)
    assert (square[:, 8:24] == 200).all()


def test_stretch_fills_the_square(tmp_path: Path) -> None:
    Image.fromarray(np.repeat([[0, 100]], 20, axis=0).repeat(40, axis=1).astype(np.uint8)).save(tmp_path / "wide.png")
    square = decode(tmp_path / "wide.png", 32, "stretch")
    assert (square[:, :15] == 0).all()
    assert (square[:, 17:] == 100).all()


def test_an_image_of_one_row_keeps_one_row(tmp_path: Path) -> None:
    Image.new("L", (200, 1), 90).save(tmp_path / "line.png")
    assert (decode(tmp_path / "line.png", 32) == 90).sum() == 32


@pytest.mark.parametrize(("mode", "name"), [("RGB", "image.jpg"), ("RGB", "image.png"), ("RGBA", "image.png")])
def test_colour_images_become_gray(tmp_path: Path, mode: str, name: str) -> None:
    Image.new("RGB", (40, 40), (255, 255, 255)).convert(mode).save(tmp_path / name)
    assert decode(tmp_path / name, 32).min() > 250


def test_the_brightest_pixel_of_a_16_bit_image_is_white_and_zero_is_black(tmp_path: Path) -> None:
    twelve_bits = np.full((32, 32), 2047, dtype=np.uint16)
    twelve_bits[:8], twelve_bits[24:] = 0, 4094
    Image.fromarray(twelve_bits).save(tmp_path / "image.png")
    square = decode(tmp_path / "image.png", 32)
    assert (square[0, 0], square[16, 16], square[31, 31]) == (0, 128, 255)


def test_an_8_bit_image_keeps_its_gray_levels(tmp_path: Path) -> None:
    pixels = np.arange(100, dtype=np.uint8).repeat(100).reshape(100, 100)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    np.testing.assert_array_equal(decode(tmp_path / "image.png", 100), pixels)


def test_a_black_16_bit_image_stays_black(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((32, 32), dtype=np.uint16)).save(tmp_path / "image.png")
    assert (decode(tmp_path / "image.png", 32) == 0).all()


def test_8_and_16_bit_png_and_jpeg_of_a_large_image_agree(tmp_path: Path) -> None:
    slope = np.linspace(0, 255, 1200)
    pixels = (slope[:, None] + slope[None, :900]) / 2
    pixels *= 255 / pixels.max()
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "image.png")
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "image.jpg", quality=95)
    Image.fromarray((pixels * 257).astype(np.uint16)).save(tmp_path / "deep.png")
    eight, jpeg, sixteen = (decode(tmp_path / name, 64).astype(int) for name in ("image.png", "image.jpg", "deep.png"))
    assert abs(eight - jpeg).max() <= 3
    assert abs(eight - sixteen).max() <= 2


@pytest.mark.parametrize("content", [b"", b"not an image", b"\xff\xd8\xff\xe0 cut", b"\x89PNG\r\n\x1a\n cut"])
def test_a_file_that_is_no_image_raises_one_of_undecodable(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "image.jpg").write_bytes(content)
    with pytest.raises(UNDECODABLE):
        decode(tmp_path / "image.jpg", 32)


def test_a_truncated_image_is_not_decoded(tmp_path: Path) -> None:
    for name in ("image.jpg", "image.png"):
        Image.effect_noise((200, 200), 50).save(tmp_path / name)
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(UNDECODABLE):
            decode(tmp_path / name, 32)
