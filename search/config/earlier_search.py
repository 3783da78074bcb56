"""Finds the trials of an earlier search that could be trials of another one: its sampler learns from them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from chex.config import RunConfig
from chex.errors import InputError
from chex.schema.differences import describe_differences
from chex.uncertainty.policy_config import PolicyConfig, RelabelConfig, policy_of
from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder, load_trials
from search.space.param_paths import get_path
from search.space.space import Space, base_point, contains, domain_yaml
from search.trials.artifacts import trial_config
from search.trials.earlier_trials import EarlierTrials, load_earlier_trials
from search.trials.trial import TrialRecord, ranked_trials

LEARNING_SAMPLERS = ("by_observation", "tpe", "gp")


def earlier_trials(search: SearchConfig, source: Path) -> EarlierTrials:
    """Returns the finished and pruned trials of the search in the folder `source` that could be trials of `search`.

    Such a trial trains what a trial of `search` with these parameters would train: every parameter of the space has a
    value in its domain, and everything else is as in the base run. Raises InputError if no trial is, and if the sampler
    of `search` does not learn from trials.
    """
    kind = search.resolved_sampler().kind
    if kind not in LEARNING_SAMPLERS:
        raise InputError(
            f"--from {source}: sampler.kind={kind} learns from no trial; leave --from out, or use sampler.kind=auto"
        )
    earlier = load_search_folder(source)
    trials = ranked_trials(load_trials(earlier, source))
    if not trials:
        raise InputError(f"--from {source}: none of its trials has a result yet; leave --from out")
    if earlier.data_uri != search.data_uri:
        here, there = (each.data_uri or "blank" for each in (search, earlier))
        raise _other_space(source, f"data_uri is {here} here and {there} there")
    space, found, reasons = search.search_space(), list[TrialRecord](), list[str]()
    for trial in trials:
        point, reason = _as_point(trial_config(earlier.base.model_dump(mode="json"), trial.params), search, space)
        if reason:
            reasons.append(reason)
        else:
            found.append(replace(trial, params=point))
    if not found:
        raise _other_space(source, reasons[0])
    return EarlierTrials(str(source), tuple(found))


def check_same_source(folder: Path, source: Path) -> None:
    """Raises InputError if the search in `folder` has started without the trials of the search in `source`."""
    saved = load_earlier_trials(folder)
    if saved is None or saved.source != str(source):
        started = f"with the trials of {saved.source}" if saved else "without trials of another search"
        raise InputError(
            f"--from {source}: {folder} has started {started}; leave --from out to continue it, give another --name, "
            "or start over with --overwrite"
        )


def _other_space(source: Path, reason: str) -> InputError:
    return InputError(
        f"--from {source}: none of its trials could be a trial of this search ({reason}); leave --from out, or search "
        "a space that holds the other's"
    )


def _as_point(run: RunConfig, search: SearchConfig, space: Space) -> tuple[dict[str, Any], str]:
    """Returns the point of `space` whose trial trains the same as `run`, and why there is none; "" if there is one."""
    values = run.model_dump(mode="json")
    point = base_point(space, values)
    if point is None:
        return {}, next(_outside(space, values))
    here = trial_config(search.base.model_dump(mode="json"), point)
    return point, describe_differences(_what_counts(here), _what_counts(run))


def _outside(space: Space, values: dict[str, Any]) -> Iterator[str]:
    point: dict[str, Any] = {}
    for path, param in space.items():
        if param.exists(point):
            point[path] = get_path(values, path)
            if not contains(param.domain, point[path]):
                yield f"{path} is {point[path]} there, outside {domain_yaml(param.domain)}"


def _what_counts(run: RunConfig) -> RunConfig:
    """Returns the run with the same machine for all, and with its policies by observation."""
    policies = {name: policy_of(run.policy, name) for name in run.data.observations}
    return run.model_copy(
        update={
            "device": type(run.device)(),
            "image": run.image.model_copy(update={"cache_dir": type(run.image)().cache_dir}),
            "relabel": RelabelConfig(),
            "policy": {"default": PolicyConfig(kind="zeros"), **policies},
        }
    )
