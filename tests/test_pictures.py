from pathlib import Path

from PIL import Image

from chex.pictures import picture, save_picture


def test_a_picture_is_saved_whole_at_double_density(tmp_path: Path) -> None:
    figure, axes = picture(3, 2)
    axes.plot([0, 1], [0, 1])
    save_picture(figure, tmp_path / "line.png")
    with Image.open(tmp_path / "line.png") as saved:
        assert saved.size == (480, 320)
    assert [path.name for path in tmp_path.iterdir()] == ["line.png"]
