import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from chex.cohort.patients_seen import (
    KEY,
    Provenance,
    Seen,
    check_unseen,
    dump_provenance,
    hashes,
    load_provenance,
    parse_provenance,
    seen_by_run,
    selected_on,
    trained_on,
)
from chex.config import RunConfig
from chex.data.data_config import DataConfig
from chex.data.tables import load_tree
from chex.errors import InputError
from chex.training.run_tables import load_run_tables, provenance

Make = Callable[..., RunConfig]
FIRST = [f"patient{number:05d}" for number in range(1, 9)]


def record_of(root: Path, trained: list[str] = FIRST, chosen: tuple[str, ...] = ("patient00101",)) -> Provenance:
    """Returns the record of weights that were trained on some patients of a tree."""
    return Provenance(
        (seen_by_run(load_tree(root), np.array(trained), np.array(chosen), DataConfig(holdout_fraction=0.25)),)
    )


def found(known: Provenance, root: Path) -> list[str]:
    tree = load_tree(root)
    return trained_on(known, tree, tree.train.patients)[0].tolist()


def edit(root: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    for name in ("train.csv", "valid.csv"):
        change(pd.read_csv(root / name, dtype=str, keep_default_na=False)).to_csv(root / name, index=False)
    return root


SAME: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "as it is": lambda table: table,
    "one image of each patient": lambda table: table[table["Path"].str.contains("view2")],
    "in another order": lambda table: table[::-1],
    "with other labels": lambda table: table.assign(Edema="1.0"),
    "in full resolution": lambda table: table.assign(Path=table["Path"].str.replace("v1.0-small", "v1.0")),
    "as PNG": lambda table: table.assign(Path=table["Path"].str.replace(".jpg", ".png")),
    "without sex and age": lambda table: table.assign(Sex="", Age=""),
    "with some ages corrected": lambda table: table.assign(Age=["61", *table["Age"][1:]]),
}


@pytest.mark.parametrize("case", SAME)
def test_patients_are_recognized_in_a_copy_or_a_part_of_the_tree(tree: Path, case: str) -> None:
    known = record_of(tree)
    assert found(known, edit(tree, SAME[case])) == FIRST


def test_patients_of_another_hospital_with_the_same_ids_are_not_recognized(tree: Path) -> None:
    known = record_of(tree)
    assert found(known, edit(tree, lambda table: table.assign(Age=[str(20 + row) for row in range(len(table))]))) == []


def test_patients_who_selected_a_report_are_recorded_apart_from_those_it_was_trained_on(tree: Path) -> None:
    known, loaded = record_of(tree), load_tree(tree)
    assert selected_on(known, loaded, loaded.valid.patients).tolist() == ["patient00101"]
    assert not len(trained_on(known, loaded, loaded.valid.patients)[0])


def test_a_run_records_the_patients_of_its_samples_and_with_a_table_all_that_may_be_trained_on(
    make_run: Make, tmp_path: Path
) -> None:
    few = make_run({"sampling.fraction": 0.25, "sampling.by": "patient", "data.holdout_fraction": 0.25})
    data = load_run_tables(few)
    (seen,) = provenance(few, data).seen
    sampled = np.unique(data.tree.train.patients[data.rows])
    assert seen.trained.tolist() == np.sort(hashes(sampled)).tolist()
    assert len(seen.trained) < len(np.unique(data.tree.train.patients[data.trainable]))
    assert seen.chosen.tolist() == np.sort(hashes(np.unique(data.scored.patients))).tolist()
    assert (seen.holdout_fraction, seen.split_seed) == (0.25, 0)
    taught = few.model_copy(update={"policy": make_run({"policy.default": "forest"}).policy})
    assert len(provenance(taught, data).seen[0].trained) == len(np.unique(data.tree.train.patients[data.trainable]))


def test_a_record_is_read_back_and_is_small_for_all_of_chexpert(tree: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = [np.unique(rng.integers(1 << 48, size=size, dtype=np.uint64)) for size in (64534, 200, 16384)]
    known = Provenance((Seen(*arrays, 1 << 44, 0.1, 7), *record_of(tree).seen), ("xrv.pth",))
    text = dump_provenance(known)
    assert len(text) < 2**20
    again = parse_provenance(tmp_path, {KEY: text})
    assert again is not None
    assert again.unknown == known.unknown
    for mine, theirs in zip(known.seen, again.seen, strict=True):
        for one, other in zip(vars(mine).values(), vars(theirs).values(), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("text", ["{", "[]", json.dumps({"trees": [{"trained": "??"}], "unknown": []})])
def test_a_record_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(
        InputError, match=r"its record of the patients that it has seen cannot be read \(.*; give weights"
    ):
        parse_provenance(tmp_path / "w", {KEY: text})


def test_a_run_inherits_the_record_of_its_first_weights(tree: Path, tmp_path: Path) -> None:
    known, arrays = record_of(tree), {"w": torch.zeros(1)}
    save_file(arrays, tmp_path / "ours.safetensors", {KEY: dump_provenance(known)})
    save_file(arrays, tmp_path / "theirs.safetensors")
    torch.save(arrays, tmp_path / "theirs.pth")
    assert load_provenance(None) == Provenance(())
    assert [each.trained.tolist() for each in load_provenance(tmp_path / "ours.safetensors").seen] == [
        known.seen[0].trained.tolist()
    ]
    for name in ("theirs.safetensors", "theirs.pth"):
        assert load_provenance(tmp_path / name) == Provenance((), (name,))


def test_a_run_is_not_scored_on_patients_that_its_first_weights_were_trained_on(
    make_run: Make, tree: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "first.safetensors"
    save_file({"w": torch.zeros(1)}, weights, {KEY: dump_provenance(record_of(tree))})
    message = rf"model.pretrained_file: {weights}: trained on \d of the 6 patients that data.holdout_fraction=0.5 of"
    with pytest.raises(InputError, match=message):
        load_run_tables(make_run({"model.pretrained_file": str(weights), "data.holdout_fraction": 0.5}))
    load_run_tables(make_run({"model.pretrained_file": str(weights)}))


def test_the_message_says_how_to_score_patients_that_were_not_seen(tree: Path) -> None:
    loaded, known = load_tree(tree), record_of(tree)
    with pytest.raises(InputError) as refused:
        check_unseen(known, loaded, loaded.train.patients, DataConfig(holdout_fraction=0.5), "w")
    assert str(refused.value) == (
        f"w: trained on 8 of the 12 patients that data.holdout_fraction=0.5 of {tree} scores, first patient00001; a "
        "score on them says nothing about new patients: score the patients that their training held out, with --set "
        "data.holdout_fraction=0.25 data.split_seed=0, or score valid.csv by leaving data.holdout_fraction out"
    )
