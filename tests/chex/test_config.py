from pathlib import Path
from typing import Any

import pytest

from chex.config import RunConfig, apply_overrides, load_run, to_yaml, validate
from chex.errors import InputError
from chex.schema.yaml_text import load_yaml

RUNS = sorted(Path("configs/run").glob("*.yaml"))


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_run_file_of_the_project_loads_and_survives_a_round_trip(path: Path) -> None:
    run = load_run(path)
    assert validate(RunConfig, load_yaml(to_yaml(run)), "dump") == run


def test_set_overrides_values_of_the_file_by_dotted_path(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optimizer: {lr: 1e-3}\nseed: 3\n")
    run = load_run(file, ["optimizer.lr=3e-4", "policy.Pleural Effusion=ones", "schedule.epochs=5"])
    assert run.optimizer.lr == 3e-4
    assert run.seed == 3
    assert run.schedule.epochs == 5
    assert {key: str(policy) for key, policy in run.policy.items()} == {"default": "zeros", "Pleural Effusion": "ones"}


def test_overrides_do_not_change_their_base() -> None:
    base: dict[str, Any] = {"a": {"b": 1}}
    assert apply_overrides(base, {"a.c": 2, "d.e.f": 3}) == {"a": {"b": 1, "c": 2}, "d": {"e": {"f": 3}}}
    assert base == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"optimiser": {}},
            r"x.yaml: optimiser: unknown key; did you mean 'optimizer'\? choices: seed, reports, data,",
        ),
        (
            {"optimizer": {"lrr": 1}},
            r"optimizer.lrr: unknown key; did you mean 'lr'\? choices: name, lr, lr_stem, weight_decay",
        ),
        ({"optimizer": {"lr": -1}}, r"optimizer.lr: -1 is refused, it should be greater than 0; change the value"),
        (
            {"optimizer": {"name": "adan"}},
            r"optimizer.name: 'adan' is not allowed; did you mean 'adam'\? choices: adamw",
        ),
        ({"batches": {"size": 1}}, r"batches.size: 1 is refused, it should be 'auto' or a whole number from 2 to 4096"),
        (
            {"phases": [{"freeze": -1}]},
            r"phases.0.freeze: -1 is refused; give how many layer groups to freeze, or 'backbone'",
        ),
        (
            {"phases": [{"epoch": 1}]},
            r"phases.0.epoch: unknown key; did you mean 'epochs'\? choices: epochs, shape, wa",
        ),
        ({"seed": True}, r"x.yaml: seed: true is refused, it should be a whole number; change the value$"),
        ({"seed": "3"}, r"seed: '3' is refused, it should be a whole number; write 3, without quotes$"),
        ({"seed": 3.0}, r"seed: 3.0 is refused, it should be a whole number; write 3$"),
        ({"reports": "1_0"}, r"reports: '1_0' is refused, it should be a whole number; write 10$"),
        ({"optimizer": {"lr": True}}, r"optimizer.lr: true is refused, it should be a number; change the value$"),
        ({"optimizer": {"lr": "1e-3"}}, r"lr: '1e-3' is refused, it should be a number; write it without quotes$"),
        ({"optimizer": {"lr": "0,001"}}, r"optimizer.lr: '0,001' is refused, it should be a number; write 0.001$"),
        ({"optimizer": {"lr": float("nan")}}, r"optimizer.lr: nan is refused, it should be a finite number; change"),
        ({"model": {"pretrained": "yes"}}, r"'yes' is refused, it should be true or false; write true$"),
        ({"model": {"pretrained": 0}}, r"model.pretrained: 0 is refused, it should be true or false; write false$"),
        ({"model": {"backbone": 50}}, r"model.backbone: 50 is refused, it should be a string; put quotes around it$"),
        ({"phases": [{"freeze": True}]}, r"freeze: True is refused; give how many layer groups to freeze, or 'ba"),
        ({"phases": {"epochs": 1}}, r"phases: \{'epochs': 1\} is not a list; write \[first, second\], or a line"),
        ({"data": {"root": ""}}, r"data.root: '' is not a path; write a path as a string$"),
        ({"image": {"cache_dir": None}}, r"image.cache_dir: None is not a path; write a path as a string$"),
        (
            {"data": {"observations": "Edema,Fracture"}},
            r"is one string; write a list of observations: \[Edema, Fracture",
        ),
        (
            {"optimizer": {"lr": 1e-3, "lr_stem": 0.1}},
            r"optimizer: lr_stem 0.1 is above lr 0.001; the first layers",
        ),
        (
            {"optimizer": {"lr": 1e-3}, "phases": [{}, {"lr_stem": 0.1}]},
            r"x.yaml: phases.1: lr_stem 0.1 is above lr 0.001; the first layers \(lr_stem\) may not learn faster",
        ),
        ({"lr": 1}, r"x.yaml: lr: unknown key; did you mean 'optimizer.lr'\?$"),
        ({"epoch": 1}, r"x.yaml: epoch: unknown key; did you mean 'schedule.epochs'\?$"),
        ({"size": 1}, r"x.yaml: size: unknown key; did you mean 'image.size' or 'batches.size'\?$"),
        ({1: 2}, r"x.yaml: 1: this key is not a string; put quotes around it, or remove it$"),
        ({"optimizer": None}, r"optimizer: blank; write `key: value` lines below it, or remove it$"),
        ({"optimizer": 3}, r"optimizer: 3 is not a mapping; write `key: value` lines below optimizer"),
        ({"schedule": {"epochs": 1.5}}, r"schedule.epochs: 1.5 is refused, it should be a whole number; change"),
        (
            {"seed": "x", "reports": 0},
            r"seed: 'x' is refused.*; reports: 0 is refused, it should be greater than or equal",
        ),
    ],
)
def test_a_wrong_config_is_refused_by_path_value_and_rule(content: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        validate(RunConfig, content, "x.yaml")


@pytest.mark.parametrize("value", [3, 0, False])
def test_a_path_through_a_value_is_refused(value: object) -> None:
    message = rf"seed.x: 'seed' has the value {value} and no fields below it; shorten the path"
    with pytest.raises(InputError, match=message):
        apply_overrides({"seed": value}, {"seed.x": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [1", r"run.yaml is not YAML \(line 1: expected"),
        ("- 1", r"is a list, not a mapping; write `key: value` lines"),
    ],
)
def test_a_file_without_a_mapping_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "run.yaml").write_text(content)
    with pytest.raises(InputError, match=message):
        load_run(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfeseed: 1", r"run.yaml is not UTF-8 text \(byte 1 is 0xff\); save it as UTF-8"),
        (b"space: {}", r"(/.*run.yaml) describes a search, not a run; type `chex-search run \1`"),
        (b"base: other.yaml", r"(/.*run.yaml) describes a search, not a run; type `chex-search run \1`"),
        (b"cluster_name: x", r"(/.*run.yaml) describes a cluster, not a run; type `chex-search cluster up \1`"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_to_do(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "run.yaml").write_bytes(content)
    with pytest.raises(InputError, match=message):
        load_run(tmp_path / "run.yaml")


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("seed: 3", encoding="utf-8-sig")
    assert load_run(tmp_path / "run.yaml").seed == 3


def test_the_error_about_a_folder_lists_its_yaml_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"configs/run is a folder; give one of its YAML files: chexpert.yaml, dense"):
        load_run(Path("configs/run"))
    with pytest.raises(InputError, match=r" is a folder; give a YAML file, for example one of configs/"):
        load_run(tmp_path)


def test_paths_are_absolute_so_that_processes_in_other_folders_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    file = tmp_path / "run.yaml"
    file.write_text("data: {root: tree}\nimage: {cache_dir: ../cache}\nmodel: {pretrained_file: ~/w.safetensors}\n")
    config = load_run(file)
    assert config.data.root == tmp_path / "tree"
    assert config.image.cache_dir == tmp_path.parent / "cache"
    assert config.model.pretrained_file == Path("/home/somebody/w.safetensors")


def test_the_tilde_of_the_image_cache_stays_for_each_machine() -> None:
    config = validate(RunConfig, {"image": {"cache_dir": "~/cache"}}, "run.yaml")
    assert config.image.cache_dir == Path("~/cache")


def test_the_tilde_of_an_unknown_user_is_an_ordinary_path() -> None:
    config = validate(RunConfig, {"data": {"root": "~nobody-here/tree"}}, "run.yaml")
    assert config.data.root == Path("~nobody-here/tree").absolute()


def test_a_tree_given_twice_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "a #1: tree"
    file = Path("configs/run/densenet121.yaml")
    assert load_run(file, [], root).data.root == root
    assert load_run(file, [f"data.root='{root}'"], root).data.root == root
    with pytest.raises(InputError, match=r"--set data.root=other: the tree is given with --data .*; give one"):
        load_run(file, ["data.root=other"], root)


def test_the_error_about_a_misspelt_file_suggests_the_nearest_one() -> None:
    message = (
        r"configs/run/densnet121.yaml is not a file; did you mean 'densenet121.yaml'\? choices: chexpert.yaml, dense"
    )
    with pytest.raises(InputError, match=message):
        load_run(Path("configs/run/densnet121.yaml"))


def test_a_missing_file_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere.yaml is not a file; give a YAML file, for example one of configs/"):
        load_run(Path("nowhere.yaml"))
