import errno
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from chex.data.tables import load_tree
from chex.errors import InputError
from chex.runtime.output_folder import MARK
from search.command import main
from search.storage import dataset as staging
from search.storage import zip_reader
from search.storage.dataset import (
    FILE_LIST,
    STAGED_MARK,
    list_dataset,
    stage,
    stage_list,
    stage_some,
    stage_tables,
    staging_path,
)
from tests.conftest import TREE
from tests.zip_and_upload import upload, zipped

Where = Callable[[str], str]

STAGER = """
import os, signal, sys
from pathlib import Path
from search.storage import dataset as staging
from search.storage import zip_reader as archive

how, uri, root = sys.argv[1], sys.argv[2], Path(sys.argv[3])
archive.BLOCK, archive.AHEAD = 4096, 0
copies = [0]

def noted(copy):
    def one(self, name, target):
        if how == "killed" and copies[0] == 10:
            target.write_bytes(b"half an image")
            os.kill(os.getpid(), signal.SIGKILL)
        copies[0] += 1
        copy(self, name, target)
        if how == "first" and copies[0] == 10:
            print("ten", flush=True)
            sys.stdin.readline()
    return one

staging.ZipSource.copy = noted(staging.ZipSource.copy)
staging.stage(uri, root)
print("copied", copies[0], flush=True)
"""
"""Stages a zip in small blocks and says how many files it copied.

`killed` dies in the middle of the eleventh; `first` says that it has ten and waits for a line.
"""


def stager(how: str, uri: str, root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", STAGER, how, uri, str(root)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def files(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name not in (STAGED_MARK, FILE_LIST, MARK)
    }


def noted_readers(monkeypatch: pytest.MonkeyPatch) -> list[zip_reader.BlockReader]:
    """Those that are made from now on."""
    readers: list[zip_reader.BlockReader] = []
    begin = zip_reader.BlockReader.__init__
    monkeypatch.setattr(
        zip_reader.BlockReader, "__init__", lambda self, *how: (readers.append(self), begin(self, *how))[1]
    )
    return readers


@pytest.mark.parametrize("form", ["zip", "tree"])
@pytest.mark.parametrize("folder", ["bucket", "disk"])
def test_a_zip_archive_or_a_folder_in_a_bucket_or_on_a_disk_is_staged(
    form: str, folder: str, tree: Path, bucket: Where, tmp_path: Path
) -> None:
    local = zipped(tree) if form == "zip" else tree.parent
    uri = upload(local, bucket(local.name)) if folder == "bucket" else str(local)
    if form == "tree" and folder == "disk":
        uri = str(tree)
    received: list[tuple[int, int]] = []
    root = stage(uri, tmp_path / "staged", lambda *message: received.append(message))
    assert files(root) == files(tree)
    assert len(load_tree(root).train) == 24
    assert received[-1] == (38, 38)


def test_a_staged_dataset_is_not_requested_again(tree: Path, bucket: Where, tmp_path: Path) -> None:
    root = stage(upload(zipped(tree), bucket("images.zip")), tmp_path / "staged")
    assert stage("gs://nowhere/at-all", root) == root


def test_two_machines_give_a_file_the_same_time(tree: Path, bucket: Where, tmp_path: Path) -> None:
    for uri in (upload(zipped(tree), bucket("images.zip")), upload(tree, bucket("tree"))):
        times = []
        for name in ("one", "two"):
            root = stage(uri, tmp_path / name)
            times.append([(root / image).stat().st_mtime_ns for image in sorted(files(root))])
            shutil.rmtree(root)
        assert times[0] == times[1]


def test_staging_a_zip_archive_continues_with_the_missing_files_after_a_kill(
    tree: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, root = zipped(tree), tmp_path / "staged"
    uri = upload(packed, bucket("images.zip"))
    with stager("killed", uri, root) as killed:
        pass
    assert killed.returncode == -signal.SIGKILL
    before = {name: (root / name).stat().st_ino for name in files(root) if name in files(tree)}
    assert len(before) == 10
    monkeypatch.setattr(zip_reader, "BLOCK", 4096)
    monkeypatch.setattr(zip_reader, "PREFETCH_BLOCKS", 0)
    readers = noted_readers(monkeypatch)
    stage(uri, root)
    assert {name: (root / name).stat().st_ino for name in before} == before
    assert files(root) == files(tree)
    with zipfile.ZipFile(packed) as about:
        saved = sum(about.getinfo(f"{TREE}/{name}").compress_size for name in before)
    assert readers[0].bytes_requested <= packed.stat().st_size - saved + 4 * zip_reader.BLOCK


def test_staging_a_folder_continues_after_an_interruption(
    tree: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri, root, copied = upload(tree, bucket("tree")), tmp_path / "staged", list[str]()
    copy = staging.FolderSource.copy

    def cut(self: staging.FolderSource, name: str, target: Path) -> None:
        if len(copied) == 10:
            raise ConnectionError
        copied.append(name)
        copy(self, name, target)

    with monkeypatch.context() as first:
        first.setattr(staging.FolderSource, "parallel_files", 1)
        first.setattr(staging.FolderSource, "copy", cut)
        with pytest.raises(ConnectionError):
            stage(uri, root)
    assert not (root / STAGED_MARK).exists()
    monkeypatch.setattr(staging.FolderSource, "copy", lambda *how: (copied.append(how[1]), copy(*how))[1])
    stage(uri, root)
    assert sorted(copied) == sorted(files(tree))
    assert files(root) == files(tree)


def test_two_processes_on_a_machine_stage_once(tree: Path, bucket: Where, tmp_path: Path) -> None:
    uri, root = upload(zipped(tree), bucket("images.zip")), tmp_path / "staged"
    with stager("first", uri, root) as first:
        assert first.stdout
        assert first.stdout.readline() == "ten\n"
        with stager("second", uri, root) as second:
            output, _ = first.communicate("\n", timeout=60)
            also, _ = second.communicate(timeout=60)
    assert (output, also) == ("copied 38\n", "copied 0\n")


def test_two_machines_stage_independently(tree: Path, bucket: Where, tmp_path: Path) -> None:
    uri = upload(zipped(tree), bucket("images.zip"))
    roots = [stage(uri, staging_path(uri, tmp_path / name)) for name in ("one", "two")]
    assert roots[0].name == roots[1].name
    assert files(roots[0]) == files(roots[1]) == files(tree)


@pytest.mark.parametrize("name", ["../out", "/out", f"{TREE}/../../out", f"{TREE}\\..\\out", "C:/out", f"{TREE}//out"])
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str, tree: Path, tmp_path: Path) -> None:
    packed = zipped(tree)
    with zipfile.ZipFile(packed, "a") as target:
        info = zipfile.ZipInfo("x")
        info.filename = name
        target.writestr(info, b"out")
    with pytest.raises(InputError, match=r"images.zip: '.*out' could lead out of its folder; a name must be relative"):
        stage(str(packed), tmp_path / "staged" / "tree")
    assert [path.name for path in (tmp_path / "staged" / "tree").iterdir()] == [MARK]
    assert not list(tmp_path.rglob("out"))


def test_links_encrypted_and_repeated_members_are_refused(tree: Path, tmp_path: Path) -> None:
    link = zipfile.ZipInfo(f"{TREE}/train/link")
    link.external_attr = 0o120777 << 16
    packed = zipped(tree)
    with zipfile.ZipFile(packed, "a") as target:
        target.writestr(link, "/etc/passwd")
    with pytest.raises(
        InputError, match=r"'CheXpert-v1.0-small/train/link' is a link or a device; pack only plain files"
    ):
        stage(str(packed), tmp_path / "staged")
    with zipfile.ZipFile(zipped(tree), "a") as target, pytest.warns(UserWarning, match="Duplicate"):
        target.writestr(f"{TREE}/train.csv", b"another")
    with pytest.raises(
        InputError, match=r"'CheXpert-v1.0-small/train.csv' is in the archive twice; pack every file once"
    ):
        stage(str(packed), tmp_path / "staged")
    locked = bytearray(zipped(tree).read_bytes())
    entry = locked.rindex(b"PK\x01\x02")
    locked[entry + 8] |= 1
    packed.write_bytes(locked)
    with pytest.raises(InputError, match=r"valid.csv' is encrypted; pack the files without a password"):
        stage(str(packed), tmp_path / "staged")


def test_a_zip_that_python_cannot_unpack_is_refused_before_anything_is_fetched(tree: Path, tmp_path: Path) -> None:
    packed = zipped(tree)
    content = bytearray(packed.read_bytes())
    start = content.rindex(b"PK\x01\x02")  # the directory's entry of the last member
    content[start + 10 : start + 12] = (9).to_bytes(2, "little")
    packed.write_bytes(content)
    message = r"is compressed with Deflate64, as Windows does above 2 GB, that Python cannot unpack \(method 9\);"
    with pytest.raises(InputError, match=message):
        stage(str(packed), tmp_path / "staged")
    assert [path.name for path in (tmp_path / "staged").iterdir()] == [MARK]


def test_a_file_that_is_also_a_folder_is_refused(tree: Path, tmp_path: Path) -> None:
    packed = zipped(tree, {f"{TREE}/train": b"a file"})
    with pytest.raises(
        InputError, match=r"'CheXpert-v1.0-small/train' is both a file and a folder; remove one of them"
    ):
        stage(str(packed), tmp_path / "staged")


def test_a_damaged_member_is_read_again_and_then_refused(
    tree: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zipped(tree)
    uri, fetch, times = upload(packed, bucket("images.zip")), zip_reader.BlockReader._fetch, [0]

    def damaged(self: zip_reader.BlockReader, number: int) -> bytes:
        content = bytearray(fetch(self, number))
        if number == 2 and times[0] > 0:
            times[0] -= 1
            content[: 2**11] = bytes(2**11)
        return bytes(content)

    monkeypatch.setattr(zip_reader, "BLOCK", 4096)
    monkeypatch.setattr(zip_reader, "PREFETCH_BLOCKS", 0)
    monkeypatch.setattr(zip_reader.BlockReader, "_fetch", damaged)
    times[0] = 1
    assert files(stage(uri, tmp_path / "once")) == files(tree)
    assert times == [0]
    times[0] = 100
    with pytest.raises(
        InputError, match=r"images.zip: 'CheXpert-v1.0-small/train/\S+' is damaged \(.+\); upload the archive"
    ):
        stage(uri, tmp_path / "always")
    assert not (tmp_path / "always" / STAGED_MARK).exists()


def test_a_file_that_is_not_a_whole_archive_is_refused(tree: Path, tmp_path: Path) -> None:
    packed = zipped(tree)
    packed.write_bytes(packed.read_bytes()[:-3000])
    with pytest.raises(
        InputError, match=r"images.zip is not a whole zip archive \(File is not a zip file\); upload it again"
    ):
        stage(str(packed), tmp_path / "staged")


def test_a_dataset_larger_than_the_disk_is_refused_with_the_sizes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zipped(tree, {f"{TREE}/zeros": bytes(10**8)})  # 100 kB in the archive
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: SimpleNamespace(free=10**8))
    sentence = (
        r"39 of 39 files still have to be staged. They take 100,\d\d\d,\d\d\d bytes and \S+ has 100,000,000 free; free"
    )
    with pytest.raises(InputError, match=sentence):
        stage(str(packed), tmp_path / "staged")


def test_staging_raises_when_the_disk_fills_up_and_continues_later(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zipped(tree)
    with monkeypatch.context() as full:
        full.setattr(
            os, "utime", lambda *how, ns: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device"))
        )
        with pytest.raises(OSError, match="No space left"):
            stage(str(packed), tmp_path / "staged")
    assert files(stage(str(packed), tmp_path / "staged")) == files(tree)


def test_a_folder_without_tables_or_with_several_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"exactly one folder must hold train.csv and valid.csv, and no folder does; give"
    ):
        stage(str(tree / "train"), tmp_path / "staged")
    shutil.copytree(tree, tree.parent / "copies" / "a")
    shutil.copytree(tree, tree.parent / "copies" / "b")
    with pytest.raises(InputError, match=r"and 2 folders do: a, b; give the dataset's folder, or a zip archive"):
        stage(str(tree.parent / "copies"), tmp_path / "staged")


def test_the_staging_folder_depends_on_the_name_and_the_whole_uri() -> None:
    one, other = (
        staging_path("gs://a/CheXpert small.zip?x=y", Path("/s")),
        staging_path("gs://b/CheXpert small.zip", Path("/s")),
    )
    assert one == staging_path("gs://a/CheXpert small.zip", Path("/s")) != other
    assert one.name.startswith("CheXpert_small-")
    assert staging_path("gs://a/x.zip").is_absolute()


@pytest.mark.parametrize("staging", [stage, stage_tables, stage_list])
def test_a_staging_folder_that_cannot_be_written_is_reported(
    staging: Callable[[str, Path], Path], tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        InputError, match=r"file/tree cannot be written \(Not a directory\); give a folder on another disk: a"
    ):
        staging(str(tree), tmp_path / "file" / "tree")


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_the_command_prints_where_the_dataset_is(
    form: str, tree: Path, bucket: Where, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    local = zipped(tree) if form == "zip" else tree
    for remote in (upload(local, bucket(local.name)), os.path.relpath(local)):
        assert main(["stage", remote, "--to", str(tmp_path / "disk")]) == 0
        root = Path(capsys.readouterr().out.strip())
        assert root.parent == tmp_path / "disk"
        assert files(root) == files(tree)
    assert main(["stage", bucket("nothing"), "--to", str(tmp_path / "disk")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("chex-search stage: gs://")
    assert message.endswith("/nothing: nothing exists there; correct the address\n")


def test_only_the_tables_are_staged_if_no_image_is_opened(tree: Path, tmp_path: Path) -> None:
    root = stage_tables(str(zipped(tree)), tmp_path / "staged")
    assert sorted(path.name for path in root.iterdir()) == [MARK, "train.csv", "valid.csv"]
    assert len(load_tree(root).paths) == len(load_tree(tree).paths)
    shutil.rmtree(tree)
    (tmp_path / f"{TREE}.zip").unlink(missing_ok=True)
    assert stage_tables(str(tree), root) == root


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_the_list_of_files_equals_the_staged_files(form: str, tree: Path, bucket: Where, tmp_path: Path) -> None:
    uri = upload(zipped(tree), bucket("images.zip")) if form == "zip" else upload(tree, bucket("tree"))
    root = stage_list(uri, tmp_path / "staged")
    assert sorted(path.name for path in root.iterdir()) == [MARK, FILE_LIST, "train.csv", "valid.csv"]
    about = list_dataset(root)
    assert about is not None
    stage(uri, root)
    assert list_dataset(root) is None
    found = {name: (root / name).stat() for name in files(root)}
    assert about == {name: (stat.st_size, stat.st_mtime_ns) for name, stat in found.items()}


def test_a_staged_or_listed_dataset_makes_no_request(tree: Path, tmp_path: Path) -> None:
    for root in (stage(str(tree), tmp_path / "whole"), stage_list(str(tree), tmp_path / "listed")):
        assert stage_list("gs://nowhere/at-all", root) == root
    assert not (tmp_path / "whole" / FILE_LIST).exists()


def test_staging_files_are_not_files_of_the_dataset(tree: Path, tmp_path: Path) -> None:
    for note in (STAGED_MARK, FILE_LIST):
        (tree / note).write_text("{}")
    for source in (str(zipped(tree)), str(tree)):
        about = list_dataset(stage_list(source, staging_path(source, tmp_path)))
        assert about is not None
        assert len(about) == 38


FILMS = ["valid/patient00101/study1/view1_frontal.jpg", "train/patient00007/study1/view2_frontal.jpg"]


@pytest.mark.parametrize("form", ["zip", "tree"])
def test_a_few_images_are_fetched_one_by_one_and_kept_by_a_complete_staging(
    form: str, tree: Path, bucket: Where, tmp_path: Path
) -> None:
    local = zipped(tree) if form == "zip" else tree
    uri, root = upload(local, bucket(local.name)), tmp_path / "staged"
    assert stage_some(uri, root, FILMS) == root
    assert files(root) == {name: (tree / name).read_bytes() for name in FILMS}
    assert stage_some("gs://nowhere/at-all", root, FILMS) == root
    before = {name: (root / name).stat().st_ino for name in FILMS}
    stage(uri, root)
    assert {name: (root / name).stat().st_ino for name in FILMS} == before
    with pytest.raises(InputError, match=r"'train/none.jpg' does not exist; upload it, or an archive"):
        stage_some(uri, root, ["train/none.jpg"])


def test_little_more_than_the_directory_and_the_images_is_read_of_a_zip_archive(
    tree: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = zipped(tree, {f"{TREE}/{number}": os.urandom(10**6) for number in range(3)})
    uri = upload(packed, bucket("images.zip"))
    monkeypatch.setattr(zip_reader, "SMALL_BLOCK", 4096)
    readers = noted_readers(monkeypatch)
    stage_some(uri, tmp_path / "staged", FILMS)
    assert readers[0].bytes_requested < 10**5


def test_not_all_files_are_listed_if_the_top_folder_has_the_tables(
    tree: Path, bucket: Where, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    above = upload(tree, bucket(f"above/{TREE}")).replace(f"/{TREE}", "")
    assert files(stage_some(above, tmp_path / "one", FILMS)).keys() == {*FILMS}
    monkeypatch.delattr("search.storage.remote_path.RemotePath.entries")
    assert files(stage_some(bucket(f"above/{TREE}"), tmp_path / "two", FILMS)).keys() == {*FILMS}


def test_a_dataset_is_not_staged_into_a_foreign_folder(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".notes.part").write_text("mine")
    for way in (stage, stage_tables, stage_list):
        with pytest.raises(InputError, match=r"mine: holds files that this program did not write"):
            way(str(tree), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == [".notes.part"]
