"""SearchConfig: a base run, a space over it, a budget and resources."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from chex.config import RunConfig, apply_overrides, check_kind, read_yaml, validate
from chex.errors import InputError
from chex.schema.overrides import parse_overrides
from chex.schema.strict_model import AsList, Strict
from search.config.budget import Budget
from search.config.resources import Resources
from search.optimize.pruning import PruningConfig
from search.optimize.samplers import SamplerConfig, grid
from search.space.constraints import Constraints
from search.space.effects import check_effects
from search.space.initial_points import check_space, read_initial_points
from search.space.space import Space, base_point, build_space, space_constraints
from search.storage.uri import is_uri


class SearchConfig(Strict):
    """A search: a base run, the space of parameters to vary, and how to search it."""

    base: RunConfig
    space: dict[str, Any]
    """Dotted paths of RunConfig and their domains (see `build_space`)."""
    initial_points: Annotated[tuple[dict[str, Any], ...], AsList] = ()
    """Known good points, as dotted paths and values: tried in this order after the base run. A parameter that a point
    leaves out has the base run's value."""
    constraints: Annotated[tuple[str, ...], AsList] = ()
    """Conditions that each trial must satisfy, for example `optimizer.lr_stem < optimizer.lr` (see constraints.py)."""
    budget: Budget = Budget()
    pruning: PruningConfig | None = PruningConfig()
    """Blank: every trial runs to its end."""
    sampler: SamplerConfig = SamplerConfig()
    resources: Resources = Resources()
    data_uri: str | None = Field(None, min_length=1)
    """The URI of the dataset, a folder or a zip archive, from which each machine downloads it. Blank: the dataset is at
    base.data.root on every machine."""
    storage_uri: str | None = Field(None, min_length=1)
    """The URI under which searches are stored too, for nodes without a shared disk and in case the head is lost:
    `gs://BUCKET/searches`, `s3://...`, or `file://` and a folder that all nodes share. Blank: nowhere."""

    def search_space(self) -> Space:
        """Returns the space, checked. Raises InputError (see `build_space`)."""
        return build_space(self.space, self.base.model_dump(mode="json"), self.constraints)

    def checked_constraints(self) -> Constraints:
        """Returns the constraints, checked. Raises InputError (see `read_constraints`)."""
        return space_constraints(self.constraints, self.search_space(), self.base.model_dump(mode="json"))

    def base_params(self) -> dict[str, Any] | None:
        """Returns the base run as a point of the space, for the first trial.

        Returns None for a grid, or if the base run lies outside the space or violates a constraint.
        """
        if self.sampler.kind == "grid":
            return None
        point = base_point(self.search_space(), self.base.model_dump(mode="json"))
        return None if point is None or not self.checked_constraints().feasible(point) else point

    def resolved_sampler(self) -> SamplerConfig:
        """Returns the sampler with the kind that `auto` stands for. Raises InputError (see SamplerConfig.resolved)."""
        return self.sampler.resolved(self.search_space())

    def initial_params(self) -> list[dict[str, Any]]:
        """Returns the points to try before the sampler proposes: the base run, if it is feasible, and `initial_points`.

        Each point has all parameters whose conditions hold in it. For a grid, returns all its feasible points. Raises
        InputError (see `read_initial_points`).
        """
        if self.sampler.kind == "grid":
            return list(filter(self.checked_constraints().feasible, grid(self.search_space())))
        base = self.base_params()
        points = read_initial_points(
            self.initial_points, self.search_space(), self.base.model_dump(mode="json"), self.checked_constraints()
        )
        return ([] if base is None else [base]) + [point for point in points if point != base]


def load_search(path: Path, sets: Sequence[str], data: str | Path | None) -> SearchConfig:
    """Returns the search that a YAML file describes, checked.

    `sets` are `a.b=value` texts, with dotted paths of the search or of its base run; `data` is the dataset's folder or
    URI. The file's `base` is a run, or the path of a run's YAML file, relative to the folder of the search's file;
    dotted paths below `set` override it. Raises InputError if anything in the search is not valid.
    """
    content = read_yaml(path)
    check_kind(path, content, "search")
    base = apply_overrides(_load_base(path, content.get("base", {})), _base_overrides(path, content.pop("set", None)))
    of_search, of_run = _split(parse_overrides(sets))
    if data is not None and is_uri(str(data)):
        of_search["data_uri"] = str(data)
    elif data is not None:
        of_run["data.root"] = os.fspath(data)
    content["base"] = apply_overrides(base, of_run)
    if not isinstance(content.get("space"), dict):
        raise InputError(f"{path}: space: missing; write dotted paths and their domains below `space:`")
    of_space = {
        path.removeprefix("space."): of_search.pop(path) for path in list(of_search) if path.startswith("space.")
    }
    content["space"] = content["space"] | of_space
    search = validate(SearchConfig, apply_overrides(content, of_search), str(path))
    for param in of_run:
        if param in search.space:
            raise InputError(
                f"--set {param}: the space of {path} searches it; set space.{param} or drop it from the space"
            )
    check_effects(search.search_space(), search.base)
    if search.base.device.kind == "cuda" and not search.resources.gpus_per_trial:
        raise InputError(
            "resources.gpus_per_trial: 0, but device.kind of the base run is 'cuda', and trials would have no GPU; "
            "raise it, or use device.kind=auto"
        )
    _check_rungs(search)
    search.resolved_sampler()
    _check_grid(search)
    _check_points(search)
    return search


def _load_base(path: Path, base: object) -> Mapping[str, Any]:
    """Returns the run that the search's file contains below `base:`, or the run in the file that `base:` names."""
    if isinstance(base, Mapping):
        return base
    if not isinstance(base, str) or not base:
        raise InputError(f"{path}: base: {base!r} is no run; name a run's YAML file: base: ../run/densenet121.yaml")
    file, where = Path(os.path.normpath(path.parent / base)), f"{path}: base"
    content = read_yaml(file, named_in=where)
    check_kind(file, content, "run", named_in=where)
    return content


def _base_overrides(path: Path, overrides: object) -> Mapping[str, Any]:
    """Returns the dotted paths and values below `set:` of the search's file."""
    if overrides is not None and not (
        isinstance(overrides, Mapping) and all(isinstance(key, str) for key in overrides)
    ):
        raise InputError(f"{path}: set: {overrides!r} has no dotted paths; write lines such as `optimizer.lr: 1e-3`")
    return overrides or {}


def search_name(path: Path, sets: Sequence[str]) -> str:
    """Returns the name of the search's folder: the file's stem and the values of --set, so that variants differ."""
    values = [str(value) for value in parse_overrides(sets).values()]
    return "-".join(re.sub(r"[^\w.-]+", "_", part).strip("_") for part in (path.stem, *values))


def check_name(name: str) -> None:
    """Raises InputError unless `name` can name a search's folder, below --results and in a storage.

    In a storage, names that begin with a dot are not searches.
    """
    if not name.strip() or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise InputError(
            f"--name '{name}': a search's name is one folder below --results, not blank, without / or \\, and does not "
            "begin with a dot; give for example --name demo"
        )


def _split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    for path in values:
        if path.partition(".")[0] == "base":
            remedy = "leave out `base.`" if "." in path else "write the run's file below `base:` of the search's file"
            raise InputError(f"--set {path}: the base run's settings have the same paths as in its file; {remedy}")
    fields = set(SearchConfig.model_fields) - {"base"}
    of_search = {path: value for path, value in values.items() if path.split(".")[0] in fields}
    of_run = {path: value for path, value in values.items() if path not in of_search}
    return of_search, of_run


def _check_grid(search: SearchConfig) -> None:
    if search.sampler.kind != "grid":
        return
    rules = search.checked_constraints()
    size = sum(map(rules.feasible, grid(search.search_space())))
    if search.budget.trials != size:
        raise InputError(
            f"budget.trials: {search.budget.trials} is not the size of the grid, {size}; "
            f"use budget.trials={size}, or sampler.kind=tpe"
        )
    if search.initial_points:
        raise InputError("initial_points: a grid has its own order; remove the points, or use sampler.kind=tpe")


def _check_points(search: SearchConfig) -> None:
    check_space(search.search_space(), search.base.model_dump(mode="json"), search.checked_constraints())
    first = len(search.initial_params())
    if first > search.budget.trials:
        raise InputError(
            f"budget.trials: {search.budget.trials} trials are not enough for the {first} initial points (the base "
            "run, if it is feasible, and initial_points); raise it, or remove points"
        )


def _check_rungs(search: SearchConfig) -> None:
    rule = search.pruning
    if rule and rule.time_attr == "percent" and rule.grace_period * search.base.reports < 100:
        raise InputError(
            f"pruning.grace_period: {rule.grace_period} % lies before the first of base.reports={search.base.reports} "
            "reports; raise pruning.grace_period or base.reports"
        )
