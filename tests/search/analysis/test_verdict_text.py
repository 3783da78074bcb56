from dataclasses import replace

import numpy as np
import pytest

from chex.statistics.intervals import Estimate
from search.analysis.best_set import BestSet
from search.analysis.ensemble import Ensemble, Member
from search.analysis.importance import Importances
from search.analysis.trial_aurocs import TrialAurocs
from search.analysis.value_comparison import UNKNOWN, ValueComparison
from search.analysis.verdict import Verdict
from search.analysis.verdict_text import WIDTH, sentences, unproven, verdict_text

FIGURE = Estimate(0.861, 0.8, 0.9)
LONG = "Enlarged Cardiomediastinum"


def trial(number: int, auroc: float) -> TrialAurocs:
    figure = Estimate(auroc, auroc - 0.05, auroc + 0.05)
    undefined = Estimate(np.nan, np.nan, np.nan)
    return TrialAurocs(number, 1_234_567, figure, (figure, undefined))


def pair(verdict: str, value: float = 0.02, param: str = "policy.default", outcome: str = "mean") -> ValueComparison:
    gap = UNKNOWN if verdict == "untested" else Estimate(value, value - 0.01, value + 0.01)
    return ValueComparison(param, "ones", "zeros", (12, 9), outcome, gap, gap, 0.95, verdict)  # type: ignore[arg-type]


VERDICT = Verdict(
    observations=(LONG, "Fracture"),
    positives=(68, 0),
    units=234,
    patients=200,
    finished=3,
    pruned=1,
    failed=1,
    unfinished=0,
    reports=300,
    winner=17,
    naive_auroc=Estimate(0.873, 0.841, 0.9),
    debiased_auroc=FIGURE,
    trials=(trial(3, 0.84), trial(17, 0.873)),
    best_set=BestSet((17, 3), 50, 3, 120_000, "resnet18"),
    comparisons=(pair("different"), pair("tied"), pair("tied"), pair("untested")),
)


def one_line(verdict: Verdict) -> str:
    return " ".join(sentences(verdict))


def test_three_sentences_say_who_wins_who_ties_and_what_differs() -> None:
    assert one_line(VERDICT) == (
        "Trial 17 wins: AUROC .873 (95 % interval .841 to .900) on the 234 images of 200 patients by which it was "
        "chosen, the best of 300 reports of 2 trials. Expect .861 (95 % interval .800 to .900) on other patients "
        "like these. "
        "2 of 50 trials may be the best, trial 17 included: the data cannot distinguish them; the cheapest is "
        "trial 3 (120,000 training images, resnet18). "
        "These values differ by more than chance, all pairs considered: policy.default ones over zeros "
        "(+.020 (+.010 to +.030)); "
        "2 pairs of values tied, 1 pair with too few finished trials."
    )


def test_the_better_value_is_named_first() -> None:
    assert "policy.default zeros over ones (+.020 (+.010 to +.030))" in one_line(
        replace(VERDICT, comparisons=(pair("different", -0.02),))
    )


@pytest.mark.parametrize(
    ("rivals", "said"),
    [
        ((), "No parameter has values to compare."),
        ((pair("tied"),), "No value of a parameter is proven better than another: 1 pair of values tied."),
        (
            (pair("untested"),) * 2,
            "No value of a parameter is proven better than another: 2 pairs with too few finished trials.",
        ),
    ],
)
def test_nothing_proven_is_said(rivals: tuple[ValueComparison, ...], said: str) -> None:
    assert one_line(replace(VERDICT, comparisons=rivals)).endswith(said)


@pytest.mark.parametrize(
    ("of", "said"),
    [(50, "Every other trial is worse by more than chance explains."), (1, "No other trial has a result.")],
)
def test_a_winner_without_ties_is_said(of: int, said: str) -> None:
    assert said in one_line(replace(VERDICT, best_set=BestSet((17,), of, 17, 5, "")))


def test_a_winner_that_is_the_cheapest_is_not_named_as_another_trial() -> None:
    said = one_line(replace(VERDICT, best_set=BestSet((3, 17), 50, 17, 5, "")))
    assert "the data cannot distinguish them; it is the cheapest (5" in said


def test_what_matters_most_comes_last_where_a_terminal_has_it() -> None:
    assert verdict_text(VERDICT).endswith("\n".join(sentences(VERDICT)))


def test_what_is_not_proven_names_few_positives_and_trials_under_way() -> None:
    told = " ".join(unproven(replace(VERDICT, positives=(3, 0), unfinished=2)))
    assert f"With fewer than 10 positives, an AUROC is unreliable: {LONG} (3)." in told
    assert "Trials that have not ended (2 so far) could not be chosen." in told
    assert "positives" not in " ".join(unproven(VERDICT))


def test_what_was_held_out_is_said_to_have_the_labels_of_a_program() -> None:
    assert "not with a radiologist" in " ".join(unproven(VERDICT, "images held out"))
    assert "radiologist" not in " ".join(unproven(VERDICT))


def test_what_is_no_test_has_no_interval() -> None:
    lines = verdict_text(replace(VERDICT, comparisons=(pair("tied"),))).splitlines()
    assert "    matched average +.020 (+.010 to +.030)  best of each +.020" in lines


def test_tables_give_trials_best_first_and_leave_undefined_observations_out() -> None:
    lines = verdict_text(VERDICT).splitlines()
    table = lines[lines.index("The best 2 of 2 trials, by uncorrected AUROC:") + 2 :]
    assert table[0].split() == ["17", ".873", ".823", "to", ".923", "1,234,567", "yes"]
    assert table[1].split()[0] == "3"
    assert not any(line.startswith("Fracture") for line in lines)


def test_no_line_is_wider_than_a_terminal() -> None:
    wide = replace(
        VERDICT,
        comparisons=(
            pair("tied", -0.02, f"policy.{LONG}", LONG),
            pair("untested", param=f"policy.{LONG}", outcome=LONG),
        ),
        importances=Importances({f"policy.{LONG}": 1.0}, {f"policy.{LONG}": 0.9, "optimizer.lr": 0.1}, ""),
        ensemble=Ensemble(tuple(Member(k, 5, 1 / 15) for k in range(100, 115)), 0.9, FIGURE, 10, 0.89, UNKNOWN),
    )
    text = verdict_text(wide, "studies")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "first minus second (finished trials)" in text.replace("\n", " ")
    assert "and 5 more" in text


def test_importances_that_are_not_there_say_why() -> None:
    assert "Importances of parameters: none, because 3 trials finished." in verdict_text(
        replace(VERDICT, importances=Importances({}, {}, "3 trials finished"))
    )
