"""What the project promises of itself."""

import re
import tomllib
from pathlib import Path

LOCK = Path("requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
README = Path("README.md").read_text(encoding="utf-8")


def test_the_lock_pins_everything_with_hashes_and_holds_no_address() -> None:
    pins = re.findall(r"^(\S+)==\S+.*\\\n    --hash=sha256:[0-9a-f]{64}", LOCK, flags=re.MULTILINE)
    assert len(pins) == len(re.findall(r"^[a-z]", LOCK, flags=re.MULTILINE)) > 60
    assert "://" not in LOCK


def test_the_lock_holds_what_the_project_asks_for_and_no_other_package_named_chex() -> None:
    locked = set(re.findall(r"^([a-z0-9-]+)==", LOCK, flags=re.MULTILINE))
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    assert {re.split(r"[^\w-]", name)[0].lower() for name in asked} <= locked
    assert "chex" not in locked


def test_every_dependency_says_who_needs_it() -> None:
    text = Path("pyproject.toml").read_text(encoding="utf-8")
    block = text.split("dependencies = [", 1)[1].split("[project.scripts]", 1)[0]
    for line in block.splitlines():
        if line.strip().startswith('"'):
            assert "# " in line, line


def test_the_map_in_the_readme_is_the_house() -> None:
    named = set(re.findall(r"\b(\w+\.py)\b", README.split("## The map", 1)[1].split("\n## ", 1)[0]))
    there = {path.name for package in ("chex", "search") for path in Path(package).rglob("*.py")} - {"__init__.py"}
    assert named == there


def test_module_names_are_unique_across_both_packages() -> None:
    names = [{path.stem for path in Path(package).glob("*.py")} for package in ("chex", "search")]
    assert names[0] & names[1] == {"__init__", "__main__"}


def test_files_that_the_readme_names_are_there() -> None:
    for path in re.findall(r"\b(configs/[\w./-]+\.yaml)", README):
        assert Path(path).is_file(), path
