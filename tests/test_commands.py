"""Wrong command lines: one sentence, exit code 2, nothing written."""

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
from chex.config import to_yaml
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import LOCK, claim, write_mark
from search.__main__ import main as start_chex_search
from search.command import main as chex_search
from search.optimize.samplers import SamplerConfig
from search.trials.layout import CONFIG
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


IMAGE = "train/patient00003/study1/view1_frontal.jpg"
TREES: dict[str, tuple[Damage, str]] = {
    "a missing CSV": (lambda tree: (tree / "train.csv").unlink(), "has no train.csv"),
    "a missing column": (drop_column, "train.csv lacks the columns Edema"),
    "a strange label": (set_cell("train", "Edema", 7), "column 'Edema': label '7' is not 1, 0, -1 or blank"),
    "a path that leaves the root": (
        set_cell("train", "Path", "a/../../patient1/study1/x.jpg"),
        "could leave the data root",
    ),
    "a missing image": (
        lambda tree: (tree / IMAGE).unlink(),
        f"1 of 36 images that the CSVs list are missing, first {IMAGE}",
    ),
    "a damaged image": (
        lambda tree: (tree / IMAGE).write_bytes(b"x"),
        f"1 of 36 images cannot be decoded, first {IMAGE}",
    ),
    "a path listed twice": (
        set_cell("train", "Path", f"CheXpert-v1.0-small/{IMAGE.replace('3', '1')}"),
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
    "data.split_seed=3": "data.split_seed: 3 chooses who is held out, and data.holdout_fraction is blank",
    "lr=1": "lr: unknown key; did you mean 'optimizer.lr'?",
    "optimizer.lr=0,001": "optimizer.lr: '0,001' is refused, it should be a number; write 0.001",
    "optimizer.lr_stem=1": "optimizer: lr_stem 1 is above lr 0.002; the first layers (lr_stem) may not learn faster",
    "seed=true": "seed: true is refused, it should be a whole number; change the value",
    "policy.default=one": "policy.default: 'one' is not a policy; did you mean 'ones'? choices: zeros, ones, ignore",
    "model.backbone=densenet12": "model.backbone: 'densenet12' is not a timm model; did you mean 'densenet121'?",
    "optimizer.learning_rate=1": "optimizer.learning_rate: unknown key; did you mean 'optimizer.lr'?",
    "model.pretrained=true": "with model.pretrained_file=FILE, or start from random weights with model.pretrained=fal",
    "model.pretrained_file=run.yaml": (
        f"model.pretrained_file: {Path('run.yaml').absolute()} is not a file; give a file of weights in timm's"
    ),
    "model.bn_recalibration_images=1": "model.bn_recalibration_images: 1 is refused, batch norm takes no statistics",
    "sampling.fraction=0": "sampling.fraction: 0 is refused, it should be greater than 0",
}
SEARCH_SETS = {
    "space.optimizer.lr={loguniform: [0.1, 0.01]}": "[0.1, 0.01] is upside down or empty; write the smaller",
    "space.optimizer.lr={uniform: [0.1, 99]}": "optimizer.lr: 99.0 is refused, it should be less than or equal",
    "resources.cpus_per_trial=5000": "resources: a trial asks for 5000 CPUs and no GPU, and this machine has",
    "resources.gpus_per_trial=64": "resources: a trial asks for 1 CPU and 64 GPUs, and this machine has",
    "budget.hours=.inf": "budget.hours: inf is refused, it should be a finite number; change the value",
    "trials=3": "base.trials: unknown key; did you mean 'budget.trials'?",
    "base.seed=3": "--set base.seed: the base run's settings have the same paths as in its file; leave out `base.`",
    "device.kind=cuda": "resources.gpus_per_trial: 0, but device.kind of the base run is 'cuda', and trials",
    "space.policy.Edema={choice: [zeros, ones]}": "space.policy.Edema: changes nothing, because data.observations does",
    "space.sampling.by={choice: [image, patient]}": "space.sampling.by: changes nothing, because sampling.fr",
    "space.optimizer={lr: {uniform: [1, 2]}}": "space.optimizer: a space has dotted paths only; write optim",
    "constraints=[model.backbone == resnet50.a1]": "(put a value with dots in quotes: 'resnet50.a1')",
    "budget.trial=3": "budget.trial: unknown key; did you mean 'trials'? choices: trials",
}


@pytest.fixture
def configs(tmp_path: Path, tree: Path) -> Path:
    """A folder with run.yaml and search.yaml; whatever a command writes is in it."""
    folder = tmp_path / "home"
    folder.mkdir()
    small = {"image": {"size": 32, "cache_dir": str(folder / "cache")}, "model": {"backbone": "test_resnet"}}
    (folder / "run.yaml").write_text(yaml.safe_dump(small))
    space = {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}
    (folder / "search.yaml").write_text(yaml.safe_dump({"base": "run.yaml", "space": space}))
    return folder


@pytest.fixture
def refuse(configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that must fail and returns its sentence."""

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
        message = capsys.readouterr().err.strip().splitlines()
        assert code == 2
        assert sorted(path for path in configs.rglob("*") if configs / "cache" not in (path, *path.parents)) == before
        assert message[:-1] in ([], ["fetching pretrained weights"])
        assert message[-1].startswith(("chex train: ", "chex-search run: "))
        return message[-1]

    return run


BOTH = pytest.mark.parametrize("command", ["chex", "chex-search"])


@BOTH
@pytest.mark.parametrize("case", TREES)
def test_a_damaged_tree_is_refused(refuse: Callable[..., str], tree: Path, command: str, case: str) -> None:
    damage, message = TREES[case]
    damage(tree)
    assert message in refuse(command)


@BOTH
def test_a_missing_dataset_is_refused(refuse: Callable[..., str], command: str) -> None:
    assert "data.root: nowhere is not a folder" in refuse(command, data=Path("nowhere")).replace(f"{Path.cwd()}/", "")


@BOTH
@pytest.mark.parametrize("setting", SETS)
def test_a_wrong_setting_is_refused(refuse: Callable[..., str], command: str, setting: str) -> None:
    assert SETS[setting] in refuse(command, "--set", setting)


@pytest.mark.parametrize("setting", SEARCH_SETS)
def test_a_wrong_setting_of_a_search_is_refused(refuse: Callable[..., str], setting: str) -> None:
    assert SEARCH_SETS[setting] in refuse("chex-search", "--set", setting)


@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "run.yaml", "--data"],
        ["relabel", "teacher", "run.yaml", "--data"],
        ["evaluate", "weights", "--data"],
        ["explore"],
        ["lr-find", "run.yaml", "--data"],
        ["forest", "--target", "Edema", "--"],
    ],
)
def test_a_tree_in_a_bucket_is_refused_with_the_command_that_downloads_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as refused:
        chex([*arguments, "gs://images/x.zip?a&b"])
    assert refused.value.code == 2
    fetched = "`chex-search stage 'gs://images/x.zip?a&b'` downloads it and prints its folder"
    assert f"'gs://images/x.zip?a&b' is not on this machine; {fetched}" in capsys.readouterr().err


TYPED = {
    "chex train run.yaml --lr 1e-3": "chex train: --lr is not an option; write --set optimizer.lr=1e-3",
    "chex train run.yaml --learning-rate=1e-3": "--learning-rate is not an option; write --set optimizer.lr=1",
    "chex lr-find run.yaml --batch-size 16": "chex lr-find: --batch-size is not an option; write --set batches.size=16",
    "chex train run.yaml --size 64": "--size is not an option; write --set image.size=64 or --set batches.size=64",
    "chex train run.yaml --data TREE --set seed=1 --pretrained": "write --set model.pretrained=VALUE",
    "chex evaluate w --data TREE --holdout-fraction .2": "is not an option; write --set data.holdout_fraction=.2",
    "chex phantom out --train 100": "chex phantom: --train is not an option; write --set train=100",
    "chex predict w x.jpg --gradcam out": "chex predict: --gradcam is not an option; did you mean --grad-cam?",
    "chex train run.yaml --dat TREE": "chex train: --dat is not an option; did you mean --data?",
    "chex train run.yaml seed=3": "chex train: seed=3 is an unexpected argument; write --set seed=3",
    "chex train --set seed=3 run.yaml": "chex train: the following arguments are required: RUN.yaml; "
    "write it before --set, which takes all arguments that follow",
    "chex-search run s.yaml --trials 20": "chex-search run: --trials is not an option; write --set budget.trials=20",
    "chex-search run s.yaml --lr 1e-3": "chex-search run: --lr is not an option; write --set optimizer.lr=1e-3",
    "chex-search status results/x --frsh": "--frsh is not an option; `chex-search status --help` lists them",
    "chex-search cluster submit c.yaml s.yaml --data TREE --hours 3": "submit: --hours is not an option; write --set",
    "chex-search confirm results/x --seed 3": "chex-search confirm: --seed is not an option; did you mean --seeds?",
}


@pytest.mark.parametrize("typed", TYPED)
def test_an_unknown_option_is_refused_with_the_probable_one(typed: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, *arguments = typed.split()
    with pytest.raises(SystemExit) as refused:
        {"chex": chex, "chex-search": chex_search}[command](arguments)
    message = capsys.readouterr()
    assert refused.value.code == 2
    assert TYPED[typed] in message.err
    assert (message.out, message.err.count("\n")) == ("", 1)


def test_another_package_named_chex_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chex_package, "__path__", ["/elsewhere/site-packages/chex"])
    assert start_chex_search(["run", "x.yaml"]) == 2
    message = capsys.readouterr().err
    assert "`chex` was imported from /elsewhere/site-packages and `search` from" in message
    assert "remove the other package named chex from this environment" in message


OUTPUTS = {
    "train": ["train", "RUN", "--data", "TREE", "--out"],
    "train --overwrite": ["train", "RUN", "--data", "TREE", "--overwrite", "--out"],
    "relabel teacher": ["relabel", "teacher", "RUN", "--data", "TREE", "--out"],
    "relabel forest": ["relabel", "forest", "RUN", "--data", "TREE", "--out"],
    "evaluate": ["evaluate", "WEIGHTS", "--data", "TREE", "--out"],
    "predict": ["predict", "WEIGHTS", "TREE", "--grad-cam"],
    "explore": ["explore", "TREE", "--out"],
    "lr-find": ["lr-find", "RUN", "--data", "TREE", "--out"],
    "phantom": ["phantom"],
    "forest": ["forest", "TREE", "--target", "Edema", "--out"],
}
"""The commands of `chex` that write into a folder, without that folder, which is the last argument."""


@pytest.fixture
def refused_output(configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]) -> Callable[[str, Path], str]:
    """Runs one of OUTPUTS on a folder, which must fail without a change, and returns its sentence."""

    def run(command: str, out: Path) -> str:
        known = {"RUN": configs / "run.yaml", "TREE": tree, "WEIGHTS": configs / "best.safetensors"}
        before = {path: path.is_file() and path.read_bytes() for path in configs.parent.rglob("*")}
        assert chex([str(known.get(word, word)) for word in [*OUTPUTS[command], str(out)]]) == 2
        assert {path: path.is_file() and path.read_bytes() for path in configs.parent.rglob("*")} == before
        message = capsys.readouterr().err.splitlines()
        assert len(message) == 1
        return str(message[0])

    return run


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_folder_with_other_files_is_not_changed(
    refused_output: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.html").write_text("mine")
    assert f"{tmp_path / 'site'}: holds files that this program did not write" in refused_output(
        command, tmp_path / "site"
    )


@pytest.mark.parametrize("command", OUTPUTS)
def test_a_file_instead_of_a_folder_is_refused(
    refused_output: Callable[[str, Path], str], tmp_path: Path, command: str
) -> None:
    (tmp_path / "file").write_text("mine")
    assert f"{tmp_path / 'file'}: is a file; give a new or empty folder" in refused_output(command, tmp_path / "file")
    message = refused_output(command, tmp_path / "file" / "out")
    assert f"{tmp_path / 'file' / 'out'}: {tmp_path / 'file'} is a file; give a new or empty folder" in message


@pytest.mark.parametrize("command", [name for name in OUTPUTS if name not in ("predict", "phantom")])
def test_nothing_is_written_into_the_dataset(
    refused_output: Callable[[str, Path], str], tree: Path, command: str
) -> None:
    for out in (tree, tree / "out", tree.parent):
        assert f"{out}: overlaps the data tree" in refused_output(command, out)


@pytest.mark.parametrize("name", [".", "..", "a/b", "", ".images"])
def test_a_name_that_leaves_the_results_folder_is_refused(refuse: Callable[..., str], configs: Path, name: str) -> None:
    claim(configs / "results", "search")
    for more in ((), ("--overwrite",)):
        assert f"--name '{name}': a search's name is one folder" in refuse("chex-search", "--name", name, *more)


def test_a_search_does_not_change_folders_of_others(refuse: Callable[..., str], configs: Path) -> None:
    (configs / "results" / "search").mkdir(parents=True)
    (configs / "results" / "search" / "thesis.tex").write_text("mine")
    message = f"{configs / 'results' / 'search'}: holds files that this program did not write"
    assert message in refuse("chex-search")
    assert message in refuse("chex-search", "--overwrite")
    (configs / "results" / "file").write_text("mine")
    assert "results/file: is a file; give a new or empty folder" in refuse("chex-search", "--name", "file")
    write_mark(configs, "search")
    message = f"{configs}: holds the config ({configs / 'search.yaml'}), which --overwrite would delete"
    assert message in refuse("chex-search", "--overwrite", "--results", str(configs.parent), "--name", "home")


def test_overwrite_deletes_nothing_that_the_run_needs(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mark(configs, "run")
    out = ["--data", str(tree), "--out", str(configs), "--overwrite"]
    assert chex(["train", str(configs / "run.yaml"), *out]) == 2
    assert (
        f"--out {configs}: holds the config ({configs / 'run.yaml'}), which --overwrite would"
        in capsys.readouterr().err
    )
    (configs / "run.yaml").rename(configs.parent / "run.yaml")
    assert chex(["train", str(configs.parent / "run.yaml"), *out]) == 2
    assert (
        f"holds image.cache_dir ({configs / 'cache'}), which --overwrite would delete; give" in capsys.readouterr().err
    )
    assert (configs / "search.yaml").exists()


def test_a_refused_run_does_not_change_the_earlier_run(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train = ["train", str(configs / "run.yaml"), "--data", str(tree), "--out", str(configs / "out")]
    assert chex(train) == 0
    (configs / "out" / "done").unlink()
    before = {path.name: path.read_bytes() for path in (configs / "out").iterdir()}
    capsys.readouterr()
    assert chex([*train, "--set", "optimizer.lr=1e-4"]) == 2
    message = capsys.readouterr().err
    assert "has a run with another config (optimizer.lr is 0.0001 here and 0.002 there); give another folder" in message
    assert "with --out, or start over with --overwrite, which deletes that run" in message
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
    message = capsys.readouterr().out
    assert "Cardiomegaly; policy default: zeros; 24 rows of 24 training images; 12 validation images" in message
    assert re.search(r"validation AUROC \S+ \(95 % interval \S+ to \S+\) on the 12 images of 6 patients", message)
    assert re.search(r"the best of \d+ reports, chosen on these images; expect \S+ \(95 % interval", message)
    assert f"best weights: {configs / 'out' / 'best.safetensors'}" in message
    assert chex(train) == 2
    assert "has a finished run; add --overwrite to train again, or give another folder" in capsys.readouterr().err
    assert chex([*train, "--overwrite", "--set", "optimizer.lr=1e-4"]) == 0


def test_training_prints_the_observations_that_auroc_is_averaged_over(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--data", str(tree), "--out", str(configs / "out"), "--set", "data.observations=[Fracture, Cardiomegaly]"]
    assert chex(["train", str(configs / "run.yaml"), *more]) == 0
    message = "AUROC is undefined for Fracture (one class in the validation split); averaged over Cardiomegaly"
    assert message in capsys.readouterr().out


def test_a_diverged_run_ends_with_its_step_and_code_1(
    configs: Path, tree: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_high(optimizer: torch.optim.Optimizer, factor: float, momentum: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = 1e30

    monkeypatch.setattr("chex.training.trainer.set_lr", too_high)
    more = ["--data", str(tree), "--out", str(configs / "out")]
    assert chex(["train", str(configs / "run.yaml"), *more]) == 1
    assert "at a learning rate of 1e+30; lower optimizer.lr" in capsys.readouterr().err


def test_a_grid_search_cannot_be_extended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "made"
    search = made_search(folder, 3, {"seed": {"int": [0, 2]}})
    write_text(folder / CONFIG, to_yaml(search.model_copy(update={"sampler": SamplerConfig(kind="grid")})))
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert chex_search(["extend", str(folder), "--trials", "2"]) == 2
    message = "tries every point of a grid, and there are no others; leave --trials out, or run a search over a larger"
    assert f"--trials: {folder} {message}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
