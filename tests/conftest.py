"""What many tests share: small trees of JPEGs, runs of seconds, a browser, clusters' files, an emulated bucket.

In the trees a bright square means Cardiomegaly.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # timm reads it when it is imported: no test waits for a network
os.environ["OMP_NUM_THREADS"] = "1"  # torch reads it when it is imported: pytest-xdist uses the other cores

import functools
import gc
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from alembic.config import Config as AlembicConfig
from alembic.script import ScriptDirectory
from hypothesis import settings
from PIL import Image
from xdist.scheduler import LoadScopeScheduling

from chex.config import RunConfig, apply_overrides, validate
from chex.data.tables import METADATA_COLUMNS
from chex.reporting import plot_style
from chex.schema.labels import OBSERVATIONS
from search.analysis import ensemble
from search.storage.uri import child_uri
from tests.browser import Browser

settings.register_profile("repeatable", derandomize=True, database=None, deadline=None)
settings.load_profile("repeatable")

# A shell starts background jobs with Ctrl-C ignored, and their children inherit it: tests that press Ctrl-C would wait.
signal.signal(signal.SIGINT, signal.default_int_handler)

HEADER = [*METADATA_COLUMNS, *OBSERVATIONS]
TREE = "CheXpert-v1.0-small"


@pytest.hookimpl(tryfirst=True)  # before pytest reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks tests with a browser as slow, and puts the longest tests first: with Ray, then the other slow ones."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("slow")
    items.sort(key=lambda item: [item.get_closest_marker(name) is None for name in ("ray", "slow")])


def pytest_collection_finish() -> None:
    """Takes what is loaded out of garbage collection, which runs after each training and took half a second there."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Gives garbage collection back what it needs at the end of the process."""
    gc.unfreeze()


class OneRayAtATime(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each worker of pytest-xdist whole files, and all files that start Ray to one worker.

    Two clusters that start at once on two cores may time out.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "ray" if "pytest.mark.ray" in (self.config.rootpath / file).read_text(encoding="utf-8") else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> OneRayAtATime:
    return OneRayAtATime(config, log)


@pytest.fixture(autouse=True, scope="session")
def quick_pictures_studies_and_files() -> Iterator[None]:
    """Draws charts with few pixels, reads Optuna's list of schema versions once, and does not wait for the disk."""
    read, folder_of = ScriptDirectory.from_config, "script_location"
    versions = functools.cache(lambda folder: read(AlembicConfig(config_args={folder_of: folder})))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        patch.setattr(plot_style, "DOTS_PER_INCH", 40)
        patch.setattr(ScriptDirectory, "from_config", lambda config: versions(config.get_main_option(folder_of)))
        yield


@pytest.fixture(scope="module")
def few_bags() -> Iterator[None]:
    """Lets the gain of an ensemble be estimated from 3 bags: half of the time that a page takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ensemble, "MIN_BAGS", 3)
        patch.setattr(ensemble, "MAX_BAGS", 3)
        yield


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a trial tells Tune, without Tune."""
    from ray import tune

    received: list[dict[str, Any]] = []
    monkeypatch.setattr(tune, "report", received.append)
    return received


def write_image(path: Path, positive: bool, seed: int) -> None:
    """Writes a noisy gray JPEG, with a bright square in it if `positive`."""
    pixels = np.random.default_rng(seed).integers(60, 120, size=(40, 48))
    if positive:
        pixels[10:30, 15:35] += 90
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.astype(np.uint8)).save(path, quality=90)


def write_split(root: Path, split: str, patients: range, uncertain_every: int = 0) -> pd.DataFrame:
    """Writes a split with two images of each patient, every other of whom has Cardiomegaly. Returns its table.

    The label of every `uncertain_every`-th patient is -1; 0 means of no patient.
    """
    rows = []
    for patient in patients:
        for view in (1, 2):
            path = f"{split}/patient{patient:05d}/study1/view{view}_frontal.jpg"
            positive = patient % 2 == 1
            write_image(root / path, positive, seed=10 * patient + view)
            label = "-1.0" if uncertain_every and patient % uncertain_every == 0 else f"{float(positive)}"
            cells = dict.fromkeys(OBSERVATIONS, "0.0" if split == "valid" else "") | {"Cardiomegaly": label}
            rows.append(
                {"Path": f"{TREE}/{path}", "Sex": "Female", "Age": 60, "Frontal/Lateral": "Frontal", "AP/PA": "AP"}
                | cells
            )
    table = pd.DataFrame(rows, columns=HEADER)
    table.to_csv(root / f"{split}.csv", index=False)
    return table


@pytest.fixture
def make_tree(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tree of `train` and `valid` patients with two images each and returns its root."""

    def make(train: int = 12, valid: int = 6, uncertain_every: int = 5) -> Path:
        root = tmp_path / TREE
        write_split(root, "train", range(1, train + 1), uncertain_every)
        write_split(root, "valid", range(101, 101 + valid))
        return root

    return make


@pytest.fixture
def tree(make_tree: Callable[..., Path]) -> Path:
    """A tree of 24 training images (4 uncertain) and 12 validation images."""
    return make_tree()


@pytest.fixture(scope="session")
def plain_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree without any fault: 24 patients a split with one image each, half healthy and half with all findings.

    Tests that damage the tree copy it first.
    """
    root = tmp_path_factory.mktemp("plain") / TREE
    for split, first in (("train", 1), ("valid", 101)):
        rows = []
        for patient in range(first, first + 24):
            path = f"{split}/patient{patient:05d}/study1/view1_frontal.jpg"
            write_image(root / path, positive=patient % 2 == 1, seed=patient)
            healthy = patient % 2 == 0
            cells = dict.fromkeys(OBSERVATIONS, f"{float(not healthy)}") | {"No Finding": f"{float(healthy)}"}
            sex = "Female" if patient % 3 else "Male"
            rows.append(
                {"Path": f"{TREE}/{path}", "Sex": sex, "Age": 30 + patient % 50, "Frontal/Lateral": "Frontal"}
                | {"AP/PA": "AP"}
                | cells
            )
        pd.DataFrame(rows, columns=HEADER).to_csv(root / f"{split}.csv", index=False)
    return root


@pytest.fixture
def make_run(tree: Path, tmp_path: Path) -> Callable[..., RunConfig]:
    """Makes the config of a run of seconds on `tree`, a tiny backbone at 32 px; `values` changes dotted paths of it."""

    def make(values: dict[str, Any] | None = None) -> RunConfig:
        small = {
            "data.root": str(tree),
            "image.size": 32,
            "image.cache_dir": str(tmp_path / "cache"),
            "model.backbone": "test_resnet",
            "batches.size": 8,
            "schedule.epochs": 2,
            "optimizer.lr": 3e-3,
            "device.kind": "cpu",
            "device.threads": 1,
        }
        return validate(RunConfig, apply_overrides({}, small | (values or {})), "test")

    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless Chromium; tests that need it are skipped on machines without one."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium to show pages in; `apt-get install chromium` installs it")
    made = Browser(program, tmp_path_factory.mktemp("browser"))
    yield made
    made.close()


GCP, LOCAL = Path("configs/cluster/gcp.yaml"), Path("configs/cluster/local.yaml")
PLACEHOLDERS = {
    "YOUR-PROJECT": "xray-42",
    "YOUR-BUCKET": "images",
    "YOUR-HEAD": "10.0.0.1",
    "YOUR-WORKER": "10.0.0.2",
    "YOUR-USER": "ada",
}
Content = dict[str, Any]
WriteCluster = Callable[..., Path]


def filled(path: Path) -> str:
    """Returns the text of a shipped YAML, its placeholders replaced by a project, addresses and a user."""
    text = path.read_text(encoding="utf-8")
    for placeholder, value in PLACEHOLDERS.items():
        text = text.replace(placeholder, value)
    return text


@pytest.fixture
def write_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteCluster:
    """Writes a YAML with a change to its content; the home directory holds Ray's token and an SSH key."""
    for secret in (".ray/auth_token", ".ssh/id_ed25519"):
        (tmp_path / secret).parent.mkdir()
        (tmp_path / secret).write_text("secret")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("search.cluster.cluster_config.PYTHON", "3.11")

    def make(text: str, change: Callable[[Content], object] = lambda content: None) -> Path:
        content = yaml.safe_load(text)
        change(content)
        path = tmp_path / "c.yaml"
        path.write_text(yaml.safe_dump(content, sort_keys=False))
        return path

    return make


@contextmanager
def emulated_bucket() -> Iterator[str]:
    """Gives the URI of a bucket in an emulated Google Cloud Storage on this machine."""
    with emulator("bucket_server.py") as port:
        yield f"gs://anonymous@images?scheme=http&endpoint_override=127.0.0.1%3A{port}"


@contextmanager
def emulator(program: str) -> Iterator[int]:
    """Gives the port of an emulated store, whose program lies beside this file."""
    command = [sys.executable, str(Path(__file__).with_name(program))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdin
        assert server.stdout
        port = int(server.stdout.readline())
        try:
            yield port
        finally:
            server.stdin.close()


@pytest.fixture(scope="session")
def whole_bucket() -> Iterator[str]:
    """The URI of an emulated bucket that all tests share."""
    with emulated_bucket() as uri:
        yield f"{uri}&retry_limit_seconds=1"


@pytest.fixture
def bucket(whole_bucket: str, request: pytest.FixtureRequest) -> Callable[[str], str]:
    """Returns the URI of a path in the emulated bucket, below a folder that only this test uses."""
    folder = f"{abs(hash(request.node.nodeid)):x}"
    return lambda path: child_uri(whole_bucket, f"{folder}/{path}")


def with_variants(text: str) -> str:
    """Returns the text of gcp.yaml with its commented node types enabled."""
    start, end = text.index("  # l4:"), text.index("  # To use only these")
    return text[:start] + re.sub(r"^  # ", "  ", text[start:end], flags=re.M) + text[end:]
