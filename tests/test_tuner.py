from pathlib import Path
from types import SimpleNamespace
from typing import Any

from search.tuner import _Desk, _Ends


class Conductor:
    def __init__(self) -> None:
        self.heard: list[tuple[int, str]] = []

    def failed(self, number: int, error: str) -> None:
        self.heard.append((number, error))


def test_what_a_trials_process_died_of_is_kept_in_full_and_its_last_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "error.txt").write_text("Traceback:\n  in a line\nValueError: no\n")
    trial: Any = SimpleNamespace(config={"number": 3}, error_file=str(tmp_path / "error.txt"))
    conductor: Any = Conductor()
    ends = _Ends(_Desk(conductor, tmp_path))
    ends.on_trial_error(0, [], trial)
    ends.on_trial_error(1, [], trial)
    assert (tmp_path / "trials/003/errors.txt").read_text() == 2 * "Traceback:\n  in a line\nValueError: no\n"
    assert conductor.heard == [(3, "ValueError: no")] * 2
