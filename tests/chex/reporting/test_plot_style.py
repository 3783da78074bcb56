from pathlib import Path

import pytest
from PIL import Image

from chex.reporting import plot_style
from chex.reporting.plot_style import new_figure, save_png


def test_a_figure_is_saved_atomically_at_160_dots_per_inch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot_style, "DOTS_PER_INCH", 160)
    figure, axes = new_figure(3, 2)
    axes.plot([0, 1], [0, 1])
    save_png(figure, tmp_path / "line.png")
    with Image.open(tmp_path / "line.png") as saved:
        assert saved.size == (480, 320)
    assert [path.name for path in tmp_path.iterdir()] == ["line.png"]
