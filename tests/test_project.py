"""What the project promises of itself."""

import re
import tomllib
from pathlib import Path

LOCK = Path("requirements.lock").read_text(encoding="utf-8")
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))


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


def test_the_folders_and_files_that_dependencies_name_exist() -> None:
    lines = Path("pyproject.toml").read_text(encoding="utf-8").splitlines()
    comments = [line.partition("# ")[2] for line in lines if line.startswith('    "')]
    for path in re.findall(r"\b(?:chex|search|tests)/[\w./]+", "\n".join(comments)):
        assert Path(path).exists(), path


def test_every_folder_of_the_packages_says_what_belongs_there() -> None:
    for package in ("chex", "search"):
        for folder in {path.parent for path in Path(package).rglob("*.py")}:
            assert (folder / "__init__.py").read_text(encoding="utf-8").startswith('"""'), folder


def test_the_tests_have_the_folders_of_the_packages() -> None:
    for package in ("chex", "search"):
        for folder in Path("tests", package).iterdir():
            assert folder.suffix == ".py" or Path(package, folder.name).is_dir(), folder
