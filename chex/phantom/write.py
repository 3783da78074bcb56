"""A synthetic CheXpert tree with planted truth: CheXpert-v1.0-small's exact layout, films that show what labels say."""

import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
from PIL import Image
from pydantic import Field, field_validator

from chex.errors import InputError, one_of
from chex.labels import FIVE
from chex.output_folder import claim
from chex.phantom.counts import TRAIN, VALID
from chex.phantom.film import Film, draw_film
from chex.phantom.table import CSV_COLUMNS, TREE, TRUTH_COLUMNS, train_table, truth_table, valid_table
from chex.processors import usable_cpus
from chex.seeds import stream
from chex.strict import Strict

POSITIVE_GIVEN_UNCERTAIN = {
    "Atelectasis": 0.54,
    "Cardiomegaly": 0.40,
    "Consolidation": 0.03,
    "Edema": 0.52,
    "Pleural Effusion": 0.29,
}
"""Share of the labeler's uncertain studies that radiologists call positive, in CheXpert's 500 test studies."""

JPEG_QUALITY = 85


class PhantomConfig(Strict):
    """What a phantom tree holds. One config always gives the same bytes."""

    train: int = Field(1000, ge=20, le=TRAIN.images)
    """Images in train.csv."""
    valid: int = Field(VALID.images, ge=20, le=20_000)
    """Images in valid.csv."""
    seed: int = Field(0, ge=0)
    positive_given_uncertain: dict[str, float] = Field(default_factory=lambda: dict(POSITIVE_GIVEN_UNCERTAIN))
    """How often an uncertain label of a scored observation is truly positive, 0..1; one left out keeps its default."""
    table_only: bool = False
    """No films, and CheXpert's full tables: 223,414 train rows and 234 valid rows with the published counts."""

    @field_validator("positive_given_uncertain")
    @classmethod
    def _known_shares(cls, shares: dict[str, float]) -> dict[str, float]:
        for name, share in shares.items():
            if name not in FIVE:
                raise ValueError(f"{name!r} is not a scored observation; {one_of(name, FIVE)}")
            if not 0 <= share <= 1:
                raise ValueError(f"{name}: {share} is not a share; give a number from 0 to 1")
        return POSITIVE_GIVEN_UNCERTAIN | shares


def write_phantom(out: Path, config: PhantomConfig, progress: Callable[[int, int], None] | None = None) -> Path:
    """Writes `out/CheXpert-v1.0-small` (train.csv, valid.csv, films) and `out/truth.csv`; the tree's root comes back.

    truth.csv has, per image of both splits, the truth of each scored observation (0 or 1) and its sign's strength
    (0..1). `progress(films written, films in all)` is called from this thread as films are written. The tree appears
    whole or not at all. Raises InputError if the tree is already there, or `out`
    may not be used (see `check_claim`).
    """
    root = out / TREE
    if root.exists():
        raise InputError(f"{root} already exists; choose another folder for the phantom, or delete it first")
    claim(out, "phantom", option="OUT")
    with tempfile.TemporaryDirectory(dir=out, prefix=".phantom-") as scratch:
        table = _write_tables(Path(scratch), config)
        if not config.table_only:
            _write_films(Path(scratch), table, config.seed, progress)
        (Path(scratch) / "truth.csv").replace(out / "truth.csv")
        (Path(scratch) / TREE).rename(root)
    return root


def is_phantom(root: Path) -> bool:
    """Whether a truth.csv with a phantom's columns lies beside the tree `root`, as `write_phantom` leaves it."""
    path = root.parent / "truth.csv"
    return path.is_file() and tuple(pd.read_csv(path, nrows=0).columns) == TRUTH_COLUMNS


def phantom_tables(config: PhantomConfig) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The train and valid tables of a phantom, with the columns told in `train_table`."""
    train, valid = (TRAIN.images, VALID.images) if config.table_only else (config.train, config.valid)
    rngs = [stream(config.seed, f"phantom {split}") for split in ("train", "valid")]
    shares = config.positive_given_uncertain
    return train_table(train, shares, rngs[0]), valid_table(valid, shares, rngs[1])


def _write_tables(folder: Path, config: PhantomConfig) -> pd.DataFrame:
    """Writes the three CSVs; both splits' tables come back as one, `study` counted on through valid."""
    train, valid = phantom_tables(config)
    (folder / TREE).mkdir()
    for name, table in (("train", train), ("valid", valid)):
        table[list(CSV_COLUMNS)].to_csv(folder / TREE / f"{name}.csv", index=False)
    valid = valid.assign(study=valid["study"] + train["study"].max() + 1)
    table = pd.concat([train, valid], ignore_index=True)
    truth_table(table).to_csv(folder / "truth.csv", index=False)
    return table


def _write_films(folder: Path, table: pd.DataFrame, seed: int, progress: Callable[[int, int], None] | None) -> None:
    films, studies, paths = _films(table), table["study"].tolist(), [folder / path for path in table["Path"]]
    for study_folder in {path.parent for path in paths}:
        study_folder.mkdir(parents=True, exist_ok=True)

    def write(index: int) -> None:
        study, noise = stream(seed, "phantom study", studies[index]), stream(seed, "phantom film", index)
        Image.fromarray(draw_film(films[index], study, noise)).save(paths[index], quality=JPEG_QUALITY)

    with ThreadPoolExecutor(usable_cpus()) as pool:
        for done, _ in enumerate(pool.map(write, range(len(films))), start=1):
            if progress is not None:
                progress(done, len(films))


def _films(table: pd.DataFrame) -> list[Film]:
    strength, mimic = (
        [dict(zip(FIVE, row, strict=True)) for row in table[[f"{name} {kind}" for name in FIVE]].to_numpy().tolist()]
        for kind in ("strength", "mimic")
    )
    devices = (table["Support Devices"] == 1).tolist()
    return [Film(*row) for row in zip(table["AP/PA"], table["Sex"], strength, mimic, devices, strict=True)]
