import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from search.optimize.component_effects import OwnParameter, fit_effects
from search.optimize.componentwise_sampler import (
    ComponentwiseSampler,
    _most_informative,
    quiet,
    report_components,
    reported_components,
)

CHOICES = ("zeros", "ones", "ignore", "forest")
GAINS = np.array([[0, 0.03, 0.01, -0.01], [0.02, 0, -0.04, 0.01], [0, 0, 0.01, 0.03]])
"""What each choice is worth to its component, (C, choices)."""
OWNERS = {f"choice {c}": str(c) for c in range(len(GAINS))}


def study_of(sampler: optuna.samplers.BaseSampler) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna.create_study(direction="maximize", sampler=sampler)


def run_trial(study: optuna.Study, rng: np.random.Generator, stop_at: int = 2) -> optuna.Trial:
    """Runs a trial with values at steps 1 and 2, or 1 alone, the mean of which goes up by .05 in between."""
    trial = study.ask()
    rate = trial.suggest_float("rate", 0, 1)
    own = [GAINS[c, CHOICES.index(trial.suggest_categorical(f"choice {c}", CHOICES))] for c in range(len(GAINS))]
    values = 0.8 - 0.1 * (rate - 0.6) ** 2 + np.array(own) + 0.01 * rng.standard_normal(len(GAINS))
    for step in range(1, stop_at + 1):
        report_components(trial, {str(c): value for c, value in enumerate(values - 0.05 * (2 - step))}, step)
    trial.report(float(values.mean()), stop_at)
    if stop_at == 2:
        study.tell(trial, float(values.mean()))
    else:
        study.tell(trial, state=TrialState.PRUNED)
    return trial


def run_study(sampler: optuna.samplers.BaseSampler, count: int, seed: int = 0) -> optuna.Study:
    study, rng = study_of(sampler), np.random.default_rng(seed)
    for number in range(count):
        run_trial(study, rng, stop_at=1 if number % 3 == 1 else 2)
    return study


def test_proposals_follow_from_the_seed_and_the_trials_before_them() -> None:
    params = [
        [trial.params for trial in run_study(ComponentwiseSampler(OWNERS, seed=seed), 12).trials] for seed in (1, 1, 2)
    ]
    assert params[0] == params[1] != params[2]
    study = run_study(ComponentwiseSampler(OWNERS, seed=1), 11)
    copy = study_of(ComponentwiseSampler(OWNERS, seed=1))
    copy.add_trials(study.trials)
    assert run_trial(copy, np.random.default_rng(5)).params == params[0][11]


def test_the_first_trials_try_each_choice_equally_often() -> None:
    study = study_of(ComponentwiseSampler(OWNERS, seed=0, n_startup_trials=9))
    run_trial(study, np.random.default_rng(0))
    for _ in range(2 * len(CHOICES) - 1):
        run_trial(study, np.random.default_rng(0))
    for name in OWNERS:
        later = [trial.params[name] for trial in study.trials[len(CHOICES) :]]
        assert sorted(later) == sorted(CHOICES)


def test_later_trials_have_the_best_choice_of_each_component_more_often_than_random_ones() -> None:
    def regret(sampler: optuna.samplers.BaseSampler, seed: int) -> float:
        trials = run_study(sampler, 30, seed).trials[18:]
        gains = [[GAINS[c, CHOICES.index(trial.params[f"choice {c}"])] for c in range(3)] for trial in trials]
        return float(np.mean(GAINS.max(axis=1) - np.mean(gains, axis=0)))

    ours = [regret(ComponentwiseSampler(OWNERS, seed=seed), seed) for seed in range(4)]
    random = [regret(RandomSampler(seed=seed), seed) for seed in range(4)]
    assert np.mean(ours) < 0.5 * np.mean(random)


def test_a_choice_is_judged_by_its_own_component_and_not_by_the_mean() -> None:
    rng = np.random.default_rng(0)
    chosen = rng.integers(2, size=(60, 2))
    values = np.zeros((60, 2, 1)) + 0.01 * rng.standard_normal((60, 2, 1))
    values[:, 0, 0] += np.where(chosen[:, 0] == 1, -0.02, 0.0)
    values[:, 1, 0] += np.where(chosen[:, 0] == 1, 0.10, 0.0)
    first = fit_effects(values, [OwnParameter(0, chosen[:, 0], 2)]).own_mean
    assert first[0] > first[1]


def test_pruned_trials_are_compared_with_others_at_the_step_at_which_they_ended() -> None:
    rng = np.random.default_rng(0)
    chosen = rng.integers(3, size=60)
    values = np.array([0.6, 0.7])[None, None, :] + np.array([0.0, 0.04, 0.08])[chosen][:, None, None]
    values = values + 0.01 * rng.standard_normal((60, 2, 1)) + 0.002 * rng.standard_normal((60, 2, 2))
    values[values[:, :, 0].mean(axis=1) < 0.64, :, 1] = np.nan
    effects = fit_effects(values, [OwnParameter(0, chosen, 3), OwnParameter(1, chosen, 3)])
    assert np.diff(effects.own_mean[:3] + effects.own_mean[3:]) / 2 == pytest.approx([0.04, 0.04], abs=0.03)
    pruned = np.isnan(values[:, 0, 1])
    assert effects.shared[pruned].mean() < effects.shared[~pruned].mean()


def test_a_component_without_values_gets_choices_from_the_prior() -> None:
    values = np.full((12, 2, 1), np.nan)
    values[:, 0, 0] = np.random.default_rng(0).random(12)
    chosen = np.arange(12) % 3
    effects = fit_effects(values, [OwnParameter(0, chosen, 3), OwnParameter(1, chosen, 3)])
    assert (effects.own_mean[3:] == 0).all()
    assert (np.diag(effects.own_covariance)[3:] > 0).all()
    assert np.isnan(effects.residual[:, 1]).all()


def test_a_number_that_exists_for_one_choice_is_proposed_where_it_exists() -> None:
    study = study_of(ComponentwiseSampler({"choice": "0", "low": "0", "other": "1"}, seed=0, n_startup_trials=4))
    rng = np.random.default_rng(0)
    for _ in range(24):
        trial = study.ask()
        low = trial.suggest_float("low", 0, 1) if trial.suggest_categorical("choice", ("plain", "low")) == "low" else 0
        trial.suggest_categorical("other", ("a", "b"))
        first = 0.8 + (0.1 - 0.3 * (low - 0.7) ** 2 if low else 0) + 0.005 * rng.standard_normal()
        report_components(trial, {"0": first, "1": 0.8 + 0.005 * rng.standard_normal()}, 1)
        study.tell(trial, first)
    late = [trial.params["low"] for trial in study.trials[12:] if "low" in trial.params]
    assert len(late) > 8
    assert np.abs(np.array(late) - 0.7).mean() < 0.25


def test_a_shared_parameter_that_some_trials_lack_is_proposed_where_it_exists() -> None:
    study, rng = study_of(ComponentwiseSampler(OWNERS, seed=0)), np.random.default_rng(0)
    momenta = []
    for number in range(48):
        trial = study.ask()
        value = 0.8 + 0.01 * rng.standard_normal()
        if number % 2:
            momenta.append(trial.suggest_float("momentum", 0, 1))
            value += 0.2 * momenta[-1]
        trial.suggest_categorical("choice 0", CHOICES)
        report_components(trial, {str(c): value for c in range(len(GAINS))}, 1)
        study.tell(trial, value)
    assert len(set(momenta)) == len(momenta)
    assert np.mean(momenta[-12:]) > 0.55


def test_the_gaussian_process_sees_the_first_the_best_and_the_running_trials() -> None:
    values = np.arange(300.0)
    values[[7, 290]] = np.nan
    seen = _most_informative(values)
    assert seen.tolist() == [*range(51), *range(199, 300)]
    assert _most_informative(values[:20]).tolist() == list(range(20))


def test_a_running_trial_counts_with_the_values_that_it_has() -> None:
    study = run_study(ComponentwiseSampler(OWNERS, seed=0), 8)
    running = study.ask({"rate": FloatDistribution(0, 1), "choice 0": CategoricalDistribution(CHOICES)})
    before = study.sampler.sample_relative(study, study.ask()._cached_frozen_trial, running.distributions)
    report_components(running, {"0": 0.99, "1": 0.99, "2": 0.99}, 1)
    after = study.sampler.sample_relative(study, study.trials[-1], running.distributions)
    assert before != after
    assert reported_components(study.trials[running.number]) == {1: {"0": 0.99, "1": 0.99, "2": 0.99}}


def test_a_failed_trial_does_not_count_with_what_it_had_before_it_failed() -> None:
    study = run_study(ComponentwiseSampler(OWNERS, seed=0), 8)
    copies = [study_of(ComponentwiseSampler(OWNERS, seed=0)) for _ in range(2)]
    for copy, value in zip(copies, (0.1, 0.99), strict=True):
        failed = study.trials[5]
        failed.user_attrs |= {f"components:{step}": dict.fromkeys("012", value) for step in (1, 2)}
        failed.state, failed.values = TrialState.FAIL, None
        copy.add_trials([*study.trials[:5], failed, *study.trials[6:]])
    first, second = (run_trial(copy, np.random.default_rng(0)).params for copy in copies)
    assert first == second


def test_choices_of_a_component_without_values_are_drawn_in_greedy_trials_too() -> None:
    sampler = ComponentwiseSampler({"choice": "0", "other": "1"}, seed=0, n_startup_trials=4, greedy_every=1)
    study = study_of(sampler)
    for _ in range(24):
        trial = study.ask()
        value = 0.8 + 0.1 * (trial.suggest_categorical("choice", CHOICES) == "ones")
        trial.suggest_categorical("other", CHOICES)
        report_components(trial, {"0": value, "1": float("nan")}, 1)
        study.tell(trial, value)
    assert {trial.params["choice"] for trial in study.trials[6:]} == {"ones"}
    assert {trial.params["other"] for trial in study.trials[6:]} == set(CHOICES)


def test_what_the_user_hides_of_optunas_log_stays_hidden() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with quiet():
        assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_a_study_with_another_direction_is_refused() -> None:
    study = optuna.create_study(direction="minimize", sampler=ComponentwiseSampler(OWNERS))
    with pytest.raises(ValueError, match="ComponentwiseSampler needs a study with the one direction maximize"):
        study.ask()
