from pathlib import Path
from typing import Any

import pytest
import yaml

from chex.config import RunConfig, dump, load_run, override, parse_sets, validated
from chex.errors import InputError

RUNS = sorted(Path("configs/run").glob("*.yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_file_of_the_project_loads_and_survives_a_round_trip(path: Path) -> None:
    run = load_run(path)
    assert validated(RunConfig, yaml.safe_load(dump(run)), "dump") == run


def test_set_lays_dotted_paths_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optimizer: {lr: 1e-3}\nseed: 3\n")
    run = load_run(file, ["optimizer.lr=3e-4", "policy.Pleural Effusion=ones", "schedule.epochs=5"])
    assert run.optimizer.lr == 3e-4
    assert run.seed == 3
    assert run.schedule.epochs == 5
    assert {key: str(policy) for key, policy in run.policy.items()} == {"default": "zeros", "Pleural Effusion": "ones"}


def test_an_override_leaves_its_base_alone() -> None:
    base: dict[str, Any] = {"a": {"b": 1}}
    assert override(base, {"a.c": 2, "d.e.f": 3}) == {"a": {"b": 1, "c": 2}, "d": {"e": {"f": 3}}}
    assert base == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            {"optimiser": {}},
            r"x.yaml: optimiser: unknown key; did you mean 'optimizer'\? choices: seed, reports, data,",
        ),
        (
            {"optimizer": {"lrr": 1}},
            r"optimizer.lrr: unknown key; did you mean 'lr'\? choices: name, lr, lr_low, weight_decay",
        ),
        ({"optimizer": {"lr": -1}}, r"optimizer.lr: -1 is refused, it should be greater than 0; change the value"),
        (
            {"optimizer": {"name": "adan"}},
            r"optimizer.name: 'adan' is not allowed; did you mean 'adam'\? choices: adamw",
        ),
        ({"batches": {"size": 1}}, r"batches.size: 1 is refused, it should be 'auto' or a whole number from 2 to 4096"),
        (
            {"rounds": [{"frozen": -1}]},
            r"rounds.0.frozen: -1 is refused, it should be 'backbone' or how many layer gro",
        ),
        (
            {"rounds": [{"epoch": 1}]},
            r"rounds.0.epoch: unknown key; did you mean 'epochs'\? choices: epochs, shape, wa",
        ),
        ({"optimizer": 3}, r"optimizer: 3 is not a mapping; write `key: value` lines below optimizer"),
        ({"schedule": {"epochs": 1.5}}, r"schedule.epochs: 1.5 is refused, it should be a valid integer"),
        (
            {"seed": "x", "reports": 0},
            r"seed: 'x' is refused.*; reports: 0 is refused, it should be greater than or equal",
        ),
    ],
)
def test_a_wrong_config_is_refused_by_path_value_and_rule(content: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        validated(RunConfig, content, "x.yaml")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("optimizer.lr", r"--set optimizer.lr: not of the form a.b=value; write for example --set optimizer.lr=3e-4"),
        ("=3", r"--set =3: not of the form"),
        ("seed=[1", r"--set seed=\[1: '\[1' is not a YAML value; put quotes around it"),
    ],
)
def test_a_set_that_cannot_be_read_is_refused(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        parse_sets([text])


def test_a_path_through_a_value_is_refused() -> None:
    with pytest.raises(
        InputError, match=r"seed.x: 'seed' holds the value 3 and has no fields below it; shorten the path"
    ):
        override({"seed": 3}, {"seed.x": 1})


@pytest.mark.parametrize(
    ("content", "told"), [("a: [1", "is not YAML"), ("- 1", r"holds list, not a mapping; write `key: value` lines")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, content: str, told: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(InputError, match=told):
        load_run(tmp_path / "run.yaml")


def test_a_misspelt_file_is_answered_with_the_nearest_one() -> None:
    told = r"configs/run/densnet121.yaml is not a file; did you mean 'densenet121.yaml'\? choices: chexpert.yaml, dense"
    with pytest.raises(InputError, match=told):
        load_run(Path("configs/run/densnet121.yaml"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml is not a file; give a YAML file, for example one of configs/"):
        load_run(Path("nowhere.yaml"))
