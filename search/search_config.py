"""SearchConfig: a base run, a space over it, a budget and resources."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from chex.config import RunConfig, check_kind, override, read_yaml, validated
from chex.errors import InputError
from chex.sets import parse_sets
from chex.strict import AsList, Strict
from search.bucket import is_uri
from search.budget import Budget
from search.constraints import Constraints
from search.effects import check_effects
from search.points import check_space, read_points
from search.resources import Resources
from search.sampler import SamplerConfig, grid
from search.space import Space, base_point, build_space, space_constraints
from search.stopping import Stopping


class SearchConfig(Strict):
    """One search. `base` is a complete run; `space` is checked against it."""

    base: RunConfig
    space: dict[str, Any]
    points: Annotated[tuple[dict[str, Any], ...], AsList] = ()
    """Known-good starting points, tried in this order after the base run: dotted paths and values. A knob that a point
    leaves out has the base run's value."""
    constraints: Annotated[tuple[str, ...], AsList] = ()
    """What has to hold between knobs, for example `optimizer.lr_low < optimizer.lr` (see constraints.py)."""
    budget: Budget = Budget()
    stopping: Stopping | None = Stopping()
    """Blank: every trial runs to its end."""
    sampler: SamplerConfig = SamplerConfig()
    resources: Resources = Resources()
    source: str | None = Field(None, min_length=1)
    """Where the tree is fetched from, by each machine that needs it, instead of lying at base.data.root on all of them:
    the URI of its folder or of a zip archive of it."""
    storage: str | None = Field(None, min_length=1)
    """Where the folders of searches are kept besides, for nodes without a disk in common and for the day on which the
    head is lost: `gs://BUCKET/searches`, `s3://...`, or `file://` and a folder that all nodes share. Blank: nowhere."""

    def knobs(self) -> Space:
        """The space, checked. Raises InputError (see `build_space`)."""
        return build_space(self.space, self.base.model_dump(mode="json"), self.constraints)

    def rules(self) -> Constraints:
        """The constraints, checked; their `feasible` says whether a trial's values satisfy them. Raises InputError."""
        return space_constraints(self.constraints, self.knobs(), self.base.model_dump(mode="json"))

    def first_point(self) -> dict[str, Any] | None:
        """The base run as a point of the space, for the first trial; None where it lies outside, or for a grid."""
        if self.sampler.kind == "grid":
            return None
        point = base_point(self.knobs(), self.base.model_dump(mode="json"))
        return None if point is None or not self.rules().feasible(point) else point

    def first_points(self) -> list[dict[str, Any]]:
        """What is tried before the sampler proposes: the base run, where it is a point of the space, and `points`.

        Each has every knob that exists there. For a grid, all that it has. Raises InputError (see `read_points`).
        """
        if self.sampler.kind == "grid":
            return list(filter(self.rules().feasible, grid(self.knobs())))
        base = self.first_point()
        given = read_points(self.points, self.knobs(), self.base.model_dump(mode="json"), self.rules())
        return ([] if base is None else [base]) + [point for point in given if point != base]


def load_search(path: Path, sets: Sequence[str], data: str | Path | None) -> SearchConfig:
    """The search in a YAML file, checked; `sets` are `a.b=value` texts in the search's or the base run's dotted paths.

    The file's `base` is a run's YAML file (relative to the search's), and `set` lays dotted paths over it; or `base` is
    a run written out. Raises InputError.
    """
    content = read_yaml(path)
    check_kind(path, content, "search")
    base = override(_base(path, content.get("base", {})), _laid_over(path, content.pop("set", None)))
    of_search, of_run = _split(parse_sets(sets))
    if data is not None and is_uri(str(data)):
        of_search["source"] = str(data)
    elif data is not None:
        of_run["data.root"] = os.fspath(data)
    content["base"] = override(base, of_run)
    if not isinstance(content.get("space"), dict):
        raise InputError(f"{path}: space: missing; write dotted paths and their domains below `space:`")
    of_space = {
        path.removeprefix("space."): of_search.pop(path) for path in list(of_search) if path.startswith("space.")
    }
    content["space"] = content["space"] | of_space
    search = validated(SearchConfig, override(content, of_search), str(path))
    for knob in of_run:
        if knob in search.space:
            raise InputError(
                f"--set {knob}: the space of {path} searches it; set space.{knob} or drop it from the space"
            )
    check_effects(search.knobs(), search.base)
    if search.base.device.kind == "cuda" and not search.resources.gpus_per_trial:
        raise InputError(
            "resources.gpus_per_trial: 0, and device.kind of the base run is 'cuda', which no trial would get; give "
            "each a GPU or a part of one, or use device.kind=auto"
        )
    _check_rungs(search)
    _check_grid(search)
    _check_points(search)
    return search


def _base(path: Path, given: object) -> Mapping[str, Any]:
    """The run below `base:` of the search's file: written out there, or in a file of its own."""
    if isinstance(given, Mapping):
        return given
    if not isinstance(given, str) or not given:
        raise InputError(f"{path}: base: {given!r} is no run; name the YAML file of one: base: ../run/densenet121.yaml")
    file, where = Path(os.path.normpath(path.parent / given)), f"{path}: base"
    content = read_yaml(file, named_in=where)
    check_kind(file, content, "run", named_in=where)
    return content


def _laid_over(path: Path, given: object) -> Mapping[str, Any]:
    """What stands below `set:` of the search's file."""
    if given is not None and not (isinstance(given, Mapping) and all(isinstance(key, str) for key in given)):
        raise InputError(f"{path}: set: {given!r} has no dotted paths; write lines such as `optimizer.lr: 1e-3`")
    return given or {}


def search_name(path: Path, sets: Sequence[str]) -> str:
    """The search's folder under results/: the file's stem and the values that --set gave, so that variants differ."""
    values = [str(value) for value in parse_sets(sets).values()]
    return "-".join(re.sub(r"[^\w.-]+", "_", part).strip("_") for part in (path.stem, *values))


def check_name(name: str) -> None:
    """Raises InputError unless `name` can be that of a search: one folder below --results and in a storage.

    A storage keeps what is not a search under names that begin with a dot.
    """
    if not name.strip() or name.startswith(".") or re.search(r"[/\\\0]", name):
        raise InputError(
            f"--name '{name}': a search's name is one folder below --results, not blank, without / or \\, and does not "
            "begin with a dot; give for example --name demo"
        )


def _split(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    for path in values:
        if path.partition(".")[0] == "base":
            remedy = "leave out `base.`" if "." in path else "name the file of the run in that of the search"
            raise InputError(f"--set {path}: the settings of the base run are named as in its file; {remedy}")
    own = set(SearchConfig.model_fields) - {"base"}
    of_search = {path: value for path, value in values.items() if path.split(".")[0] in own}
    of_run = {path: value for path, value in values.items() if path not in of_search}
    return of_search, of_run


def _check_grid(search: SearchConfig) -> None:
    if search.sampler.kind != "grid":
        return
    rules = search.rules()
    size = sum(map(rules.feasible, grid(search.knobs())))
    if search.budget.trials != size:
        raise InputError(
            f"budget.trials: {search.budget.trials} is not the size of the grid, {size}; "
            f"use budget.trials={size}, or sampler.kind=tpe"
        )
    if search.points:
        raise InputError("points: a grid has an order of its own; remove the points, or use sampler.kind=tpe")


def _check_points(search: SearchConfig) -> None:
    check_space(search.knobs(), search.base.model_dump(mode="json"), search.rules())
    first = len(search.first_points())
    if first > search.budget.trials:
        raise InputError(
            f"budget.trials: {search.budget.trials} trials do not suffice for the {first} points to start from, the "
            "base run among them where the space holds it; raise it, or remove points"
        )


def _check_rungs(search: SearchConfig) -> None:
    rule = search.stopping
    if rule and rule.unit == "percent" and rule.grace * search.base.reports < 100:
        raise InputError(
            f"stopping.grace: {rule.grace} % lies before the first of base.reports={search.base.reports} "
            "reports; raise grace or reports"
        )
