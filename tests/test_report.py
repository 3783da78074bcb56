import shutil
from pathlib import Path

import pytest

from chex.intervals import Estimate
from chex.metrics import METRIC
from search.command import main
from search.ledger import State, TrialRow
from search.report import conclude, places, report
from search.study import rows_of
from search.ties import Ties
from search.verdict import Verdict
from tests.made_search import made_search


def row(number: int, state: State, policy: str, value: float) -> TrialRow:
    return TrialRow(
        number, state, {"policy.default": policy, "optimizer.lr": 1.5e-3}, ({METRIC: value, "percent": 100},)
    )


ROWS = [row(1, "finished", "ones", 0.86), row(2, "finished", "zeros", 0.85), row(3, "stopped", "ignore", 0.7)]


def verdict(trial: int = 1) -> Verdict:
    return Verdict(
        observations=("Cardiomegaly",),
        positives=(68,),
        units=234,
        patients=200,
        finished=2,
        stopped=1,
        failed=0,
        unfinished=0,
        reports=12,
        winner=trial,
        naive=Estimate(0.86, 0.81, 0.91),
        corrected=Estimate(0.85, 0.8, 0.9),
        trials=(),
        ties=Ties((1, 2), 3, 2, 500, ""),
        rivals=(),
    )


def test_the_last_screen_gives_the_config_both_aurocs_the_ties_and_its_limits() -> None:
    lines = report(verdict(), ROWS, baseline=True).splitlines()
    head = lines.index("Best config: trial 1 of 3 trials, 1 stopped early, 0 failed")
    assert lines[head + 1] == "  policy.default ones,  optimizer.lr 1.5e-03"
    told = " ".join(lines)
    assert "AUROC .860 (95 % interval .810 to .910) on the 234 films of 200 patients that it was chosen by" in told
    assert "expect .850 (95 % interval .800 to .900) on other patients like these." in told
    assert "2 of 3 trials, trial 1 among them, may be the best: the data do not tell them apart; the " in told
    assert "cheapest is trial 2" in told
    assert "The weights were judged: the winner's config, trained again with another seed, gives others." in told
    assert "That is the base config itself: no other trial did better." in lines


def test_a_policy_of_which_no_trial_finished_has_no_figure() -> None:
    lines = report(verdict(), ROWS, baseline=True).splitlines()
    table = [line.split() for line in lines[lines.index("Best finished trial of each policy:") + 1 :]]
    assert table[:3] == [
        ["ignore", "-", "0", "of", "1", "finished"],
        ["ones", ".860", "1", "of", "1", "finished"],
        ["zeros", ".850", "1", "of", "1", "finished"],
    ]


def test_a_winner_is_set_beside_the_base_config() -> None:
    lines = report(verdict(trial=2), ROWS, baseline=True).splitlines()
    assert "The base config, trial 1, reached .860." in lines


def test_a_small_terminal_still_shows_the_winner_and_what_to_type_next() -> None:
    text = f"{report(verdict(), ROWS, baseline=True)}\n\n{places(Path('results/demo'))}"
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    last = "\n".join(lines[-23:])
    for told in ("Best config: trial 1", "policy.default ones", "AUROC .860", "expect .850", "report.html", "Next:"):
        assert told in last
    assert "verdict results/demo" in lines[-1]


def test_values_of_the_winner_are_not_torn_apart() -> None:
    values = {f"policy.Observation number {place}": "smoothed_ones" for place in range(9)}
    rows = [TrialRow(1, "finished", values, ({METRIC: 0.86, "percent": 100},))]
    text = report(verdict(), rows, baseline=False)
    assert all(any(f"{path} smoothed_ones" in line for line in text.splitlines()) for path in values)


def test_a_long_path_is_one_line_to_copy() -> None:
    folder = Path("/", *["a rather long name"] * 6)
    lines = places(folder).splitlines()
    assert any(line.endswith(f"verdict '{folder}'") for line in lines)


def test_a_copied_search_tells_where_it_lies_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old place", tmp_path / "new place"
    search = made_search(old, trials=6)
    conclude(rows_of(search, old), old, search)
    shutil.copytree(old, new)
    assert main(["resume", str(new)]) == 0
    told = capsys.readouterr().out
    assert f"verdict '{new}'" in told
    assert "old place" not in told


def test_the_next_commands_name_the_folder() -> None:
    text = places(Path("results/demo").absolute())
    assert "verdict results/demo" in text
    assert "export results/demo OUT" in text
    assert "train results/demo/best.yaml" in text
    assert "--logdir results/demo/tensorboard" in text
