import os
from pathlib import Path

import pytest

from chex.atomic import replacing, replacing_folder, write_text


def test_a_file_is_replaced_when_it_is_whole(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with replacing(tmp_path / "a") as beside:
        beside.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def fail_while_writing(path: Path) -> None:
    with replacing(path) as beside:
        beside.write_text("half")
        raise RuntimeError("disk full")


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError, match="disk full"):
        fail_while_writing(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_takes_the_place_of_the_earlier_one_when_it_is_whole(tmp_path: Path) -> None:
    home = tmp_path / "above" / "a"
    for text in ("old", "new"):
        with replacing_folder(home) as beside:
            (beside / text).write_text(text)
            assert not (home / text).exists()
        assert [path.name for path in home.iterdir()] == [text]
    assert [path.name for path in home.parent.iterdir()] == ["a"]


def fail_while_filling(folder: Path) -> None:
    with replacing_folder(folder) as beside:
        (beside / "half").write_text("half")
        raise RuntimeError("disk full")


def test_a_folder_that_could_not_be_filled_leaves_the_earlier_one_and_nothing_beside_it(tmp_path: Path) -> None:
    with replacing_folder(tmp_path / "a") as beside:
        (beside / "old").write_text("old")
    with pytest.raises(RuntimeError, match="disk full"):
        fail_while_filling(tmp_path / "a")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]


def test_a_folder_that_cannot_be_put_in_place_leaves_the_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "old").write_text("old")
    rename = os.rename

    def refuse_the_new(source: Path, target: Path) -> None:
        if source.suffix == ".part":
            raise OSError("busy")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse_the_new)
    with pytest.raises(OSError, match="busy"), replacing_folder(tmp_path / "a"):
        pass
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]
