"""`--version` of both commands, and the license."""

import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from chex.__main__ import main as chex
from chex.runtime.versions import format_versions
from search.command import main as chex_search


@pytest.mark.parametrize(("command", "libraries"), [(chex, ["torch", "timm"]), (chex_search, ["torch", "ray"])])
def test_version_names_this_program_python_and_libraries(
    command: object, libraries: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command(["--version"])  # type: ignore[operator]
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"chexpert-search {version('chexpert-search')} (Python {sys.version.split()[0]}, ")
    assert printed.count("\n") == 1
    for library in libraries:
        assert f"{library} {version(library)}" in printed


def test_a_missing_library_is_listed_as_not_installed() -> None:
    assert format_versions(["no-such-library"]).endswith(", no-such-library not installed)")


@pytest.mark.parametrize("module", ["chex", "search"])
def test_version_imports_neither_torch_nor_ray(module: str) -> None:
    code = (
        f"import sys; from {module}.__main__ import main\n"
        "try: main(['--version'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'ray', 'optuna', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_the_license_is_mit_and_the_package_says_so() -> None:
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["license"] == "MIT"
    assert [Path(name).read_text(encoding="utf-8").splitlines()[0] for name in project["license-files"]] == [
        "MIT License"
    ]
