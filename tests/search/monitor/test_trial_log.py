from pathlib import Path

import pytest

from chex.config import to_yaml
from chex.errors import InputError
from chex.runtime.atomic_io import write_text
from search.config.search_config import SearchConfig
from search.monitor.trial_log import MAX_ERROR_LINES, trial_log
from search.trials.artifacts import append_error
from search.trials.layout import CONFIG, trial_folder
from search.trials.study_store import StudyStore

REPORT = {"percent": 25, "images_seen": 2400, "auroc": 0.7, "best_auroc": 0.71}


@pytest.fixture
def failed(tmp_path: Path) -> Path:
    """A search's folder whose first trial failed after a report."""
    content = {"base": {"data": {"root": "x"}}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-2]}}}
    search = SearchConfig.model_validate(content)
    write_text(tmp_path / CONFIG, to_yaml(search))
    book = StudyStore(tmp_path, search.search_space())
    book.create_trial({"optimizer.lr": 1e-3})
    book.add_report(1, 1, REPORT)
    book.finish_trial(1, "failed", float("nan"), "RuntimeError: device lost")
    book.close()
    return tmp_path


def test_a_failed_trial_has_its_parameters_reports_and_error(failed: Path) -> None:
    assert trial_log(failed, 1) == (
        "trial 1: failed, 25 % of its schedule, 2,400 images\n"
        "  optimizer.lr: 0.001\n"
        "  25 %: best validation AUROC so far .710\n"
        "  error: RuntimeError: device lost"
    )


def test_the_last_lines_of_its_processes_errors_are_shown(failed: Path) -> None:
    folder = trial_folder(failed, 1)
    append_error(folder, "first error\n")
    append_error(folder, "\n".join(f"line {number}" for number in range(MAX_ERROR_LINES)))
    lines = trial_log(failed, 1).splitlines()
    assert lines[4] == f"{folder}/errors.txt:"
    assert lines[5:] == [f"line {number}" for number in range(MAX_ERROR_LINES)]


@pytest.mark.parametrize("number", [0, 2])
def test_a_missing_trial_is_refused(failed: Path, number: int) -> None:
    with pytest.raises(InputError) as error:
        trial_log(failed, number)
    assert str(error.value) == f"{failed} has no trial {number}; it has trials 1 to 1"


def test_a_search_without_trials_is_refused(failed: Path) -> None:
    (failed / "optuna.db").unlink()
    with pytest.raises(InputError) as error:
        trial_log(failed, 1)
    assert str(error.value) == f"{failed} has no trial 1; none has started"
