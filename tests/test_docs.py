"""README.md and docs/ are tried as they are written.

Every code block with a language is tried. `sh` runs, on a small phantom and a small search; `sh parsed` needs hours, a
GPU or a network, or a test of its own runs it: here its commands are parsed, their settings checked, and their files
exist. `yaml` loads as a run or as a
search. `python` runs in test_python_use.py. Words in capitals, such as TREE, stand for what a user has.
"""

import argparse
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from chex.__main__ import main as chex
from chex.config import RunConfig, apply_overrides, load_run, validate
from chex.data.prediction_files import save_predictions
from chex.models.checkpoint import save_weights
from chex.models.heads import HeadLayout
from chex.phantom.write import PhantomConfig, write_phantom
from chex.schema.labels import NEGATIVE, POSITIVE, UNCERTAIN
from chex.schema.overrides import parse_overrides
from chex.uncertainty.policies import POLICIES
from chex.uncertainty.targets import targets
from docs.make_map import MAP, map_text
from search.command import main as chex_search
from search.config.search_config import SearchConfig, load_search
from search.config.search_folder import load_trials
from search.space.param_paths import known_paths
from search.trials.artifacts import export_best, write_trials
from search.trials.layout import REPORT, trial_folder
from search.trials.predictions import load_predictions
from search.trials.trial import winner
from tests.made_search import SPACE, made_search
from tests.networks import used

pytestmark = pytest.mark.usefixtures("few_bags")

ROOT = Path.cwd()
PAGES = [Path("README.md"), *sorted(Path("docs").glob("*.md"))]
TEXTS = {str(page): page.read_text(encoding="utf-8") for page in PAGES}
FENCE = re.compile(r"^```(\w+)(?: (\w+))?\n(.*?)^```", flags=re.DOTALL | re.MULTILINE)
TREE = "data/phantom/CheXpert-v1.0-small"
USERS = {
    "TREE": TREE,
    "CheXpert-v1.0-small": TREE,
    "IMAGES": f"{TREE}/valid/patient64541",
    "RUN.yaml": "configs/run/densenet121.yaml",
    "SEARCH.yaml": "configs/search/demo.yaml",
    "WEIGHTS": "results/demo/best.safetensors",
}
"""What stands for a user's file is a file of the test."""
CHEAP = ["model.backbone=test_resnet", "image.size=32", "schedule.epochs=1", "reports=1", "device.threads=1"]
CHEAP_COMMANDS = ("train", "relabel", "lr-find")
OTHER_PROGRAMS = ("make", "sbatch", "source", "tensorboard")
FILES = (".csv", ".json", ".onnx", ".parquet", ".py", ".safetensors", ".yaml")
"""How names end that are no settings, such as base.yaml."""


def blocks(language: str, word: str = "") -> list[Any]:
    """Returns the blocks whose fence has this language and word, named for pytest after their page and first line."""
    found = [(page, *each) for page, text in TEXTS.items() for each in FENCE.findall(text)]
    return [
        pytest.param(body, id=f"{page}:{body.split()[0]}") for page, *fence, body in found if fence == [language, word]
    ]


def commands(block: str) -> Iterator[list[str]]:
    """Gives the words of each command, with the files of the test for those of a user."""
    for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield [USERS.get(word, word.replace("results/SEARCH", "results/demo")) for word in words]


def inline_code(text: str) -> list[str]:
    """Returns what stands between backticks outside of blocks."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", text))


def write_finished_search(folder: Path, tree: Path) -> None:
    """Writes the folder of a search that nobody ran, with weights of its best trial."""
    search = made_search(
        folder, 7, SPACE | {"model.backbone": {"fixed": "test_resnet"}}, ("Cardiomegaly",), root=tree.absolute()
    )
    trials = load_trials(search, folder)
    best = winner(trials)
    assert best
    found = load_predictions(folder)
    place = found.of(best.number)[int(np.argmax([report["auroc"] for report in best.reports]))]
    home = trial_folder(folder, best.number)
    about = {"backbone": "test_resnet", "observations": "Cardiomegaly", "multiclass": "", "image_size": "64"}
    model = used("test_resnet", HeadLayout(1, ()), False, 64)
    save_weights(home, model.state_dict(), about | {"mean": "0.449", "std": "0.226", "resize": "letterbox"})
    save_predictions(home, found.paths, found.patients, found.observations, found.truth, found.probability[place])
    export_best(folder, best, search.base.model_dump(mode="json"))
    write_trials(folder, trials)
    (folder / REPORT).write_text("done\n")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a user has it who cloned the project: configs, a small phantom, and a search in results/demo."""
    place = tmp_path_factory.mktemp("clone")
    (place / "configs").symlink_to(ROOT / "configs")
    write_phantom(place / "data/phantom", PhantomConfig(train=40, valid=20))
    write_finished_search(place / "results/demo", place / TREE)
    return place


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(workplace)
    monkeypatch.setenv("HOME", str(workplace / "home"))
    return workplace


@pytest.mark.parametrize("block", blocks("sh"))
def test_a_block_of_commands_runs(block: str, here: Path) -> None:
    for program, command, *rest in commands(block):
        cheap = ["--set", *CHEAP] if command in CHEAP_COMMANDS else []
        assert {"chex": chex, "chex-search": chex_search}[program]([command, *rest, *cheap]) == 0, (command, rest)


@pytest.mark.parametrize("block", blocks("sh", "parsed"))
def test_a_block_of_commands_is_understood(block: str, here: Path) -> None:
    for program, *arguments in commands(block):
        for word in arguments:
            assert Path(word).exists() or not word.startswith("configs/"), word
        if program == "make":
            assert arguments[0] in make_targets()
        elif program not in OTHER_PROGRAMS:
            check_arguments(parser_of({"chex": chex, "chex-search": chex_search}[program]).parse_args(arguments))


def parser_of(main: Callable[[list[str]], int]) -> argparse.ArgumentParser:
    """Returns the parser that a command gives to `parse`."""
    found = []

    def stop(parser: argparse.ArgumentParser, *_: object) -> None:
        found.append(parser)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[main.__module__], "parse", stop)
        with pytest.raises(SystemExit):
            main([])
    return found[0]


def check_arguments(options: argparse.Namespace) -> None:
    """Raises InputError for settings that the command would refuse."""
    settings = vars(options)
    if settings.get("storage"):
        settings["sets"].append(f"storage_uri={settings['storage']}")
    is_search = hasattr(options, "name") or options.command == "plan"
    if "config" in settings and is_search:
        load_search(options.config, options.sets, options.data)
    elif "config" in settings:
        load_run(options.config, options.sets, Path(TREE))
    elif "sets" in settings:
        model = PhantomConfig if options.command == "phantom" else RunConfig
        validate(model, apply_overrides({}, parse_overrides(options.sets)), "--set")


@pytest.mark.parametrize("block", blocks("yaml"))
def test_a_block_of_settings_loads(block: str, here: Path) -> None:
    Path("block.yaml").write_text(block)
    if set(yaml.safe_load(block)) <= set(RunConfig.model_fields):
        load_run(Path("block.yaml"))
    else:
        load_search(Path("block.yaml"), [], TREE)


def test_the_policy_of_the_readme_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "half", POLICIES["zeros"])  # so that it is gone after the test
    exec(
        compile(re.findall(r"^```python\n(.*?)^```", TEXTS["README.md"], re.DOTALL | re.M)[0], "README.md", "exec"), {}
    )
    run = validate(RunConfig, {"policy": {"default": "half"}}, "test")
    labels = np.array([POSITIVE, NEGATIVE, UNCERTAIN], dtype=np.int8).repeat(14).reshape(3, 14)
    assert targets(labels, ("Edema",), run.policy, run.seed).values.ravel().tolist() == [1, 0, 0.5]


def test_every_block_is_tried() -> None:
    fences = {(language, word) for text in TEXTS.values() for language, word, _ in FENCE.findall(text)}
    assert fences == {("sh", ""), ("sh", "parsed"), ("yaml", ""), ("python", ""), ("text", "")}
    assert [page for page, text in TEXTS.items() if "```python" in text] == ["README.md", "docs/searching.md"]


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[page]):
        path, _, anchor = target.partition("#")
        if "://" in target:
            continue
        file = (Path(page).parent / path if path else Path(page)).resolve().relative_to(ROOT)
        assert file.exists(), target
        assert not anchor or anchor in anchors(TEXTS[str(file)]), target


def anchors(text: str) -> set[str]:
    """Returns the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", TEXTS)
def test_files_targets_and_options_that_a_page_names_exist(page: str) -> None:
    text = TEXTS[page]
    for path in re.findall(r"\b((?:chex|search|configs|tests|docs)/[\w./-]+\.(?:py|yaml|sh|md))\b", text):
        assert Path(path).is_file(), path
    assert set(re.findall(r"`make ([a-z-]+)`", text)) <= make_targets()
    options = {name for parser in parsers() for name in parser._option_string_actions}
    assert {name for code in inline_code(text) for name in re.findall(r"^--[a-z-]+", code)} <= options


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


def parsers() -> Iterator[argparse.ArgumentParser]:
    """Gives the parsers of both commands and of all their subcommands."""
    waiting: list[argparse.ArgumentParser] = [parser_of(chex), parser_of(chex_search)]
    while waiting:
        parser = waiting.pop()
        yield parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                waiting += action.choices.values()


@pytest.mark.parametrize("page", TEXTS)
def test_settings_that_a_page_names_exist(page: str) -> None:
    run, search = RunConfig().model_dump(mode="json"), SearchConfig(base=RunConfig(), space={}).model_dump(mode="json")
    paths = {*known_paths(run), *run, *search, *paths_below({**run, **search})}
    for code in inline_code(TEXTS[page]):
        name = re.match(r"(?:--set )?([a-z_]+\.[a-zA-Z_.]+)(?=$|[:=])", code)
        if name and name[1].partition(".")[0] in {*run, *search} and not name[1].endswith(FILES):
            assert name[1] in paths, code
        setting = re.match(r"([a-z_.]+): (.+)", code)
        if setting:
            values = {setting[1]: yaml.safe_load(setting[2])}
            assert {path.rpartition(".")[2] for path in paths} >= {setting[1].rpartition(".")[2]}, code
            if setting[1].partition(".")[0] in run:
                validate(RunConfig, apply_overrides({}, values), code)
            elif setting[1].partition(".")[0] in search:
                validate(SearchConfig, apply_overrides({"base": {}, "space": {}}, values), code)


def paths_below(settings: Mapping[str, Any], head: str = "") -> Iterator[str]:
    """Gives the dotted path of each key of nested settings."""
    for key, value in settings.items():
        yield f"{head}{key}"
        if isinstance(value, Mapping):
            yield from paths_below(value, f"{head}{key}.")


def test_the_map_is_up_to_date() -> None:
    assert MAP.read_text(encoding="utf-8") == map_text(), "docs/map.md is not what the code says; run `make map`"


def test_the_readme_has_200_lines_at_most_and_no_page_a_long_line() -> None:
    assert TEXTS["README.md"].count("\n") <= 200
    assert not [line for text in TEXTS.values() for line in text.splitlines() if len(line) > 120]
