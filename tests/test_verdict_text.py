from dataclasses import replace

import numpy as np
import pytest

from chex.intervals import Estimate
from search.ensemble import Ensemble, Member
from search.importance import Importances
from search.rivals import UNKNOWN, Rivalry
from search.ties import Ties
from search.trial_figures import TrialFigures
from search.verdict import Verdict
from search.verdict_text import WIDTH, sentences, told, unproven

FIGURE = Estimate(0.861, 0.8, 0.9)
LONG = "Enlarged Cardiomediastinum"


def trial(number: int, auroc: float) -> TrialFigures:
    figure = Estimate(auroc, auroc - 0.05, auroc + 0.05)
    undefined = Estimate(np.nan, np.nan, np.nan)
    return TrialFigures(number, 1_234_567, figure, (figure, undefined))


def pair(verdict: str, value: float = 0.02, knob: str = "policy.default", outcome: str = "mean") -> Rivalry:
    gap = UNKNOWN if verdict == "untested" else Estimate(value, value - 0.01, value + 0.01)
    return Rivalry(knob, "ones", "zeros", (12, 9), outcome, gap, gap, 0.95, verdict)  # type: ignore[arg-type]


VERDICT = Verdict(
    observations=(LONG, "Fracture"),
    positives=(68, 0),
    units=234,
    patients=200,
    finished=3,
    stopped=1,
    failed=1,
    unfinished=0,
    reports=300,
    winner=17,
    naive=Estimate(0.873, 0.841, 0.9),
    corrected=FIGURE,
    trials=(trial(3, 0.84), trial(17, 0.873)),
    ties=Ties((17, 3), 50, 3, 120_000, "resnet18"),
    rivals=(pair("different"), pair("tied"), pair("tied"), pair("untested")),
)


def one_line(verdict: Verdict) -> str:
    return " ".join(sentences(verdict))


def test_three_sentences_say_who_wins_who_ties_and_what_differs() -> None:
    assert one_line(VERDICT) == (
        "Trial 17 wins: AUROC .873 (95 % interval .841 to .900) on the 234 films of 200 patients that it was chosen "
        "by, the best of 300 reports of 2 trials; expect .861 (95 % interval .800 to .900) on other patients "
        "like these. "
        "2 of 50 trials, trial 17 among them, may be the best: the data do not tell them apart; the cheapest is "
        "trial 3 (120,000 training images, resnet18). "
        "Different beyond chance, all pairs considered: policy.default ones over zeros (+.020 (+.010 to +.030)); "
        "2 pairs of values not told apart, 1 pair with too few finished trials."
    )


def test_the_better_value_is_named_first() -> None:
    assert "policy.default zeros over ones (+.020 (+.010 to +.030))" in one_line(
        replace(VERDICT, rivals=(pair("different", -0.02),))
    )


@pytest.mark.parametrize(
    ("rivals", "said"),
    [
        ((), "No knob has values to compare."),
        ((pair("tied"),), "No value of a knob is proven better than another: 1 pair of values not told apart."),
        (
            (pair("untested"),) * 2,
            "No value of a knob is proven better than another: 2 pairs with too few finished trials.",
        ),
    ],
)
def test_nothing_proven_is_said(rivals: tuple[Rivalry, ...], said: str) -> None:
    assert one_line(replace(VERDICT, rivals=rivals)).endswith(said)


@pytest.mark.parametrize(
    ("of", "said"),
    [(50, "Every other trial is worse, by more than chance explains."), (1, "No other trial has a result.")],
)
def test_a_winner_without_ties_is_said(of: int, said: str) -> None:
    assert said in one_line(replace(VERDICT, ties=Ties((17,), of, 17, 5, "")))


def test_a_winner_that_is_the_cheapest_is_not_named_as_another_trial() -> None:
    said = one_line(replace(VERDICT, ties=Ties((3, 17), 50, 17, 5, "")))
    assert "may be the best: the data do not tell them apart; it is the cheapest (5" in said


def test_what_matters_most_comes_last_where_a_terminal_has_it() -> None:
    assert told(VERDICT).endswith("\n".join(sentences(VERDICT)))


def test_what_is_not_proven_names_few_positives_and_trials_under_way() -> None:
    told = " ".join(unproven(replace(VERDICT, positives=(3, 0), unfinished=2)))
    assert f"Fewer than 10 positives, so that their AUROCs tell little: {LONG} (3)." in told
    assert "Nothing was chosen from trials that have not ended: 2 so far." in told
    assert "positives" not in " ".join(unproven(VERDICT))


def test_what_was_held_out_is_said_to_have_the_labels_of_a_program() -> None:
    assert "not a radiologist" in " ".join(unproven(VERDICT, "films held out"))
    assert "radiologist" not in " ".join(unproven(VERDICT))


def test_what_is_no_test_has_no_interval() -> None:
    lines = told(replace(VERDICT, rivals=(pair("tied"),))).splitlines()
    assert "    matched average +.020 (+.010 to +.030)  best of each +.020" in lines


def test_tables_give_trials_best_first_and_leave_undefined_observations_out() -> None:
    lines = told(VERDICT).splitlines()
    table = lines[lines.index("The best 2 of 2 trials, as they scored:") + 2 :]
    assert table[0].split() == ["17", ".873", ".823", "to", ".923", "1,234,567", "yes"]
    assert table[1].split()[0] == "3"
    assert not any(line.startswith("Fracture") for line in lines)


def test_no_line_is_wider_than_a_terminal() -> None:
    wide = replace(
        VERDICT,
        rivals=(pair("tied", -0.02, f"policy.{LONG}", LONG), pair("untested", knob=f"policy.{LONG}", outcome=LONG)),
        importances=Importances({f"policy.{LONG}": 1.0}, {f"policy.{LONG}": 0.9, "optimizer.lr": 0.1}, ""),
        ensemble=Ensemble(tuple(Member(k, 5, 1 / 15) for k in range(100, 115)), 0.9, FIGURE, 10, 0.89, UNKNOWN),
    )
    text = told(wide, "studies")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "first minus second (finished trials)" in text.replace("\n", " ")
    assert "and 5 more" in text


def test_importances_that_are_not_there_say_why() -> None:
    assert "Importances of knobs: none, because 3 trials finished." in told(
        replace(VERDICT, importances=Importances({}, {}, "3 trials finished"))
    )
