"""Writes a synthetic CheXpert tree and its true labels, in the exact layout of CheXpert-v1.0-small."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from pydantic import Field, field_validator

from chex.errors import InputError, suggest
from chex.phantom.published_counts import TRAIN, VALID
from chex.phantom.radiograph import Radiograph, draw_radiograph
from chex.phantom.table import CSV_COLUMNS, TREE, TRUTH_COLUMNS, train_table, truth_table, valid_table
from chex.runtime.cpu_count import usable_cpus
from chex.runtime.output_folder import claim
from chex.runtime.rng import rng_for
from chex.schema.labels import FIVE
from chex.schema.strict_model import Strict

POSITIVE_GIVEN_UNCERTAIN = {
    "Atelectasis": 0.54,
    "Cardiomegaly": 0.40,
    "Consolidation": 0.03,
    "Edema": 0.52,
    "Pleural Effusion": 0.29,
}
"""Share of the labeler's uncertain studies that radiologists labelled positive, in CheXpert's 500 test studies."""

JPEG_QUALITY = 85


class PhantomConfig(Strict):
    """The content of a phantom tree. The same config always gives the same bytes."""

    train: int = Field(1000, ge=20, le=TRAIN.images)
    """Number of images in train.csv."""
    valid: int = Field(VALID.images, ge=20, le=20_000)
    """Number of images in valid.csv."""
    seed: int = Field(0, ge=0)
    positive_given_uncertain: dict[str, float] = Field(default_factory=lambda: dict(POSITIVE_GIVEN_UNCERTAIN))
    """Share of an observation's uncertain labels that are truly positive, 0..1; omitted ones keep their default."""
    table_only: bool = False
    """True writes no images, but CheXpert's full tables: 223,414 train and 234 valid rows with the published counts."""

    @field_validator("positive_given_uncertain")
    @classmethod
    def _known_shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if name not in FIVE:
                raise ValueError(f"{name!r} is not a scored observation; {suggest(name, FIVE)}")
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: {share} is not a share; give a number from 0 to 1")
        return POSITIVE_GIVEN_UNCERTAIN | shares


def write_phantom(out: Path, config: PhantomConfig, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes `out/CheXpert-v1.0-small` (train.csv, valid.csv, images) and `out/truth.csv`; returns the tree's root.

    truth.csv has, per image of both splits, the truth of each scored observation (0 or 1) and its sign's strength
    (0..1). `progress(images written, images in total)` is called from this thread. The tree is written completely or
    not at all. Raises InputError if the tree exists, or if `out` may not be used (see `check_claim`).
    """
    root = out / TREE
    if root.exists():
        raise InputError(f"{root} already exists; choose another folder for the phantom, or delete it first")
    claim(out, "phantom", option="OUT")
    with tempfile.TemporaryDirectory(dir=out, prefix=".phantom-") as scratch:
        table = _write_tables(Path(scratch), config)
        if not config.table_only:
            _write_images(Path(scratch), table, config.seed, progress)
        (Path(scratch) / "truth.csv").replace(out / "truth.csv")
        (Path(scratch) / TREE).rename(root)
    return root


def is_phantom(root: Path) -> bool:
    """Returns whether a truth.csv with the columns of `write_phantom` lies beside the tree `root`."""
    path = root.parent / "truth.csv"
    return path.is_file() and tuple(pd.read_csv(path, nrows=0).columns) == TRUTH_COLUMNS


def phantom_tables(config: PhantomConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Returns the train and valid tables of a phantom, with the columns of `train_table`."""
    train, valid = (TRAIN.images, VALID.images) if config.table_only else (config.train, config.valid)
    rngs = [rng_for(config.seed, f"phantom {split}") for split in ("train", "valid")]
    shares = config.positive_given_uncertain
    return train_table(train, shares, rngs[0]), valid_table(valid, shares, rngs[1])


def _write_tables(folder: Path, config: PhantomConfig) -> pd.DataFrame:
    """Writes the three CSVs; returns both tables as one, with the `study` numbers of valid after those of train."""
    train, valid = phantom_tables(config)
    (folder / TREE).mkdir()
    for name, table in (("train", train), ("valid", valid)):
        table[list(CSV_COLUMNS)].to_csv(folder / TREE / f"{name}.csv", index=False)
    valid = valid.assign(study=valid["study"] + train["study"].max() + 1)
    table = pd.concat([train, valid], ignore_index=True)
    truth_table(table).to_csv(folder / "truth.csv", index=False)
    return table


def _write_images(folder: Path, table: pd.DataFrame, seed: int, progress: Callable[[int, int], None] | None) -> None:
    radiographs, studies, paths = (
        _radiographs(table),
        table["study"].tolist(),
        [folder / path for path in table["Path"]],
    )
    for study_folder in {path.parent for path in paths}:
        study_folder.mkdir(parents=True, exist_ok=True)

    def write(index: int) -> None:
        study_rng, image_rng = rng_for(seed, "phantom study", studies[index]), rng_for(seed, "phantom film", index)
        Image.fromarray(draw_radiograph(radiographs[index], study_rng, image_rng)).save(
            paths[index], quality=JPEG_QUALITY
        )

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for done, _ in enumerate(pool.map(write, range(len(radiographs))), start=1):
            if progress is not None:
                progress(done, len(radiographs))


def _radiographs(table: pd.DataFrame) -> list[Radiograph]:
    strength, mimic = (
        [dict(zip(FIVE, row, strict=True)) for row in table[[f"{name} {kind}" for name in FIVE]].to_numpy().tolist()]
        for kind in ("strength", "mimic")
    )
    devices = (table["Support Devices"] == 1).tolist()
    return [Radiograph(*row) for row in zip(table["AP/PA"], table["Sex"], strength, mimic, devices, strict=True)]
