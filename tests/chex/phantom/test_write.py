import csv
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from pydantic import ValidationError

from chex.errors import InputError
from chex.phantom import write as phantom
from chex.phantom.write import PhantomConfig, write_phantom
from chex.runtime.output_folder import MARK
from chex.schema.labels import FIVE, OBSERVATIONS

SMALL = PhantomConfig(train=40, valid=20, seed=5)
HEADER = ["Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *OBSERVATIONS]

PUBLISHED = {
    "No Finding": (22_381, 0, 0, 16_974, 0, 0),
    "Enlarged Cardiomediastinum": (10_798, 12_403, 21_638, 9_187, 10_286, 15_345),
    "Cardiomegaly": (27_000, 8_087, 11_116, 23_385, 6_707, 7_869),
    "Lung Opacity": (105_581, 5_598, 6_599, 94_211, 4_431, 5_051),
    "Lung Lesion": (9_186, 1_488, 1_270, 7_040, 1_108, 776),
    "Edema": (52_246, 12_984, 20_726, 49_675, 11_818, 15_915),
    "Consolidation": (14_783, 27_742, 28_097, 12_983, 24_381, 19_608),
    "Pneumonia": (6_039, 18_770, 2_799, 4_675, 15_981, 1_875),
    "Atelectasis": (33_376, 33_739, 1_328, 29_720, 29_863, 1_025),
    "Pneumothorax": (19_448, 3_145, 56_341, 17_693, 2_708, 47_823),
    "Pleural Effusion": (86_187, 11_628, 35_396, 76_899, 9_578, 25_299),
    "Pleural Other": (3_523, 2_653, 316, 2_505, 1_812, 209),
    "Fracture": (9_040, 642, 2_512, 7_436, 499, 1_993),
    "Support Devices": (116_001, 1_079, 6_137, 107_170, 915, 5_340),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("phantom"), SMALL)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantom(tmp_path_factory.mktemp("full"), PhantomConfig(table_only=True))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as lines:
        return list(csv.DictReader(lines))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_tree_has_the_datasets_header_and_cell_texts(tree: Path) -> None:
    for name, cells in (("train", {"1.0", "0.0", "-1.0", ""}), ("valid", {"1.0", "0.0"})):
        table = rows(tree / f"{name}.csv")
        assert list(table[0]) == HEADER
        assert {row[observation] for row in table for observation in OBSERVATIONS} <= cells
        assert all(row["Path"].startswith(f"CheXpert-v1.0-small/{name}/patient") for row in table)
        assert all((row["AP/PA"] == "") == (row["Frontal/Lateral"] == "Lateral") for row in table)
        assert all(row["Age"].isdigit() for row in table)


def test_the_images_are_the_csv_s_paths_and_nothing_else(tree: Path) -> None:
    listed = [row["Path"] for name in ("train", "valid") for row in rows(tree / f"{name}.csv")]
    assert len(listed) == 60
    assert {str(path.relative_to(tree.parent)) for path in tree.rglob("*.jpg")} == set(listed)
    with Image.open(tree.parent / listed[0]) as image:
        assert (image.format, image.mode, min(image.size)) == ("JPEG", "L", 320)


def test_no_patient_is_in_both_splits(tree: Path) -> None:
    train, valid = ({row["Path"].split("/")[2] for row in rows(tree / f"{name}.csv")} for name in ("train", "valid"))
    assert not train & valid
    assert min(train) == "patient00001"
    assert min(valid) == "patient64541"


def test_truth_covers_both_splits_and_is_what_valid_says(tree: Path) -> None:
    truth = pd.read_csv(tree.parent / "truth.csv")
    valid = pd.read_csv(tree / "valid.csv")
    assert truth["Path"].to_list() == [*pd.read_csv(tree / "train.csv")["Path"], *valid["Path"]]
    assert (truth[list(FIVE)].tail(20).to_numpy() == valid[list(FIVE)].to_numpy()).all()
    for name in FIVE:
        assert ((truth[f"{name} strength"] > 0) == (truth[name] == 1)).all()


def test_the_same_config_gives_the_same_bytes_whatever_the_number_of_workers(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(phantom, "usable_cpus", lambda: 1)
    write_phantom(tmp_path, SMALL)
    assert contents(tmp_path) == contents(tree.parent)


def test_another_seed_gives_another_tree(tree: Path, tmp_path: Path) -> None:
    other = write_phantom(tmp_path, PhantomConfig(train=20, valid=20, seed=6))
    assert (other / "valid.csv").read_bytes() != (tree / "valid.csv").read_bytes()


def test_progress_is_called_after_every_image(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_phantom(tmp_path, PhantomConfig(train=20, valid=20), lambda done, total: calls.append((done, total)))
    assert calls == [(done, 40) for done in range(1, 41)]


def test_an_existing_tree_is_refused_and_not_changed(tree: Path) -> None:
    before = contents(tree.parent)
    with pytest.raises(InputError, match=r"CheXpert-v1\.0-small already exists; choose another folder"):
        write_phantom(tree.parent, SMALL)
    assert contents(tree.parent) == before


def test_no_file_remains_when_drawing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(phantom, "draw_radiograph", fail)
    with pytest.raises(OSError, match="disk full"):
        write_phantom(tmp_path, SMALL)
    assert [path.name for path in tmp_path.iterdir()] == [MARK]


@pytest.mark.parametrize(
    "field",
    [
        {"train": 5},
        {"valid": 0},
        {"train": 223_415},
        {"seed": -1},
        {"films": 100},
        {"positive_given_uncertain": {"Edem": 0.5}},
        {"positive_given_uncertain": {"Fracture": 0.5}},
        {"positive_given_uncertain": {"Edema": 1.2}},
        {"positive_given_uncertain": {"Edema": float("nan")}},
    ],
)
def test_an_impossible_config_is_refused(field: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PhantomConfig.model_validate(field)


def test_omitted_shares_keep_their_defaults() -> None:
    shares = PhantomConfig(positive_given_uncertain={"Edema": 0.9}).positive_given_uncertain
    assert (shares["Edema"], shares["Atelectasis"]) == (0.9, 0.54)


@pytest.mark.slow
def test_table_only_has_every_published_label_count(full: Path) -> None:
    train = pd.read_csv(full / "train.csv")
    frontal = train["Frontal/Lateral"] == "Frontal"
    for name, published in PUBLISHED.items():
        counted = [(labels == code).sum() for labels in (train[name], train[name][frontal]) for code in (1, -1, 0)]
        assert counted == list(published), name


@pytest.mark.slow
def test_table_only_has_the_published_patients_studies_and_views(full: Path) -> None:
    train = pd.read_csv(full / "train.csv", keep_default_na=False, usecols=[*HEADER[:5]])
    parts = train["Path"].str.split("/", expand=True)
    studies = parts[2] + "/" + parts[3]
    assert (len(train), parts[2].nunique(), train["Path"].nunique()) == (223_414, 64_540, 223_414)
    assert studies.value_counts().value_counts().to_dict() == {1: 153_647, 2: 32_215, 3: 1_779}
    assert train["AP/PA"].value_counts().to_dict() == {"AP": 161_590, "": 32_387, "PA": 29_420, "LL": 16, "RL": 1}
    assert train["Sex"].value_counts().to_dict() == {"Male": 132_636, "Female": 90_777, "Unknown": 1}
    assert parts[4].value_counts().to_dict() == {
        "view1_frontal.jpg": 187_625,
        "view2_lateral.jpg": 30_633,
        "view2_frontal.jpg": 3_361,
        "view3_lateral.jpg": 1_738,
        "view3_frontal.jpg": 41,
        "view1_lateral.jpg": 16,
    }
    assert not train["Age"].between(1, 17).any()


@pytest.mark.slow
def test_table_only_writes_no_images(full: Path) -> None:
    assert sorted(path.name for path in full.rglob("*")) == ["train.csv", "valid.csv"]
    assert len(pd.read_csv(full / "valid.csv")) == 234
