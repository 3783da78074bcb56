from pathlib import Path
from typing import Any

import pytest
import yaml

from chex.config import dump, validated
from chex.errors import InputError
from search.search_config import SearchConfig, load_search, search_name

SEARCHES = sorted(Path("configs/search").glob("*.yaml"))


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


SMALL: dict[str, Any] = {"base": {"seed": 1}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_every_search_file_of_the_project_loads_and_survives_a_round_trip(path: Path) -> None:
    search = load_search(path, [], None)
    assert validated(SearchConfig, yaml.safe_load(dump(search)), "dump") == search


def test_a_base_is_a_file_with_paths_laid_over_it_or_a_run_written_out(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\nimage: {size: 48}\n")
    from_file = load_search(write(tmp_path, SMALL | {"base": "run.yaml", "set": {"image.size": 96}}), [], None)
    assert (from_file.base.seed, from_file.base.image.size) == (3, 96)
    assert load_search(write(tmp_path, SMALL), [], None).base.seed == 1


def test_set_reaches_the_run_the_search_and_the_space(tmp_path: Path) -> None:
    sets = ["model.backbone=resnet50", "budget.trials=3", "space.optimizer.lr={uniform: [0.1, 0.2]}", "stopping=null"]
    search = load_search(write(tmp_path, SMALL), sets, Path("some/tree"))
    assert search.base.model.backbone == "resnet50"
    assert search.budget.trials == 3
    assert search.space == {"optimizer.lr": {"uniform": [0.1, 0.2]}}
    assert search.stopping is None
    assert search.base.data.root == Path.cwd() / "some/tree"


def test_a_variant_has_a_folder_of_its_own() -> None:
    assert search_name(Path("configs/search/nih-small.yaml"), []) == "nih-small"
    assert search_name(Path("demo.yaml"), ["model.backbone=resnet50", "seed=2"]) == "demo-resnet50-2"
    assert "/" not in search_name(Path("demo.yaml"), ["image.cache=/tmp/../x y"])


@pytest.mark.parametrize(
    ("content", "sets", "told"),
    [
        ({"base": {}}, [], r"search.yaml: space: missing; write dotted paths and their domains below `space:`"),
        (SMALL | {"budgett": {}}, [], r"budgett: unknown key; did you mean 'budget'\? choices: base, space, budget,"),
        (SMALL | {"base": {"optimizer": {"lrr": 1}}}, [], r"base.optimizer.lrr: unknown key; did you mean 'lr'\?"),
        (
            SMALL,
            ["optimizer.lr=1"],
            r"--set optimizer.lr: the space of .* searches it; set space.optimizer.lr or drop it",
        ),
        (SMALL, ["model.bakbone=x"], r"base.model.bakbone: unknown key; did you mean 'backbone'\?"),
        (SMALL, ["stopping.grace=10"], r"stopping.grace: 10 % lies before the first of base.reports=4 reports; raise"),
        (SMALL, ["budget.trials=0"], r"budget.trials: 0 is refused, it should be greater than or equal to 1"),
    ],
)
def test_a_wrong_search_is_refused_at_load(tmp_path: Path, content: dict[str, Any], sets: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_search(write(tmp_path, content), sets, None)


def test_a_missing_base_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml is not a file; .*choices: search.yaml"):
        load_search(write(tmp_path, SMALL | {"base": "nowhere.yaml"}), [], None)
