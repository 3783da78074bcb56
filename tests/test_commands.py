"""What a user may type wrong: one sentence, exit code 2, nothing written."""

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from filelock import FileLock

import chex as chex_package
from chex.__main__ import main as chex
from chex.atomic import write_text
from chex.config import dump
from chex.output_folder import LOCK, claim, mark
from search.__main__ import main as start_chex_search
from search.command import main as chex_search
from search.sampler import SamplerConfig
from search.stored import CONFIG
from tests.made_search import made_search

Damage = Callable[[Path], object]


def drop_column(tree: Path) -> None:
    pd.read_csv(tree / "train.csv").drop(columns="Edema").to_csv(tree / "train.csv", index=False)


def set_cell(split: str, column: str, value: object) -> Damage:
    def damage(tree: Path) -> None:
        table = pd.read_csv(tree / f"{split}.csv", dtype=object)
        table.loc[2, column] = value
        table.to_csv(tree / f"{split}.csv", index=False)

    return damage


def nothing(tree: Path) -> None:
    pass


FILM = "train/patient00003/study1/view1_frontal.jpg"
TREES: dict[str, tuple[Damage, str]] = {
    "a missing CSV": (lambda tree: (tree / "train.csv").unlink(), "has no train.csv"),
    "a missing column": (drop_column, "train.csv lacks the columns Edema"),
    "a strange label": (set_cell("train", "Edema", 7), "column 'Edema': label '7' is not 1, 0, -1 or blank"),
    "a path that leaves the root": (
        set_cell("train", "Path", "a/../../patient1/study1/x.jpg"),
        "could leave the data root",
    ),
    "a missing film": (
        lambda tree: (tree / FILM).unlink(),
        f"1 of 36 images that the CSVs list are missing, first {FILM}",
    ),
    "a damaged film": (lambda tree: (tree / FILM).write_bytes(b"x"), f"1 of 36 images cannot be decoded, first {FILM}"),
    "a path listed twice": (
        set_cell("train", "Path", f"CheXpert-v1.0-small/{FILM.replace('3', '1')}"),
        "1 rows repeat a Path",
    ),
    "a patient in both splits": (
        set_cell("valid", "Path", "CheXpert-v1.0-small/valid/patient00003/study1/x.jpg"),
        "1 patients are in both train.csv and valid.csv, first patient00003",
    ),
}
SETS = {
    "data.observations=Cardiomegalie": "'Cardiomegalie' is not an observation; did you mean 'Cardiomegaly'?",
    "data.observations=Fracture": "AUROC is undefined for Fracture",
    "policy.Edema=ones": "policy.Edema: does nothing, because data.observations (Cardiomegaly) does not",
    "data.split_seed=3": "data.split_seed: 3 chooses who is held out, and data.holdout is blank; set data.holdout, or",
    "lr=1": "lr: unknown key; did you mean 'optimizer.lr'?",
    "optimizer.lr=0,001": "optimizer.lr: '0,001' is refused, it should be a number; write 0.001",
    "optimizer.lr_low=1": "optimizer: lr_low 1 is above lr 0.002, and it is the rate of the first layers; write the",
    "seed=true": "seed: true is refused, it should be a whole number; change the value",
    "policy.default=one": "policy.default: 'one' is not a policy; did you mean 'ones'? choices: zeros, ones, ignore",
    "model.backbone=densenet12": "model.backbone: 'densenet12' is not a timm model; did you mean 'densenet121'?",
    "optimizer.learning_rate=1": "optimizer.learning_rate: unknown key; did you mean 'optimizer.lr'?",
    "model.pretrained=true": "with model.weights=FILE, or start from random weights with model.pretrained=false",
    "model.weights=run.yaml": (
        f"model.weights: {Path('run.yaml').absolute()} is not a file; give a file of weights in timm's format"
    ),
    "model.statistics_films=1": "model.statistics_films: 1 is refused, batch norm takes no statistics from a single",
    "sampling.fraction=0": "sampling.fraction: 0 is refused, it should be greater than 0",
}
SEARCH_SETS = {
    "space.optimizer.lr={loguniform: [0.1, 0.01]}": "[0.1, 0.01] is upside down or empty; write the smaller",
    "space.optimizer.lr={uniform: [0.1, 99]}": "optimizer.lr: 99.0 is refused, it should be less than or equal",
    "resources.cpus_per_trial=5000": "resources: a trial asks for 5000 CPUs and no GPU, and this machine has",
    "resources.gpus_per_trial=64": "resources: a trial asks for 1 CPU and 64 GPUs, and this machine has",
    "budget.hours=.inf": "budget.hours: inf is refused, it should be a finite number; change the value",
    "trials=3": "base.trials: unknown key; did you mean 'budget.trials'?",
    "base.seed=3": "--set base.seed: the settings of the base run are named as in its file; leave out `base.`",
    "device.kind=cuda": "resources.gpus_per_trial: 0, and device.kind of the base run is 'cuda', which no",
    "space.policy.Edema={choice: [zeros, ones]}": "space.policy.Edema: changes nothing, because data.observations does",
    "space.sampling.by={choice: [image, patient]}": "space.sampling.by: changes nothing, because sampling.fr",
    "space.optimizer={lr: {uniform: [1, 2]}}": "space.optimizer: a space has dotted paths alone; write optim",
    "constraints=[model.backbone == resnet50.a1]": "(a value with dots stands in quotes: 'resnet50.a1')",
    "budget.trial=3": "budget.trial: unknown key; did you mean 'trials'? choices: trials",
}


@pytest.fixture
def configs(tmp_path: Path, tree: Path) -> Path:
    """A folder with run.yaml and search.yaml; whatever a command writes would land in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    small = {"image": {"size": 32, "cache": str(folder / "cache")}, "model": {"backbone": "test_resnet"}}
    (folder / "run.yaml").write_text(yaml.safe_dump(small))
    space = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}
    (folder / "search.yaml").write_text(yaml.safe_dump({"base": "run.yaml", "space": space}))
    return folder


@pytest.fixture
def refuse(configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must refuse; returns its sentence."""

    def run(command: str, *more: str, data: Path = tree) -> str:
        before = sorted(configs.rglob("*"))
        if command == "chex":
            code = chex(["train", str(configs / "run.yaml"), "--data", str(data), "--out", str(configs / "out"), *more])
        else:
            arguments = [
                "run",
                str(configs / "search.yaml"),
                "--data",
                str(data),
                "--results",
                str(configs / "results"),
            ]
            code = chex_search([*arguments, *more])
        told = capsys.readouterr().err.strip().splitlines()
        assert code == 2
        assert sorted(path for path in configs.rglob("*") if configs / "cache" not in (path, *path.parents)) == before
        assert told[:-1] in ([], ["fetching pretrained weights"])
        assert told[-1].startswith(("chex train: ", "chex-search run: "))
        return told[-1]

    return run


BOTH = pytest.mark.parametrize("command", ["chex", "chex-search"])


@BOTH
@pytest.mark.parametrize("case", TREES)
def test_a_damaged_tree_is_refused(refuse: Callable[..., str], tree: Path, command: str, case: str) -> None:
    damage, told = TREES[case]
    damage(tree)
    assert told in refuse(command)


@BOTH
def test_a_missing_tree_is_refused(refuse: Callable[..., str], command: str) -> None:
    assert "data.root: nowhere is not a folder" in refuse(command, data=Path("nowhere")).replace(f"{Path.cwd()}/", "")


@BOTH
@pytest.mark.parametrize("setting", SETS)
def test_a_wrong_setting_is_refused(refuse: Callable[..., str], command: str, setting: str) -> None:
    assert SETS[setting] in refuse(command, "--set", setting)


@pytest.mark.parametrize("setting", SEARCH_SETS)
def test_a_wrong_setting_of_a_search_is_refused(refuse: Callable[..., str], setting: str) -> None:
    assert SEARCH_SETS[setting] in refuse("chex-search", "--set", setting)


@pytest.mark.parametrize(
    "given",
    [
        ["train", "run.yaml", "--data"],
        ["relabel", "teacher", "run.yaml", "--data"],
        ["evaluate", "weights", "--data"],
        ["explore"],
        ["lr-find", "run.yaml", "--data"],
        ["forest", "--target", "Edema", "--"],
    ],
)
def test_a_tree_in_a_bucket_is_to_be_fetched_for_a_single_run(
    given: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        chex([*given, "gs://films/x.zip?a&b"])
    assert refused.value.code == 2
    fetched = "`chex-search stage 'gs://films/x.zip?a&b'` fetches it and says where it then lies"
    assert f"'gs://films/x.zip?a&b' is not on this machine; {fetched}" in capsys.readouterr().err


TYPED = {
    "chex train run.yaml --lr 1e-3": "chex train: --lr is not an option; write --set optimizer.lr=1e-3",
    "chex train run.yaml --learning-rate=1e-3": "--learning-rate is not an option; write --set optimizer.lr=1",
    "chex lr-find run.yaml --batch-size 16": "chex lr-find: --batch-size is not an option; write --set batches.size=16",
    "chex train run.yaml --size 64": "--size is not an option; write --set image.size=64 or --set batches.size=64",
    "chex train run.yaml --data TREE --set seed=1 --pretrained": "write --set model.pretrained=VALUE",
    "chex evaluate w --data TREE --holdout .2": "--holdout is not an option; write --set data.holdout=.2",
    "chex phantom out --train 100": "chex phantom: --train is not an option; write --set train=100",
    "chex predict w x.jpg --gradcam out": "chex predict: --gradcam is not an option; did you mean --grad-cam?",
    "chex train run.yaml --dat TREE": "chex train: --dat is not an option; did you mean --data?",
    "chex train run.yaml seed=3": "chex train: seed=3 is one argument too many; write --set seed=3",
    "chex train --set seed=3 run.yaml": "chex train: the following arguments are required: RUN.yaml; "
    "what is not a setting stands before --set, which takes all that follows it",
    "chex-search run s.yaml --trials 20": "chex-search run: --trials is not an option; write --set budget.trials=20",
    "chex-search run s.yaml --lr 1e-3": "chex-search run: --lr is not an option; write --set optimizer.lr=1e-3",
    "chex-search status results/x --frsh": "--frsh is not an option; `chex-search status --help` lists them",
    "chex-search cluster submit c.yaml s.yaml --data TREE --hours 3": "submit: --hours is not an option; write --set",
    "chex-search confirm results/x --seed 3": "chex-search confirm: --seed is not an option; did you mean --seeds?",
}


@pytest.mark.parametrize("typed", TYPED)
def test_an_option_that_is_none_is_refused_with_what_was_meant(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *arguments = typed.split()
    with pytest.raises(SystemExit) as refused:
        {"chex": chex, "chex-search": chex_search}[command](arguments)
    told = capsys.readouterr()
    assert refused.value.code == 2
    assert TYPED[typed] in told.err
    assert (told.out, told.err.count("\n")) == ("", 1)


def test_another_package_named_chex_is_told_from_ours(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chex_package, "__path__", ["/elsewhere/site-packages/chex"])
    assert start_chex_search(["run", "x.yaml"]) == 2
    told = capsys.readouterr().err
    assert "`chex` was imported from /elsewhere/site-packages and `search` from" in told
    assert "remove the other package named chex from this environment" in told


OUTPUTS = {
    "train": ["train", "RUN", "--data", "TREE", "--out"],
    "train --fresh": ["train", "RUN", "--data", "TREE", "--fresh", "--out"],
    "relabel teacher": ["relabel", "teacher", "RUN", "--data", "TREE", "--out"],
    "relabel forest": ["relabel", "forest", "RUN", "--data", "TREE", "--out"],
    "evaluate": ["evaluate", "WEIGHTS", "--data", "TREE", "--out"],
    "predict": ["predict", "WEIGHTS", "TREE", "--grad-cam"],
    "explore": ["explore", "TREE", "--out"],
    "lr-find": ["lr-find", "RUN", "--data", "TREE", "--out"],
    "phantom": ["phantom"],
    "forest": ["forest", "TREE", "--target", "Edema", "--out"],
}
"""Every command of `chex` that writes into a folder, which comes last."""


@pytest.fixture
def refused_output(configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], str]:
    """Runs one of OUTPUTS on a folder, must be refused, and returns its sentence; the folder is left as it was."""

    def run(command: str, out: Path) -> str:
        known = {"RUN": configs / "run.yaml", "TREE": tree, "WEIGHTS": configs / "best.safetensors"}
        before = {path: path.is_file() and path.read_bytes() for path in configs.parent.rglob("*")}
        assert chex([str(known.get(word, word)) for word in [*OUTPUTS[command], str(out)]]) == 2
        assert {path: path.is_file() and path.read_bytes() for path in configs.parent.rglob("*")} == before
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1
        return str(told[0])

    return run


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_folder_of_somebody_else_is_left_alone(
    refused_output: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert f"{tmp_path / 'site'}: holds files that this program did not write" in refused_output(
        command, tmp_path / "site"
    )


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_file_in_the_place_of_a_folder_is_refused(
    refused_output: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'}: is a file; give a new or empty folder" in refused_output(command, tmp_path / "file")
    told = refused_output(command, tmp_path / "file" / "out")
    assert f"{tmp_path / 'file' / 'out'}: {tmp_path / 'file'} is a file; give a new or empty folder" in told


@pytest.mark.parametrize("command", [name for name in OUTPUTS if name not in ("predict", "phantom")])
def test_nothing_is_written_into_the_tree(refused_output: Callable[[str, Path], str], tree: Path, command: str) -> None:
    for out in (tree, tree / "out", tree.parent):
        assert f"{out}: overlaps the data tree" in refused_output(command, out)


@pytest.mark.parametrize("name", [".", "..", "a/b", "", ".images"])
def test_a_name_that_leads_out_of_the_results_is_refused(refuse: Callable[..., str], configs: Path, name: str) -> None:
    claim(configs / "results", "search")
    for more in ((), ("--fresh",)):
        assert f"--name '{name}': a search's name is one folder" in refuse("chex-search", "--name", name, *more)


def test_a_search_leaves_what_is_not_its_own(refuse: Callable[..., str], configs: Path) -> None:
    (configs / "results" / "search").mkdir(parents=True)
    (configs / "results" / "search" / "thesis.tex").write_text("mine")
    told = f"{configs / 'results' / 'search'}: holds files that this program did not write"
    assert told in refuse("chex-search")
    assert told in refuse("chex-search", "--fresh")
    (configs / "results" / "file").write_text("mine")
    assert "results/file: is a file; give a new or empty folder" in refuse("chex-search", "--name", "file")
    mark(configs, "search")
    told = f"{configs}: holds the config ({configs / 'search.yaml'}), which --fresh would delete"
    assert told in refuse("chex-search", "--fresh", "--results", str(configs.parent), "--name", "home")


def test_fresh_deletes_nothing_that_the_run_needs(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark(configs, "run")
    out = ["--data", str(tree), "--out", str(configs), "--fresh"]
    assert chex(["train", str(configs / "run.yaml"), *out]) == 2
    assert f"--out {configs}: holds the config ({configs / 'run.yaml'}), which --fresh would" in capsys.readouterr().err
    (configs / "run.yaml").rename(configs.parent / "run.yaml")
    assert chex(["train", str(configs.parent / "run.yaml"), *out]) == 2
    assert f"holds image.cache ({configs / 'cache'}), which --fresh would delete; give" in capsys.readouterr().err
    assert (configs / "search.yaml").exists()


def test_a_refused_run_leaves_the_run_that_is_there_as_it_was(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(configs / "run.yaml"), "--data", str(tree), "--out", str(configs / "out")]
    assert chex(train) == 0
    (configs / "out" / "done").unlink()
    before = {path.name: path.read_bytes() for path in (configs / "out").iterdir()}
    capsys.readouterr()
    assert chex([*train, "--set", "optimizer.lr=1e-4"]) == 2
    told = capsys.readouterr().err
    assert "holds a run with another config (optimizer.lr is 0.0001 here and 0.002 there); give another folder" in told
    assert "with --out, or start over with --fresh, which deletes that run" in told
    with FileLock(configs / "out" / LOCK, is_singleton=False):
        assert chex(train) == 2
    assert f"{configs / 'out'}: another process trains in this folder; wait until it ends" in capsys.readouterr().err
    pd.read_csv(tree / "train.csv").assign(Cardiomegaly=[0, 1] * 12).to_csv(tree / "train.csv", index=False)
    assert chex(train) == 2
    assert "state.pt belongs to a run on other data (images, labels, probability tables" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in (configs / "out").iterdir()} == before


def test_a_run_is_trained_reported_and_not_overwritten(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(configs / "run.yaml"), "--data", str(tree), "--out", str(configs / "out")]
    assert chex(train) == 0
    told = capsys.readouterr().out
    assert "Cardiomegaly; policy default: zeros; 24 rows of 24 training films; 12 validation films" in told
    assert re.search(r"validation AUROC \S+ \(95 % interval \S+ to \S+\) on the 12 films of 6 patients", told)
    assert re.search(r"the best of \d+ reports, chosen on these films; expect \S+ \(95 % interval", told)
    assert f"best weights: {configs / 'out' / 'best.safetensors'}" in told
    assert chex(train) == 2
    assert "holds a finished run; add --fresh to train again, or give another folder" in capsys.readouterr().err
    assert chex([*train, "--fresh", "--set", "optimizer.lr=1e-4"]) == 0


def test_what_auroc_is_averaged_over_is_said(configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["--data", str(tree), "--out", str(configs / "out"), "--set", "data.observations=[Fracture, Cardiomegaly]"]
    assert chex(["train", str(configs / "run.yaml"), *more]) == 0
    told = "AUROC is undefined for Fracture (one class in the validation split); averaged over Cardiomegaly"
    assert told in capsys.readouterr().out


def test_a_diverged_run_ends_with_its_step_and_code_1(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_high(optimizer: torch.optim.Optimizer, factor: float, momentum: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e30

    monkeypatch.setattr("chex.loop.set_rate", too_high)
    more = ["--data", str(tree), "--out", str(configs / "out")]
    assert chex(["train", str(configs / "run.yaml"), *more]) == 1
    assert "at a learning rate of 1e+30; lower optimizer.lr" in capsys.readouterr().err


def test_a_grid_has_no_further_trials(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made"
    search = made_search(folder, 3, {"seed": {"int": [0, 2]}})
    write_text(folder / CONFIG, dump(search.model_copy(update={"sampler": SamplerConfig(kind="grid")})))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert chex_search(["extend", str(folder), "--trials", "2"]) == 2
    told = "tries every point of a grid, and there is no other point; leave --trials out, or run a search over a larger"
    assert f"--trials: {folder} {told}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
