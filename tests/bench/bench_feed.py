"""How long a node takes until a run has its images: from the images in a bucket, or from another node's decoded ones.

    python tests/bench/bench_feed.py TREE [--rounds 7] [--sizes 64 320] [--forms zip folder] [--copies 1]

The tree is in an emulated Google bucket on this machine, as a zip and as a folder, `--copies` times over under patients
of other numbers. Each leg begins with an empty disk and ends with the images of all images open:
  decode   the tree is staged and decoded, as where nothing is shared
  first    the same, and the decoded images are put into the bucket
  taken    the tables are staged, and the decoded images taken from the bucket
Legs take turns, round by round, in another order each time; a ratio is of two legs of one round. All see the same
images, which is checked. The emulator works on the same cores, answers without delay, and takes a second for any file
of more than a megabyte that is sent to it: of a real bucket these figures say which way it goes, and no more. Ends with
the same figures as a line of JSON.
"""

import argparse
import hashlib
import json
import re
import shutil
import statistics
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from chex.config import RunConfig, apply_overrides, validate
from chex.training.run_data import load_run_data
from chex.training.run_tables import load_run_tables
from search.storage.node_data import resolve_data
from search.storage.remote_path import connect
from search.storage.uri import child_uri
from tests.conftest import emulated_bucket

LEGS = ("decode", "first", "taken")
FORMS = ("zip", "folder")
AMONG = 100_000
"""Between the numbers of a patient in two copies of the tree."""


def copied(tree: Path, copies: int, target: Path) -> Path:
    """The tree `copies` times over, in one."""

    def numbered(text: str, copy: int) -> str:
        return re.sub(r"patient(\d+)", lambda found: f"patient{int(found[1]) + copy * AMONG:05d}", text)

    for split in ("train", "valid"):
        head, *rows = (tree / f"{split}.csv").read_text(encoding="utf-8").splitlines()
        target.mkdir(exist_ok=True)
        all_rows = [numbered(row, copy) for copy in range(copies) for row in rows]
        (target / f"{split}.csv").write_text("\n".join([head, *all_rows]) + "\n", encoding="utf-8")
        for film in sorted((tree / split).rglob("*.*")):
            for copy in range(copies):
                to = target / numbered(str(film.relative_to(tree)), copy)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(film, to)
    return target


def put(tree: Path, form: str, bucket: str, scratch: Path) -> str:
    """The URI of the tree in the bucket."""
    packed, uri = scratch / "images.zip", child_uri(bucket, f"images.{form}")
    files = [path for path in sorted(tree.rglob("*")) if path.is_file()]
    if form == "folder":
        place = connect(uri)
        for path in files:
            (place / str(path.relative_to(tree))).write(path.read_bytes())
        return uri
    with zipfile.ZipFile(packed, "w") as archive:
        for path in files:
            archive.write(path, str(path.relative_to(tree.parent)))
    connect(uri).write(packed.read_bytes())
    return uri


def opened(source: str, size: int, images: str | None, disk: Path) -> np.ndarray:
    """The images of all images, as a trial on a node with this disk opens them."""
    base = validate(RunConfig, apply_overrides({}, {"image.size": size, "image.cache_dir": str(disk)}), "bench_feed")
    own, opening = resolve_data(base.model_dump(mode="json"), source, images, disk)
    run = validate(RunConfig, apply_overrides(own, {"data.observations": ["Pneumonia"]}), "bench_feed")
    return load_run_data(run, load_run_tables(run), load_images=opening).images


def measured(source: str, size: int, caches: str, rounds: int, disk: Path) -> dict[str, list[float]]:
    """Seconds of each leg, round by round; `caches` is an empty place in the bucket."""
    seconds: dict[str, list[float]] = {name: [] for name in LEGS}
    seen = {digest(opened(source, size, child_uri(caches, "taken"), disk))}  # another node was here before
    shutil.rmtree(disk)
    for number in range(rounds):
        shared = {"decode": None, "first": child_uri(caches, f"{number}"), "taken": child_uri(caches, "taken")}
        for place in range(len(LEGS)):
            name = LEGS[(number + place) % len(LEGS)]
            started = time.perf_counter()
            images = opened(source, size, shared[name], disk)
            seconds[name].append(time.perf_counter() - started)
            seen.add(digest(images))
            films = len(list(disk.rglob("*.jpg")))
            assert films == (0 if name == "taken" else len(images)), f"{films} images on the disk after {name}"
            shutil.rmtree(disk)
    assert len(seen) == 1, "the legs see other images"
    return seconds


def digest(images: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(images)).hexdigest()


def main(tree: Path, rounds: int, sizes: list[int], forms: list[str], copies: int) -> None:
    table = Table("tree", "pixels", *(f"{name}, s" for name in LEGS), "decode / taken", "first / decode")
    figures = []
    with tempfile.TemporaryDirectory() as own, emulated_bucket() as bucket:
        scratch = Path(own)
        films = copied(tree, copies, scratch / tree.name)
        for form in forms:
            source = put(films, form, bucket, scratch)
            for size in sizes:
                seconds = measured(source, size, child_uri(bucket, f"caches/{form}{size}"), rounds, scratch / "disk")
                ratios = {
                    "decode / taken": compared(seconds["decode"], seconds["taken"]),
                    "first / decode": compared(seconds["first"], seconds["decode"]),
                }
                medians = {name: statistics.median(took) for name, took in seconds.items()}
                figures.append({"tree": form, "pixels": size, "seconds": seconds, "ratios": ratios})
                told = [f"{low:.2f} to {high:.2f}, median {middle:.2f}" for low, middle, high in ratios.values()]
                table.add_row(form, str(size), *(f"{took:.2f}" for took in medians.values()), *told)
    Console(width=140).print(table)
    print(json.dumps({"copies": copies, "phases": rounds, "figures": figures}))


def compared(one: list[float], other: list[float]) -> list[float]:
    """The least ratio of a round, the median and the greatest."""
    found = sorted(a / b for a, b in zip(one, other, strict=True))
    return [found[0], statistics.median(found), found[-1]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("tree", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 320])
    parser.add_argument("--forms", choices=FORMS, nargs="+", default=FORMS)
    parser.add_argument("--copies", type=int, default=1)
    main(**vars(parser.parse_args()))
