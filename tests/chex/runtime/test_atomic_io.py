import errno
import os
import stat
from pathlib import Path

import pytest

from chex.runtime.atomic_io import atomic_folder, atomic_write, fsync_folder, write_text


def test_a_file_is_replaced_when_it_is_complete(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with atomic_write(tmp_path / "a") as beside:
        beside.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def fail_while_writing(path: Path) -> None:
    with atomic_write(path) as beside:
        beside.write_text("half")
        raise RuntimeError("disk full")


def test_a_failed_write_leaves_the_old_file_and_no_temporary_file(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "old")
    with pytest.raises(RuntimeError, match="disk full"):
        fail_while_writing(tmp_path / "a")
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_folder_replaces_the_earlier_one_when_it_is_complete(tmp_path: Path) -> None:
    home = tmp_path / "above" / "a"
    for text in ("old", "new"):
        with atomic_folder(home) as beside:
            (beside / text).write_text(text)
            assert not (home / text).exists()
        assert [path.name for path in home.iterdir()] == [text]
    assert [path.name for path in home.parent.iterdir()] == ["a"]


def fail_while_filling(folder: Path) -> None:
    with atomic_folder(folder) as beside:
        (beside / "half").write_text("half")
        raise RuntimeError("disk full")


def test_a_failed_folder_leaves_the_earlier_one_and_no_temporary_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "a") as beside:
        (beside / "old").write_text("old")
    with pytest.raises(RuntimeError, match="disk full"):
        fail_while_filling(tmp_path / "a")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]


def test_a_folder_that_cannot_be_renamed_leaves_the_earlier_one(
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
    with pytest.raises(OSError, match="busy"), atomic_folder(tmp_path / "a"):
        pass
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["a", "a/old"]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is synced and renamed, in order: a file, a folder, or a name that is put in place."""
    events: list[str] = []
    replace, rename = os.replace, os.rename

    def fsync(file: int) -> None:
        events.append("folder" if stat.S_ISDIR(os.fstat(file).st_mode) else "file")

    def put(source: Path, target: Path) -> None:
        events.append(f"-> {target.name}")
        (replace if source.is_file() else rename)(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", put)
    monkeypatch.setattr(os, "rename", put)
    return events


def test_a_file_is_synced_before_it_is_renamed_and_its_folder_after(tmp_path: Path, calls: list[str]) -> None:
    write_text(tmp_path / "a", "new")
    assert calls == ["file", "-> a", "folder"]


def test_a_file_that_is_not_durable_is_only_renamed(tmp_path: Path, calls: list[str]) -> None:
    with atomic_write(tmp_path / "a", durable=False) as beside:
        beside.write_text("new")
    assert calls == ["-> a"]


def test_all_files_of_a_folder_are_synced_before_it_is_renamed(tmp_path: Path, calls: list[str]) -> None:
    with atomic_folder(tmp_path / "a") as beside:
        (beside / "below").mkdir()
        (beside / "one").write_text("1")
        (beside / "below" / "two").write_text("2")
    assert calls == ["file", "folder", "file", "folder", "-> a", "folder"]


@pytest.mark.parametrize("refused", [errno.EINVAL, errno.ENOTSUP, errno.EIO])
def test_a_file_system_that_cannot_sync_folders_raises_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    def fsync(file: int) -> None:
        raise OSError(refused, "no")

    monkeypatch.setattr(os, "fsync", fsync)
    if refused == errno.EIO:
        with pytest.raises(OSError, match="no"):
            fsync_folder(tmp_path)
    else:
        fsync_folder(tmp_path)


def test_a_backup_of_another_process_is_not_removed_after_a_failed_rename(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    left = tmp_path / f".a.{os.getpid()}.earlier"
    left.mkdir()
    (left / "old").write_text("old")
    with pytest.raises(OSError, match="not empty"), atomic_folder(tmp_path / "a") as beside:
        (beside / "new").write_text("new")
    assert (left / "old").exists()
    assert (tmp_path / "a").exists()
