from pathlib import Path

import pytest

from chex.atomic import write_text
from chex.config import dump
from chex.errors import InputError
from search.book import Book
from search.export import note_error, trial_folder
from search.search_config import SearchConfig
from search.stored import CONFIG
from search.trial_log import LINES, trial_log

REPORT = {"percent": 25, "images_seen": 2400, "auroc": 0.7, "best_auroc": 0.71}


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A search's folder whose first trial failed after a report."""
    content = {"base": {"data": {"root": "x"}}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}
    search = SearchConfig.model_validate(content)
    write_text(tmp_path / CONFIG, dump(search))
    book = Book(tmp_path, search.knobs())
    book.begin({"optimizer.lr": 1e-3})
    book.report(1, 1, REPORT)
    book.end(1, "failed", float("nan"), "RuntimeError: device lost")
    book.close()
    return tmp_path


def test_a_failed_trial_is_told_with_its_knobs_reports_and_error(failed: Path) -> None:
    assert trial_log(failed, 1) == (
        "trial 1: failed, 25 % of its schedule, 2,400 images\n"
        "  optimizer.lr: 0.001\n"
        "  25 %: best validation AUROC so far .710\n"
        "  error: RuntimeError: device lost"
    )


def test_the_last_lines_of_what_its_processes_died_of_are_told(failed: Path) -> None:
    home = trial_folder(failed, 1)
    note_error(home, "first death\n")
    note_error(home, "\n".join(f"line {number}" for number in range(LINES)))
    told = trial_log(failed, 1).splitlines()
    assert told[4] == f"{home}/errors.txt:"
    assert told[5:] == [f"line {number}" for number in range(LINES)]


@pytest.mark.parametrize("number", [0, 2])
def test_a_trial_that_is_not_there_is_refused(failed: Path, number: int) -> None:
    with pytest.raises(InputError) as error:
        trial_log(failed, number)
    assert str(error.value) == f"{failed} has no trial {number}; it has trials 1 to 1"


def test_a_search_without_trials_is_told(failed: Path) -> None:
    (failed / "optuna.db").unlink()
    with pytest.raises(InputError) as error:
        trial_log(failed, 1)
    assert str(error.value) == f"{failed} has no trial 1; none has begun"
