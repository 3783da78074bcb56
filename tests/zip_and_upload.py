"""Trees as zip archives, and files in buckets."""

import zipfile
from pathlib import Path

from search.storage.remote_path import connect
from tests.conftest import TREE


def zipped(tree: Path, extra: dict[str, bytes] | None = None) -> Path:
    """The archive of a tree, in the folder that the tree has its name from, with members of any name besides."""
    made = tree.parent / "images.zip"
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as target:
        for path in sorted(tree.rglob("*")):
            target.write(path, f"{TREE}/{path.relative_to(tree)}")
        for name, content in (extra or {}).items():
            target.writestr(name, content)
    return made


def upload(local: Path, uri: str) -> str:
    """Puts a file, or a folder's files, to `uri`."""
    place = connect(uri)
    for path in [local] if local.is_file() else sorted(local.rglob("*")):
        if path.is_file():
            (place if path == local else place / str(path.relative_to(local))).write(path.read_bytes())
    return uri
