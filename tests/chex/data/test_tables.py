from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chex.data.tables import load_tree
from chex.errors import InputError
from chex.schema.labels import BLANK, NEGATIVE, POSITIVE, UNCERTAIN, label_columns

CARDIOMEGALY = label_columns(["Cardiomegaly"])[0]


def edit(csv: Path, row: int, column: str, value: str) -> None:
    table = pd.read_csv(csv, dtype=str, keep_default_na=False)
    table.loc[row, column] = value
    table.to_csv(csv, index=False)


def test_a_tree_has_paths_patients_and_labels_row_by_row(tree: Path) -> None:
    loaded = load_tree(tree)
    assert len(loaded.train) == 24
    assert len(loaded.valid) == 12
    assert loaded.train.paths[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert loaded.train.patients[2] == "patient00002"
    np.testing.assert_array_equal(
        loaded.train.labels[[0, 2, 8], CARDIOMEGALY], [POSITIVE, NEGATIVE, UNCERTAIN], strict=False
    )
    assert (loaded.train.labels[:, 0] == BLANK).all()
    assert list(loaded.paths[[0, -1]]) == [loaded.train.paths[0], loaded.valid.paths[-1]]


@pytest.mark.parametrize("cell", ["1", "1.0", " 1.0 "])
def test_a_label_can_be_written_with_or_without_decimals(tree: Path, cell: str) -> None:
    edit(tree / "train.csv", 2, "Cardiomegaly", cell)
    assert load_tree(tree).train.labels[2, CARDIOMEGALY] == POSITIVE


@pytest.mark.parametrize(
    ("split", "column", "value", "message"),
    [
        ("train", "Edema", "2.0", r"train.csv row 5, column 'Edema': label '2.0' is not 1, 0, -1 or blank \(1 such"),
        ("train", "Edema", "yes", r"label 'yes' is not 1, 0, -1 or blank"),
        ("train", "Path", "x/../../etc/passwd", r"row 5: Path 'x/../../etc/passwd' could leave the data root"),
        ("train", "Path", "/train/patient1/study1/a.jpg", "could leave the data root"),
        ("train", "Path", "C:\\patient1\\study1\\a.jpg", "could leave the data root"),
        ("train", "Path", "a/b.jpg", "row 5: Path 'a/b.jpg' is not of the form CheXpert-v1.0-small/train/patient00001"),
        ("train", "Path", "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg", "1 rows repeat a Path"),
        (
            "valid",
            "Path",
            "CheXpert-v1.0-small/valid/patient00004/study1/v.jpg",
            "1 patients are in both train.csv and",
        ),
    ],
)
def test_a_bad_cell_is_named_with_its_row_and_the_rule(
    tree: Path, split: str, column: str, value: str, message: str
) -> None:
    edit(tree / f"{split}.csv", 3, column, value)
    with pytest.raises(InputError, match=message):
        load_tree(tree)


def test_the_error_about_a_missing_root_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data.root: .*nowhere is not a folder; give the folder that holds train.csv"):
        load_tree(tmp_path / "nowhere")


def test_the_error_about_a_folder_above_a_tree_suggests_the_tree(tree: Path) -> None:
    with pytest.raises(InputError, match=r"has no train.csv; did you mean --data .*CheXpert-v1.0-small\?"):
        load_tree(tree.parent)


def test_a_missing_csv_is_named(tree: Path) -> None:
    (tree / "valid.csv").unlink()
    with pytest.raises(InputError, match=r"has no valid.csv; give the folder that holds both CSVs with --data"):
        load_tree(tree)


def test_missing_columns_are_all_named(tree: Path) -> None:
    table = pd.read_csv(tree / "train.csv").drop(columns=["Sex", "Edema"])
    table.to_csv(tree / "train.csv", index=False)
    with pytest.raises(InputError, match=r"train.csv lacks the columns Sex, Edema; its header must be CheXpert's"):
        load_tree(tree)


@pytest.mark.parametrize("content", ["", 'a,b\n1,2,3\n"'])
def test_a_file_that_is_not_a_csv_is_refused(tree: Path, content: str) -> None:
    (tree / "train.csv").write_text(content)
    with pytest.raises(InputError, match=r"train.csv cannot be read as a CSV"):
        load_tree(tree)


def test_a_csv_without_rows_is_refused(tree: Path) -> None:
    table = pd.read_csv(tree / "valid.csv")
    table.head(0).to_csv(tree / "valid.csv", index=False)
    with pytest.raises(InputError, match=r"valid.csv has a header and no rows"):
        load_tree(tree)


def test_a_process_reads_a_tree_once_until_one_of_its_tables_changes(tree: Path) -> None:
    loaded = load_tree(tree)
    assert load_tree(tree) is loaded
    for split in ("train", "valid"):
        before = load_tree(tree)
        edit(tree / f"{split}.csv", 0, "Edema", "-1.0")
        assert getattr(load_tree(tree), split).labels[0, label_columns(["Edema"])[0]] == UNCERTAIN
        assert load_tree(tree) is not before


def test_a_table_that_becomes_invalid_is_not_served_from_the_cache(tree: Path) -> None:
    load_tree(tree)
    edit(tree / "train.csv", 0, "Edema", "maybe")
    with pytest.raises(InputError, match="label 'maybe' is not 1, 0, -1 or blank"):
        load_tree(tree)


def test_loaded_arrays_are_read_only(tree: Path) -> None:
    with pytest.raises(ValueError, match="read-only"):
        load_tree(tree).train.labels[0, 0] = POSITIVE


def test_the_error_about_a_table_with_semicolons_says_so(tree: Path) -> None:
    table = pd.read_csv(tree / "train.csv", dtype=str)
    table.to_csv(tree / "train.csv", index=False, sep=";")
    with pytest.raises(
        InputError, match=r"train.csv is separated by semicolons; save it as a CSV with commas, and with"
    ):
        load_tree(tree)


def test_the_error_about_a_column_with_underscores_suggests_its_name(tree: Path) -> None:
    table = pd.read_csv(tree / "train.csv", dtype=str)
    table.columns = [name.replace(" ", "_") for name in table.columns]
    table.to_csv(tree / "train.csv", index=False)
    message = (
        r"has a column 'No_Finding': did you mean 'No Finding', and 6 more like it\? write the names of columns as"
    )
    with pytest.raises(InputError, match=message):
        load_tree(tree)


def test_the_error_about_a_table_of_another_labeler_lists_its_columns(tree: Path) -> None:
    (tree / "train.csv").rename(tree / "train_visualCheXbert.csv")
    with pytest.raises(
        InputError, match=r"has no train.csv; it has train_visualCheXbert.csv: to use one of them, copy"
    ):
        load_tree(tree)


def test_the_error_about_paths_without_the_name_of_the_dataset_says_so(tree: Path) -> None:
    table = pd.read_csv(tree / "train.csv", dtype=str)
    table["Path"] = table["Path"].str.split("/", n=1).str[1]
    table.to_csv(tree / "train.csv", index=False)
    message = (
        r"train.csv row 2: Path 'train/patient00001/study1/view1_frontal.jpg' does not begin with the name of the "
        r"dataset; put CheXpert-v1.0-small/ before each Path \(24 such rows\)"
    )
    with pytest.raises(InputError, match=message):
        load_tree(tree)
