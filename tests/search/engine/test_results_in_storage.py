"""What is written after a search's end is in its storage too, an emulated bucket."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from chex.config import to_yaml
from chex.runtime.atomic_io import write_text
from search.command import EXIT_FAILED, main
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder, load_trials, storage_of
from search.engine import confirm, runner
from search.report import search_page
from search.storage.remote_path import connect
from search.storage.search_storage import SearchStorage, upload_files
from search.trials.layout import CONFIG, CONFIRM_TEXT, CONFIRMED, PAGE, REPORT
from search.trials.trial import TrialRecord
from tests.drawn_trials import contender, kept
from tests.made_search import made_search

pytestmark = pytest.mark.usefixtures("few_bags")
Where = Callable[[str], str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made_search(home := tmp_path_factory.mktemp("results") / "made", 6)
    return home


@pytest.fixture
def folder(tmp_path: Path, made: Path, bucket: Where) -> Path:
    """A search at its end as `run_search` leaves it, in its storage too."""
    home = shutil.copytree(made, tmp_path / "results" / "made")
    search = load_search_folder(home).model_copy(update={"storage_uri": bucket("searches")})
    write_text(home / CONFIG, to_yaml(search))
    SearchStorage(home, bucket("searches/made")).sync()
    return home


def write_short_page(folder: Path, recall: float, show: object) -> None:
    (folder / PAGE).write_text(f"a page for a recall of {recall}\n")


def there(bucket: Where, *names: str) -> list[bytes]:
    return [(connect(bucket("searches/made")) / name).read() for name in names]


def test_after_a_run_the_last_screen_and_the_page_are_in_the_storage(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conducted(search: SearchConfig, home: Path, **how: Any) -> list[TrialRecord]:
        return load_trials(search, home)

    monkeypatch.setattr(runner, "run_search", conducted)
    assert main(["resume", str(folder)]) == 0
    assert there(bucket, REPORT, PAGE) == [(folder / REPORT).read_bytes(), (folder / PAGE).read_bytes()]


def test_a_rewritten_page_is_uploaded_and_nothing_else_changes_in_the_storage(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_page, "write_search_page", write_short_page)
    (connect(bucket("searches/made")) / "optuna.db").write(b"of a machine that has gone on")
    (folder / REPORT).write_text("old")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / PAGE}\n"
    assert there(bucket, PAGE, "optuna.db") == [(folder / PAGE).read_bytes(), b"of a machine that has gone on"]
    assert not (connect(bucket("searches/made")) / REPORT).is_file()


def test_a_page_is_written_even_if_it_cannot_be_uploaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search_page, "write_search_page", write_short_page)
    search = load_search_folder(folder).model_copy(
        update={"storage_uri": "gs://anonymous@images/x?endpoint_override=127.0.0.1%3A1&retry_limit_seconds=1"}
    )
    write_text(folder / CONFIG, to_yaml(search))
    assert main(["report", str(folder)]) == EXIT_FAILED
    assert (folder / PAGE).exists()
    message = capsys.readouterr().err.strip()
    assert message.startswith("chex-search report: gs://anonymous@images/x/made: ")
    assert message.endswith(f"; {folder / PAGE} is written, and `chex-search report {folder}` uploads it")


def test_a_confirmation_is_on_the_page_and_both_are_in_the_storage(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def confirmed(again: SearchConfig, home: Path, **how: Any) -> list[TrialRecord]:
        home.mkdir()
        write_text(home / CONFIG, to_yaml(again))
        uri = storage_of(again, home)
        assert uri
        SearchStorage(home, uri).sync()
        runs: Sequence[TrialRecord] = [
            contender(n, 0.8, **point) for n, point in enumerate(again.initial_points, start=1)
        ]
        monkeypatch.setattr(confirm, "load_predictions", lambda folder: kept(list(runs)))
        return list(runs)

    monkeypatch.setattr(confirm, "run_search", confirmed)
    assert main(["confirm", str(folder), "--top", "2", "--seeds", "2"]) == 0
    text, page = (folder / "confirm" / CONFIRM_TEXT).read_bytes(), (folder / PAGE).read_bytes()
    assert capsys.readouterr().out == text.decode()
    assert b"Trained again on new seeds" in page
    figures = (folder / "confirm" / CONFIRMED).read_bytes()
    assert there(bucket, f"confirm/{CONFIRM_TEXT}", f"confirm/{CONFIRMED}", PAGE) == [text, figures, page]


def test_nothing_is_uploaded_to_a_storage_without_the_search(folder: Path, bucket: Where) -> None:
    upload_files(folder, bucket("searches/renamed"), CONFIG)
    upload_files(folder, None, CONFIG)
    assert not connect(bucket("searches/renamed")).entries()
