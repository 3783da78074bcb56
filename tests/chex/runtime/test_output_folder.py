import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from chex.errors import InputError
from chex.runtime.output_folder import (
    LOCK,
    MARK,
    check_can_empty,
    check_claim,
    claim,
    default_folder,
    empty_folder,
    folder_kind,
    lock_folder,
)

Damage = Callable[[Path], object]


def test_a_new_or_empty_folder_is_claimed_and_then_known_by_its_kind(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("new/below", "empty"):
        claim(tmp_path / name, "run")
        assert folder_kind(tmp_path / name) == "run"
        claim(tmp_path / name, "run")
    content = json.loads((tmp_path / "empty" / MARK).read_text())
    assert content["kind"] == "run"
    assert set(content) == {"kind", "version"}


@pytest.mark.parametrize("content", ["", "no JSON", "[]", '{"kind": "thesis"}', '{"other": 1}'])
def test_a_mark_of_another_program_does_not_count(tmp_path: Path, content: str) -> None:
    (tmp_path / MARK).write_text(content)
    assert folder_kind(tmp_path) is None
    with pytest.raises(InputError, match="holds files that this program did not write"):
        check_claim(tmp_path, "run")


REFUSED: dict[str, tuple[Damage, str]] = {
    "a folder of somebody else": (
        lambda out: (out.mkdir(), (out / "thesis.tex").write_text("x")),
        "--out {out}: holds files that this program did not write (there is no .chexpert-search.json in it); "
        "give a new or empty folder",
    ),
    "a folder of another command": (
        lambda out: claim(out, "search"),
        "--out {out}: holds another kind of output (search, not run); give a new or empty folder",
    ),
    "a file": (lambda out: out.write_text(""), "--out {out}: is a file; give a new or empty folder"),
    "a link that leads nowhere": (
        lambda out: out.symlink_to("nowhere"),
        "--out {out}: is a file; give a new or empty folder",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_with_other_content_is_not_claimed(tmp_path: Path, case: str) -> None:
    damage, message = REFUSED[case]
    damage(tmp_path / "out")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError) as refused:
        claim(tmp_path / "out", "run")
    assert str(refused.value) == message.format(out=tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"out: .*file is a file; give a new or empty folder"):
        check_claim(tmp_path / "file" / "out", "run")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match=r"cannot be written \(permission denied\); give a folder elsewhere"):
        check_claim(tmp_path / "out", "run")


@pytest.mark.parametrize("out", [".", "tree", "tree/out", "link/out"])
def test_nothing_is_written_into_the_data_tree_or_around_it(tmp_path: Path, out: str) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    with pytest.raises(
        InputError, match=r"overlaps the data tree .*tree, where nothing is written; give a folder outs"
    ):
        check_claim(tmp_path / out, "run", tree=tmp_path / "tree")


def test_a_process_killed_while_it_writes_a_mark_leaves_a_folder_that_can_be_claimed(tmp_path: Path) -> None:
    (tmp_path / f".{MARK}.17.part").write_text("{")
    claim(tmp_path, "run")
    assert folder_kind(tmp_path) == "run"


def test_only_a_folder_with_a_mark_is_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(
        InputError, match=r"--overwrite does not delete them; give a new or empty folder, or empty this one"
    ):
        empty_folder(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_emptying_keeps_the_mark_the_lock_and_the_targets_of_links(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    out = tmp_path / "out"
    claim(out, "run")
    (out / "deep" / "er").mkdir(parents=True)
    (out / "deep" / "link").symlink_to(tmp_path / "mine")
    (out / "link").symlink_to(tmp_path / "mine")
    (out / "file").write_text("x")
    with lock_folder(out):
        empty_folder(out)
    assert sorted(path.name for path in out.iterdir()) == [MARK, LOCK]
    assert (tmp_path / "mine" / "thesis.tex").exists()


def test_emptying_a_missing_folder_does_nothing(tmp_path: Path) -> None:
    empty_folder(tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("inside", ["current", "home", "tree", "config"])
def test_a_folder_with_needed_files_is_not_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str
) -> None:
    out = tmp_path / "out"
    claim(out, "run")
    (out / "below").mkdir()
    message = {"current": "the current folder", "home": "your home", "tree": "data.root", "config": "the config"}[
        inside
    ]
    if inside == "current":
        monkeypatch.chdir(out / "below")
    if inside == "home":
        monkeypatch.setenv("HOME", str(out / "below"))
    needed = (
        {message: out / "below"} if inside in ("tree", "config") else {"data.root": tmp_path / "tree", "other": None}
    )
    with pytest.raises(InputError, match=rf"--out .*out: holds {message} \(.*below\), which --overwrite would delete"):
        check_can_empty(out, needed=needed)


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    message = pytest.raises(InputError, match="another process trains in this folder; wait until it ends")
    with FileLock(tmp_path / LOCK, is_singleton=False), message, lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):
        assert folder_kind(tmp_path) is None


def test_a_default_folder_is_named_after_the_search_of_its_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    claim(Path("results/demo"), "search")
    claim(Path("results/demo/confirm"), "search")
    claim(Path("elsewhere/demo"), "search")
    assert default_folder("run", Path("configs/run/small.yaml")) == Path("results/run-small")
    assert default_folder("run", Path("results/demo/best.yaml")) == Path("results/run-demo-best")
    assert default_folder("lr-find", tmp_path / "elsewhere/demo/best.yaml") == Path("elsewhere/lr-find-demo-best")
    assert default_folder("run", Path("results/demo/confirm/best.yaml")) == Path("results/run-demo-confirm-best")
    monkeypatch.chdir("results/demo")
    assert default_folder("run", Path("best.yaml")) == tmp_path / "results" / "run-demo-best"
