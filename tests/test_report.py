from pathlib import Path

from chex.metrics import METRIC
from search.ledger import State, TrialRow
from search.report import report
from search.verdict import Verdict


def row(number: int, state: State, policy: str, value: float) -> TrialRow:
    return TrialRow(
        number, state, {"policy.default": policy, "optimizer.lr": 1.5e-3}, ({METRIC: value, "percent": 100},)
    )


ROWS = [row(1, "finished", "ones", 0.86), row(2, "finished", "zeros", 0.85), row(3, "stopped", "ignore", 0.7)]


def verdict(within: int, trial: int = 1) -> Verdict:
    return Verdict(trial, 0.86, 0.81, 0.91, units=234, patients=200, trials=3, stopped=1, failed=0, within=within)


def test_the_last_screen_gives_the_config_the_interval_and_its_limits() -> None:
    lines = report(verdict(within=1), ROWS, Path("results/demo"), baseline=True).splitlines()
    assert lines[0] == "Best config: trial 1 of 3 trials, 1 stopped early, 0 failed"
    assert lines[1].split() == ["policy.default", "ones"]
    told = "validation AUROC .860   95 % interval .810 to .910 (bootstrap over 200 patients, 234 films)"
    assert told in lines
    assert "That is the base config itself: no other trial did better." in lines
    assert "It was chosen as the best of 3 on these same films: on new ones, expect less." in lines
    assert "1 other finished trial lies inside the interval: this search does not tell them from the best." in lines


def test_a_policy_of_which_no_trial_finished_has_no_figure() -> None:
    lines = report(verdict(within=0), ROWS, Path("results/demo"), baseline=True).splitlines()
    table = [line.split() for line in lines[lines.index("Best finished trial of each policy:") + 1 :]]
    assert table[:3] == [
        ["ignore", "-", "0", "of", "1", "finished"],
        ["ones", ".860", "1", "of", "1", "finished"],
        ["zeros", ".850", "1", "of", "1", "finished"],
    ]


def test_a_winner_is_set_beside_the_base_config() -> None:
    lines = report(verdict(within=1, trial=2), ROWS, Path("results/demo"), baseline=True).splitlines()
    assert "The base config, trial 1, reached .860." in lines


def test_the_next_commands_name_the_folder() -> None:
    text = report(verdict(within=2), ROWS, Path("results/demo").absolute(), baseline=False)
    assert "train results/demo/best.yaml" in text
    assert "--logdir results/demo" in text
    assert "2 other finished trials lie inside the interval" in text
