from dataclasses import replace

import numpy as np
import pytest

from chex.statistics.intervals import UNDEFINED, Estimate
from search.analysis.best_set import BestSet
from search.analysis.ensemble import Ensemble, Member
from search.analysis.importance import Importances
from search.analysis.strategies import Strategies
from search.analysis.trial_aurocs import TrialAurocs
from search.analysis.verdict import Verdict
from search.analysis.verdict_text import WIDTH, sentences, unproven, verdict_text
from tests.drawn_strategies import drawn_strategies

FIGURE = Estimate(0.861, 0.8, 0.9)
LONG = "Enlarged Cardiomediastinum"


def trial(number: int, auroc: float) -> TrialAurocs:
    figure = Estimate(auroc, auroc - 0.05, auroc + 0.05)
    undefined = Estimate(np.nan, np.nan, np.nan)
    return TrialAurocs(number, 1_234_567, figure, (figure, undefined))


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
    strategies=drawn_strategies("policy.default", "ones", "ignore", "zeros", better="ones", slope="worse"),
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
        "Proven, all of it together with a probability of 95 %: policy.default ones is better than the others on "
        "average (+.030 (+.020 to +.040)); AUROC falls with optimizer.lr (-.020 (-.030 to -.010) over its range)."
    )


def test_of_two_values_only_the_better_one_is_named() -> None:
    backbones = drawn_strategies("model.backbone", "resnet50", "densenet121", better="resnet50")
    said = one_line(replace(VERDICT, strategies=backbones))
    assert "model.backbone resnet50 is better than the other (+.030 (+.020 to +.040))." in said
    assert "worse" not in said


@pytest.mark.parametrize(
    ("strategies", "trials", "said"),
    [
        (Strategies(), 2, "Too few trials to compare values of parameters: 2 trials with a result, and 6 are needed."),
        (Strategies(), 6, "No parameter has values to compare."),
        (
            drawn_strategies("policy.Edema", "ones", "zeros"),
            6,
            "Nothing is proven about a parameter: no value is better or worse than the others of its parameter by more "
            "than chance explains.",
        ),
    ],
)
def test_nothing_proven_is_said(strategies: Strategies, trials: int, said: str) -> None:
    tried = (trial(17, 0.873), *(trial(number, 0.8) for number in range(1, trials)))
    assert one_line(replace(VERDICT, strategies=strategies, trials=tried)).endswith(said)


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


def test_the_config_trained_again_has_an_expectation_of_its_own() -> None:
    expected = replace(VERDICT.strategies, config_aurocs={17: Estimate(0.85, 0.81, 0.88)})
    said = " ".join(unproven(replace(VERDICT, strategies=expected)))
    assert "expect .850 (95 % interval .810 to .880) if all that its parameters do not explain was luck." in said
    assert "another seed, gives other weights. " in " ".join([*unproven(VERDICT), ""])


def test_what_was_held_out_is_said_to_have_the_labels_of_a_program() -> None:
    assert "not with a radiologist" in " ".join(unproven(VERDICT, "images held out"))
    assert "radiologist" not in " ".join(unproven(VERDICT))


def test_values_are_listed_with_their_difference_and_the_ones_that_may_be_the_best_are_marked() -> None:
    lines = verdict_text(VERDICT).splitlines()
    assert "  ones                   12 (9)  +.030 (+.010 to +.050)         .97 *" in lines
    assert "  ignore                 12 (9)  +.000 (-.020 to +.020)         .01" in lines
    assert "  zeros                  12 (9)  -                              .01" in lines
    assert "  optimizer.lr                        -.020 (-.030 to -.010)" in lines


def test_tables_give_trials_best_first_and_leave_undefined_observations_out() -> None:
    lines = verdict_text(VERDICT).splitlines()
    table = lines[lines.index("The best 2 of 2 trials, by uncorrected AUROC:") + 2 :]
    assert table[0].split() == ["17", ".873", ".823", "to", ".923", "1,234,567", "yes"]
    assert table[1].split()[0] == "3"
    assert not any(line.startswith("Fracture") for line in lines)


def test_no_line_is_wider_than_a_terminal() -> None:
    wide = replace(
        VERDICT,
        strategies=drawn_strategies(f"policy.{LONG}", "smoothed_ones", "zeros", better="smoothed_ones"),
        importances=Importances({f"policy.{LONG}": 1.0}, {f"policy.{LONG}": 0.9, "optimizer.lr": 0.1}, ""),
        ensemble=Ensemble(tuple(Member(k, 5, 1 / 15) for k in range(100, 115)), 0.9, FIGURE, 10, 0.89, UNDEFINED),
    )
    text = verdict_text(wide, "studies")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "difference from zeros, and the probability to be the best" in text.replace("\n", " ")
    assert "and 5 more" in text


def test_importances_that_are_not_there_say_why() -> None:
    assert "Importances of parameters: none, because 3 trials finished." in verdict_text(
        replace(VERDICT, importances=Importances({}, {}, "3 trials finished"))
    )
