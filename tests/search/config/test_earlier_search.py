from pathlib import Path
from typing import Any

import pytest

from chex.config import apply_overrides, to_yaml, validate
from chex.errors import InputError
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import claim
from search.command import EXIT_BAD_INPUT, main
from search.config.earlier_search import check_same_source, earlier_trials
from search.config.search_config import SearchConfig
from search.config.search_folder import load_trials
from search.optimize.samplers import SamplerConfig, propose
from search.trials.earlier_trials import EarlierTrials, as_history, load_earlier_trials, save_earlier_trials
from search.trials.layout import CONFIG
from search.trials.trial import TrialRecord, ended
from tests.made_search import SPACE, made_search

TRIALS = 12
REST = {path: domain for path, domain in SPACE.items() if not path.startswith("policy.")}


def changed(search: SearchConfig, space: dict[str, Any] | None = None, **base: Any) -> SearchConfig:
    """The same search with another space and another base run."""
    values = search.model_dump(mode="json")
    values["base"] = apply_overrides(values["base"], {path.replace("__", "."): value for path, value in base.items()})
    return validate(SearchConfig, values | ({"space": space} if space else {}), "changed")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("searches") / "old"


@pytest.fixture(scope="module")
def search(source: Path) -> SearchConfig:
    return made_search(source, TRIALS)


def with_results(search: SearchConfig, source: Path) -> list[TrialRecord]:
    return [trial for trial in ended(load_trials(search, source)) if trial.state != "failed"]


def test_every_trial_with_a_result_is_one_of_a_space_that_grew_by_a_choice(search: SearchConfig, source: Path) -> None:
    grown = changed(search, SPACE | {"policy.default": {"choice": ["ignore", "zeros", "ones", "smoothed_ones"]}})
    found = earlier_trials(grown, source)
    assert list(found.trials) == with_results(search, source)
    assert {trial.state for trial in found.trials} == {"finished", "pruned"}
    assert found.source == str(source)


def test_a_trial_outside_a_narrower_space_is_left_out(search: SearchConfig, source: Path) -> None:
    narrower = changed(search, SPACE | {"schedule.epochs": {"int": [1, 2]}})
    expected = [trial for trial in with_results(search, source) if trial.params["schedule.epochs"] <= 2]
    assert 0 < len(expected) < len(with_results(search, source))
    assert list(earlier_trials(narrower, source).trials) == expected


def test_a_new_parameter_has_the_value_that_the_earlier_base_run_gave_it(search: SearchConfig, source: Path) -> None:
    wider = changed(search, SPACE | {"model.dropout": {"uniform": [0.0, 0.5]}})
    found = earlier_trials(wider, source).trials
    assert [trial.params["model.dropout"] for trial in found] == [0.0] * len(with_results(search, source))


def test_one_policy_for_all_observations_becomes_a_policy_of_each(search: SearchConfig, source: Path) -> None:
    policies = {"choice": ["zeros", "ones"]}
    own = changed(search, REST | {"policy.Cardiomegaly": policies, "policy.Edema": policies})
    found = earlier_trials(own, source).trials
    expected = [trial for trial in with_results(search, source) if trial.params["policy.default"] != "smoothed_ones"]
    assert [trial.number for trial in found] == [trial.number for trial in expected]
    for trial, old in zip(found, expected, strict=True):
        assert {trial.params["policy.Cardiomegaly"], trial.params["policy.Edema"]} == {old.params["policy.default"]}


@pytest.mark.parametrize(
    ("space", "base", "reason"),
    [
        (None, {"image__size": 96}, r"image.size is 96 here and \d+ there"),
        (None, {"data__observations": ["Edema"]}, r"data.observations.0 is Edema here and Cardiomegaly there, .*"),
        (REST, {"policy__default": "ignore"}, r"policy.Cardiomegaly is ignore here and \w+ there, .*"),
        (SPACE | {"schedule.epochs": {"int": [7, 9]}}, {}, r"schedule.epochs is \d there, outside int: \[7, 9\]"),
    ],
)
def test_a_search_that_would_train_other_runs_is_refused_with_the_first_difference(
    search: SearchConfig, source: Path, space: dict[str, Any] | None, base: dict[str, Any], reason: str
) -> None:
    with pytest.raises(
        InputError,
        match=rf"^--from {source}: none of its trials could be a trial of this search \({reason}\); leave --from out, "
        "or search a space that holds the other's$",
    ):
        earlier_trials(changed(search, space, **base), source)


def test_another_machine_counts_as_no_difference(search: SearchConfig, source: Path) -> None:
    elsewhere = changed(search, device__threads=7, image__cache_dir="/elsewhere")
    assert list(earlier_trials(elsewhere, source).trials) == with_results(search, source)


def test_a_dataset_of_another_place_is_refused(search: SearchConfig, source: Path) -> None:
    other = search.model_copy(update={"data_uri": "gs://films/tree"})
    with pytest.raises(InputError, match=r"\(data_uri is gs://films/tree here and blank there\)"):
        earlier_trials(other, source)


def test_a_sampler_that_does_not_learn_is_refused(search: SearchConfig, source: Path) -> None:
    random = search.model_copy(update={"sampler": SamplerConfig(kind="random")})
    with pytest.raises(
        InputError,
        match=rf"^--from {source}: sampler.kind=random learns from no trial; leave --from out, or use "
        "sampler.kind=auto$",
    ):
        earlier_trials(random, source)


def test_a_search_without_a_result_is_refused(tmp_path: Path, search: SearchConfig) -> None:
    claim(tmp_path / "empty", "search")
    write_text(tmp_path / "empty" / CONFIG, to_yaml(search))
    with pytest.raises(
        InputError, match=rf"^--from {tmp_path}/empty: none of its trials has a result yet; leave --from out$"
    ):
        earlier_trials(search, tmp_path / "empty")


def test_the_saved_trials_are_the_same_and_the_sampler_learns_from_them(
    search: SearchConfig, source: Path, tmp_path: Path
) -> None:
    found = earlier_trials(search, source)
    save_earlier_trials(tmp_path, found)
    assert load_earlier_trials(tmp_path) == found
    space = search.search_space()
    history = as_history(found.trials, space)
    config = SamplerConfig(kind="tpe", n_startup_trials=6)
    assert propose(config, space, [], [], earlier=history) == propose(config, space, [], [], earlier=history)
    assert propose(config, space, [], [], earlier=history) != propose(config, space, [], [])
    save_earlier_trials(tmp_path, None)
    assert load_earlier_trials(tmp_path) is None


def test_a_search_does_not_change_from_where_it_learns(search: SearchConfig, source: Path, tmp_path: Path) -> None:
    end = "leave --from out to continue it, give another --name, or start over with --overwrite$"
    with pytest.raises(
        InputError, match=rf"^--from {source}: {tmp_path} has started without trials of another search; {end}"
    ):
        check_same_source(tmp_path, source)
    save_earlier_trials(tmp_path, EarlierTrials("elsewhere", ()))
    with pytest.raises(
        InputError, match=rf"^--from {source}: {tmp_path} has started with the trials of elsewhere; {end}"
    ):
        check_same_source(tmp_path, source)
    save_earlier_trials(tmp_path, EarlierTrials(str(source), ()))
    check_same_source(tmp_path, source)


def test_the_command_refuses_another_search_before_it_writes(
    search: SearchConfig, source: Path, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "new.yaml").write_text(to_yaml(changed(search, data__root=str(tree))))
    assert (
        main(["run", str(tmp_path / "new.yaml"), "--results", str(tmp_path), "--from", str(source)]) == EXIT_BAD_INPUT
    )
    assert f"chex-search run: --from {source}: none of its trials could be a trial" in capsys.readouterr().err
    assert main(["run", str(tmp_path / "new.yaml"), "--results", str(tmp_path), "--from", "nowhere"]) == EXIT_BAD_INPUT
    assert "nowhere holds no search (no search.yaml in it)" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
