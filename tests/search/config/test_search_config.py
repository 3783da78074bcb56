from pathlib import Path
from typing import Any

import pytest
import yaml

from chex.config import to_yaml, validate
from chex.errors import InputError
from chex.schema.yaml_text import load_yaml
from search.config.search_config import SearchConfig, check_name, load_search, search_name

SEARCHES = sorted(Path("configs/search").glob("*.yaml"))


def write(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


SMALL: dict[str, Any] = {"base": {"seed": 1}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}


@pytest.mark.parametrize("path", SEARCHES, ids=lambda path: path.name)
def test_every_search_file_of_the_project_loads_and_survives_a_round_trip(path: Path) -> None:
    search = load_search(path, [], None)
    assert validate(SearchConfig, load_yaml(to_yaml(search)), "dump") == search


def test_a_base_is_a_file_with_paths_laid_over_it_or_a_run_written_out(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3\nimage: {size: 48}\n")
    from_file = load_search(write(tmp_path, SMALL | {"base": "run.yaml", "set": {"image.size": 96}}), [], None)
    assert (from_file.base.seed, from_file.base.image.size) == (3, 96)
    assert load_search(write(tmp_path, SMALL), [], None).base.seed == 1


def test_set_reaches_the_run_the_search_and_the_space(tmp_path: Path) -> None:
    sets = ["model.backbone=resnet50", "budget.trials=3", "space.optimizer.lr={uniform: [0.1, 0.2]}", "pruning=null"]
    search = load_search(write(tmp_path, SMALL), sets, Path("some/tree"))
    assert search.base.model.backbone == "resnet50"
    assert search.budget.trials == 3
    assert search.space == {"optimizer.lr": {"uniform": [0.1, 0.2]}}
    assert search.pruning is None
    assert search.base.data.root == Path.cwd() / "some/tree"


def test_a_tree_may_come_from_a_bucket(tmp_path: Path) -> None:
    search = load_search(write(tmp_path, SMALL), [], "gs://images/CheXpert-v1.0-small.zip")
    assert search.data_uri == "gs://images/CheXpert-v1.0-small.zip"
    assert search.base.data.root is None


def test_a_variant_has_a_folder_of_its_own() -> None:
    assert search_name(Path("configs/search/nih-small.yaml"), []) == "nih-small"
    assert search_name(Path("demo.yaml"), ["model.backbone=resnet50", "seed=2"]) == "demo-resnet50-2"
    assert "/" not in search_name(Path("demo.yaml"), ["image.cache_dir=/tmp/../x y"])


@pytest.mark.parametrize(
    ("content", "sets", "told"),
    [
        ({"base": {}}, [], r"search.yaml: space: missing; write dotted paths and their domains below `space:`"),
        (
            SMALL | {"budgett": {}},
            [],
            r"budgett: unknown key; did you mean 'budget'\? choices: base, space, initial_points,",
        ),
        (SMALL | {"base": {"optimizer": {"lrr": 1}}}, [], r"base.optimizer.lrr: unknown key; did you mean 'lr'\?"),
        (
            SMALL,
            ["optimizer.lr=1"],
            r"--set optimizer.lr: the space of .* searches it; set space.optimizer.lr or drop it",
        ),
        (SMALL, ["model.bakbone=x"], r"base.model.bakbone: unknown key; did you mean 'backbone'\?"),
        (
            SMALL,
            ["pruning.grace_period=100"],
            r"pruning.grace_period: 100 % is a run's end; use 99 or less, or pruning: null",
        ),
        (
            SMALL,
            ["pruning.grace_period=10"],
            r"pruning.grace_period: 10 % lies before the first of base.reports=4 reports; raise",
        ),
        (SMALL, ["budget.trials=0"], r"budget.trials: 0 is refused, it should be greater than or equal to 1"),
    ],
)
def test_a_wrong_search_is_refused_at_load(tmp_path: Path, content: dict[str, Any], sets: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_search(write(tmp_path, content), sets, None)


POINTED = SMALL | {
    "initial_points": [{"optimizer.lr": 1e-3}, {"optimizer.lr": 2e-3}, {"optimizer.lr": "5e-3"}],
    "constraints": ["optimizer.lr < .006"],
}


def test_the_base_run_and_the_points_are_tried_first_each_once(tmp_path: Path) -> None:
    search = load_search(write(tmp_path, POINTED), [], None)
    assert search.initial_params() == [{"optimizer.lr": 2e-3}, {"optimizer.lr": 1e-3}, {"optimizer.lr": 5e-3}]
    assert search.base_params() == {"optimizer.lr": 2e-3}
    assert not search.checked_constraints().feasible({"optimizer.lr": 0.007})


def test_a_base_run_that_violates_a_constraint_is_not_tried(tmp_path: Path) -> None:
    sets = ["constraints=[optimizer.lr > .003]", "initial_points=[{optimizer.lr: 5e-3}]"]
    search = load_search(write(tmp_path, POINTED), sets, None)
    assert search.base_params() is None
    assert search.initial_params() == [{"optimizer.lr": 5e-3}]


def test_a_grid_leaves_out_what_violates_a_constraint(tmp_path: Path) -> None:
    space = {"seed": {"int": [0, 3]}, "schedule.epochs": {"int": [1, 2]}}
    content = {"space": space, "sampler": {"kind": "grid"}, "constraints": ["seed + schedule.epochs < 5"]}
    search = load_search(write(tmp_path, content | {"budget": {"trials": 7}}), [], None)
    assert len(search.initial_params()) == 7
    with pytest.raises(InputError, match=r"budget.trials: 8 is not the size of the grid, 7; use budget.trials=7"):
        load_search(write(tmp_path, content | {"budget": {"trials": 8}}), [], None)


@pytest.mark.parametrize(
    ("sets", "told"),
    [
        (["budget.trials=2"], r"budget.trials: 2 trials are not enough for the 3 initial points"),
        (["constraints=[optimizer.lr > 1]"], r"constraints: none of 1,000 random points of the space satisfies them"),
        (["constraints=optimizer.lr > 1"], r"constraints: 'optimizer.lr > 1' is not a list; write"),
        (
            ["initial_points=[{optimizer.lr: 1}]"],
            r"initial_points: point 1: optimizer.lr is 1, outside loguniform: \[0.0001, 0.01\]",
        ),
        (["initial_points=[3]"], r"initial_points.0: 3 is not a mapping"),
        (
            ["space.optimizer.lr={choice: [1e-3, 2e-3, 5e-3]}", "sampler.kind=grid", "budget.trials=3"],
            r"initial_points: a grid has its own order; remove the points, or use sampler.kind=tpe",
        ),
    ],
)
def test_wrong_points_and_constraints_are_refused_at_load(tmp_path: Path, sets: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        load_search(write(tmp_path, POINTED), sets, None)


def test_a_missing_base_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml is not a file; .*choices: search.yaml"):
        load_search(write(tmp_path, SMALL | {"base": "nowhere.yaml"}), [], None)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"base": "nowhere.yaml"}, r"s.yaml: base: (/.*)/nowhere.yaml is not a file; did you mean 'other.yaml'\?"),
        (
            {"base": "other.yaml"},
            r"s.yaml: base: /.*/other.yaml describes a search, not a run; give the YAML",
        ),
        ({"base": ""}, r"s.yaml: base: '' is no run; name a run's YAML file: base: ../run/densenet121.yaml"),
        ({"base": None}, r"s.yaml: base: None is no run"),
        ({"set": "seed=3"}, r"s.yaml: set: 'seed=3' has no dotted paths; write lines such as `optimizer.lr: 1e-3`"),
        ({"base": {"seed": True}}, r"s.yaml: base.seed: true is refused, it should be a whole number"),
        ({"space": None, "seed": 1, "base": {}}, r"s.yaml: space: missing; write dotted paths and their domains below"),
        (
            {"storage_uri": ""},
            r"s.yaml: storage_uri: '' is refused, it should have at least 1 character; change the value",
        ),
        ({"initial_points": {"seed": 1}}, r"initial_points: \{'seed': 1\} is not a list; write \[first, second\]"),
        ({"lr": 1}, r"s.yaml: lr: unknown key; did you mean 'optimizer.lr'\?"),
        (
            {"base": {"phases": [{"lr": 1e-3}, {"lr": 1e-4}]}},
            r"space.optimizer.lr: changes nothing, because each of the phases has its own; remove it from the space",
        ),
    ],
)
def test_a_search_file_that_is_wrong_is_refused_by_name(tmp_path: Path, content: dict[str, Any], told: str) -> None:
    space = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump({"space": space}))
    (tmp_path / "s.yaml").write_text(yaml.safe_dump({"base": {}, "space": space} | content))
    with pytest.raises(InputError, match=told):
        load_search(tmp_path / "s.yaml", [], None)


def test_a_run_given_as_a_search_is_answered_with_its_command(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3")
    with pytest.raises(InputError, match=r"(/.*/run.yaml) describes a run, not a search; type `chex train \1`"):
        load_search(tmp_path / "run.yaml", [], None)


@pytest.mark.parametrize("name", ["demo", "nih-small", "a..b", "x.y"])
def test_a_name_is_one_folder(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", " ", ".", "..", "a/b", "/tmp", "a\\b", ".images", "a\0"])
def test_a_name_that_leads_elsewhere_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"a search's name is one folder below --results, not blank, without / or"):
        check_name(name)
