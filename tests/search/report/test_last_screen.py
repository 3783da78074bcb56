import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from chex.statistics.intervals import Estimate
from chex.statistics.metrics import METRIC
from search.analysis.best_set import BestSet
from search.analysis.strategies import Strategies
from search.analysis.verdict import Verdict
from search.command import main
from search.config.search_folder import load_trials
from search.report.last_screen import files_and_commands, finish_search, format_report
from search.trials.trial import State, TrialRecord
from tests.drawn_strategies import drawn_strategies, joined
from tests.made_search import made_search


def row(number: int, state: State, policy: str, value: float) -> TrialRecord:
    return TrialRecord(
        number, state, {"policy.default": policy, "optimizer.lr": 1.5e-3}, ({METRIC: value, "percent": 100},)
    )


ROWS = [row(1, "finished", "ones", 0.86), row(2, "finished", "zeros", 0.85), row(3, "pruned", "ignore", 0.7)]


def verdict(trial: int = 1) -> Verdict:
    return Verdict(
        observations=("Cardiomegaly",),
        positives=(68,),
        units=234,
        patients=200,
        finished=2,
        pruned=1,
        failed=0,
        unfinished=0,
        reports=12,
        winner=trial,
        naive_auroc=Estimate(0.86, 0.81, 0.91),
        debiased_auroc=Estimate(0.85, 0.8, 0.9),
        trials=(),
        best_set=BestSet((1, 2), 3, 2, 500, ""),
        strategies=Strategies(),
    )


def test_the_last_screen_has_the_config_both_aurocs_the_ties_and_the_limits() -> None:
    lines = format_report(verdict(), ROWS, baseline=True).splitlines()
    head = lines.index("Best config: trial 1 of 3 trials, 1 pruned, 0 failed")
    assert lines[head + 1] == "  policy.default ones,  optimizer.lr 1.5e-03"
    output = " ".join(lines)
    assert "AUROC .860 (95 % interval .810 to .910) on the 234 images of 200 patients by which it was chosen" in output
    assert "Expect .850 (95 % interval .800 to .900) on other patients like these." in output
    assert "2 of 3 trials may be the best, trial 1 included: the data cannot distinguish them; the " in output
    assert "cheapest is trial 2" in output
    assert "The AUROCs are of these weights; the same config, trained with another seed, gives other weights." in output
    assert "This is the base config: no other trial reached a higher AUROC." in lines


def test_the_last_screen_names_the_policy_of_each_observation_and_how_sure_that_is() -> None:
    table = joined(
        drawn_strategies("policy.Edema", "ones", "zeros", better="ones"),
        drawn_strategies("policy.Pleural Effusion", "ignore", "zeros"),
        drawn_strategies("model.backbone", "resnet50", "densenet121"),
    )
    lines = format_report(replace(verdict(), strategies=table), ROWS, baseline=True).splitlines()
    start = lines.index("The policy of each observation, and how probable it is that it is the best:")
    assert lines[start + 1 : start + 5] == [
        "  Edema                       ones              .97   then zeros .03",
        "  Pleural Effusion            ignore            .50   then zeros .50",
        "",
        "Best config: trial 1 of 3 trials, 1 pruned, 0 failed",
    ]


def test_the_winner_is_compared_with_the_base_config() -> None:
    lines = format_report(verdict(trial=2), ROWS, baseline=True).splitlines()
    assert "The base config, trial 1, reached .860." in lines


def test_a_small_terminal_still_shows_the_winner_and_the_next_commands() -> None:
    text = f"{format_report(verdict(), ROWS, baseline=True)}\n\n{files_and_commands(Path('results/demo'))}"
    lines = text.splitlines()
    assert max(map(len, lines)) <= 80
    last = "\n".join(lines[-23:])
    for output in ("Best config: trial 1", "policy.default ones", "AUROC .860", "Expect .850", "report.html", "Next:"):
        assert output in last
    assert "verdict results/demo" in lines[-1]


def test_a_parameter_and_its_value_are_on_one_line() -> None:
    values = {f"policy.Observation number {position}": "smoothed_ones" for position in range(9)}
    rows = [TrialRecord(1, "finished", values, ({METRIC: 0.86, "percent": 100},))]
    text = format_report(verdict(), rows, baseline=False)
    assert all(any(f"{path} smoothed_ones" in line for line in text.splitlines()) for path in values)


def test_a_long_path_is_one_line_to_copy() -> None:
    folder = Path("/", *["a rather long name"] * 6)
    lines = files_and_commands(folder).splitlines()
    assert any(line.endswith(f"verdict '{folder}'") for line in lines)


def test_a_copied_search_prints_its_new_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = tmp_path / "old place", tmp_path / "new place"
    search = made_search(old, trials=6)
    finish_search(load_trials(search, old), old, search)
    shutil.copytree(old, new)
    assert main(["resume", str(new)]) == 0
    output = capsys.readouterr().out
    assert f"verdict '{new}'" in output
    assert "old place" not in output


def test_the_next_commands_name_the_folder() -> None:
    text = files_and_commands(Path("results/demo").absolute())
    assert "verdict results/demo" in text
    assert "export results/demo OUT" in text
    assert "train results/demo/best.yaml" in text
    assert "--logdir results/demo/tensorboard" in text
