"""What is written after a search's end is in its storage too, an emulated bucket."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from chex.atomic import write_text
from chex.config import dump
from search import confirm, study
from search.bucket import reach
from search.command import EXIT_FAILED, main
from search.confirm import CONFIRMED, TEXT
from search.ledger import TrialRow
from search.search_config import SearchConfig
from search.stored import CONFIG, Stored, deliver
from search.study import PAGE, REPORT, load_begun, rows_of, storage_of
from tests.made_search import made_search
from tests.test_confirm import kept, row

Where = Callable[[str], str]


@pytest.fixture
def folder(tmp_path: Path, bucket: Where) -> Path:
    """A search at its end as `run_search` leaves it, in its storage too."""
    home = tmp_path / "results" / "made"
    search = made_search(home, 6).model_copy(update={"storage": bucket("searches")})
    write_text(home / CONFIG, dump(search))
    Stored(home, bucket("searches/made")).keep()
    return home


def there(bucket: Where, *names: str) -> list[bytes]:
    return [(reach(bucket("searches/made")) / name).read() for name in names]


def test_after_a_run_the_last_screen_and_the_page_are_in_the_storage(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conducted(search: SearchConfig, home: Path, **how: Any) -> list[TrialRow]:
        return rows_of(search, home)

    monkeypatch.setattr(study, "run_search", conducted)
    assert main(["resume", str(folder)]) == 0
    assert there(bucket, REPORT, PAGE) == [(folder / REPORT).read_bytes(), (folder / PAGE).read_bytes()]


def test_a_page_that_is_written_again_is_in_the_storage_and_nothing_else_is_changed_there(
    folder: Path, bucket: Where, capsys: pytest.CaptureFixture[str]
) -> None:
    (reach(bucket("searches/made")) / "optuna.db").write(b"of a machine that has gone on")
    (folder / REPORT).write_text("old")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"{folder / PAGE}\n"
    assert there(bucket, PAGE, "optuna.db") == [(folder / PAGE).read_bytes(), b"of a machine that has gone on"]
    assert not (reach(bucket("searches/made")) / REPORT).is_file()


def test_a_page_that_cannot_be_put_into_the_storage_is_written_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    search = load_begun(folder).model_copy(update={"storage": "gs://anonymous@films/x?endpoint_override=127.0.0.1%3A1"})
    write_text(folder / CONFIG, dump(search))
    assert main(["report", str(folder)]) == EXIT_FAILED
    assert (folder / PAGE).exists()
    told = capsys.readouterr().err.strip()
    assert told.startswith("chex-search report: gs://anonymous@films/x/made: ")
    assert told.endswith(f"; {folder / PAGE} is written, and `chex-search report {folder}` puts it there")


def test_a_confirmation_is_on_the_page_at_once_and_both_are_in_the_storage(
    folder: Path, bucket: Where, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def confirmed(again: SearchConfig, home: Path, **how: Any) -> list[TrialRow]:
        home.mkdir()
        write_text(home / CONFIG, dump(again))
        uri = storage_of(again, home)
        assert uri
        Stored(home, uri).keep()
        runs: Sequence[TrialRow] = [row(n, 0.8, **point) for n, point in enumerate(again.points, start=1)]
        monkeypatch.setattr(confirm, "load_predictions", lambda folder: kept(list(runs)))
        return list(runs)

    monkeypatch.setattr(confirm, "run_search", confirmed)
    assert main(["confirm", str(folder), "--top", "2", "--seeds", "2"]) == 0
    text, page = (folder / "confirm" / TEXT).read_bytes(), (folder / PAGE).read_bytes()
    assert capsys.readouterr().out == text.decode()
    assert b"Trained again on new seeds" in page
    figures = (folder / "confirm" / CONFIRMED).read_bytes()
    assert there(bucket, f"confirm/{TEXT}", f"confirm/{CONFIRMED}", PAGE) == [text, figures, page]


def test_where_the_storage_does_not_keep_the_search_nothing_is_put(folder: Path, bucket: Where) -> None:
    deliver(folder, bucket("searches/renamed"), CONFIG)
    deliver(folder, None, CONFIG)
    assert not reach(bucket("searches/renamed")).entries()
