"""Builds the page of `chex-search plan`: the space, its size, images, concurrent trials, hours. Starts no trial."""

import math
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from chex.config import RunConfig, apply_overrides, validate
from chex.errors import InputError
from chex.models.classifier import check_backbone
from chex.training.auto import resolve_auto
from chex.training.run_tables import RunTables, load_run_tables
from chex.uncertainty.policy_config import PolicyConfig
from search.config.local_data import with_root
from search.config.resources import TrialSlots, plan_slots, this_machine
from search.config.search_config import SearchConfig
from search.optimize.samplers import SamplerConfig, grid
from search.planning.forecast import ImageCounts, RunSizes, Speed, asha_cost_fraction, combinations, image_passes, rungs
from search.planning.speed import measure_speed
from search.space.initial_points import random_points
from search.space.param_paths import get_path
from search.space.policy_tables import check_given_tables, observations_that_may_have
from search.space.space import base_point, domain_yaml, value_count
from search.storage.dataset import stage_tables, staging_path

WIDTH = 100
"""The page's width if the output is no terminal."""
SCORING_PER_TRAINING = 1 / 3
"""The cost of scoring an image relative to training on it, if the speed is given: scoring has no backward pass, which
costs about twice as much as the forward pass."""
LABEL, FIGURE = 20, 20
"""The widths of the first two columns of a section."""
Row = tuple[str, str] | tuple[str, str, str]
"""A row of a section: the name of a figure, the figure, and how it is known."""


@dataclass(frozen=True)
class Costs:
    """The images of a search's trials."""

    base: ImageCounts
    trials: tuple[ImageCounts, ...]
    """The images of random feasible points, or of every point of a grid."""
    first: tuple[ImageCounts, ...]
    """The images of the initial points."""
    teacher: ImageCounts
    """The images of the teacher of self_trained; 0 if no trial needs one."""

    @property
    def mean(self) -> ImageCounts:
        return _sum(self.trials) * (1 / len(self.trials))

    def all(self, trials: int) -> ImageCounts:
        """Returns the images of all `trials` if none is pruned, without the teacher."""
        return _sum(self.first) + self.mean * (trials - len(self.first))


def plan(search: SearchConfig, name: str, images_per_second: float | None = None) -> Group:
    """Returns the page. If `search` has a dataset, reads its tables, and times a few steps if no speed is given.

    Raises InputError if the search, its dataset or the speed is not valid.
    """
    if images_per_second is not None and not 0 < images_per_second < math.inf:
        raise InputError(f"--images-per-second {images_per_second:g}: must be a number above 0; give images per second")
    parts: list[RenderableType | None] = [
        Text(f"{name}: {search.budget.trials} trials on top of {_base_in_words(search.base)}", style="bold"),
        Text("nothing is started or written", style="dim"),
        space_table(search),
        facts("constraints", constraint_rows(search)),
        facts("tried first", first_rows(search)),
        facts("search", search_rows(search)),
    ]
    if search.base.data.root is None and search.data_uri is None:
        note = "images and hours are unknown without a dataset: give one with --data TREE"
        parts += [facts("passes", pass_rows(search)), Text(f"\n{note}", style="yellow")]
    else:
        with _tables(search) as here:
            selection = _selection(here)
        costs = images(search, selection)
        parts += [facts("images", image_rows(search, costs))]
        parts += [facts("time", time_rows(search, costs, selection, images_per_second))]
    return Group(*(_with_blank_line(part) for part in parts if part))


def _with_blank_line(part: RenderableType) -> RenderableType:
    return Padding(part, (1, 0, 0, 0)) if isinstance(part, Table) else part


def show(page: Group) -> None:
    """Prints the page, as wide as the terminal."""
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(page)


def space_table(search: SearchConfig) -> Table:
    """Returns a row per parameter: its path, its domain as in YAML, its condition, and the base run's value."""
    params, base = search.search_space(), search.base.model_dump(mode="json")
    conditional = any(param.condition for param in params.values())
    heads = ["parameter", "domain", *(["condition"] if conditional else []), "base run"]
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold cyan")
    point: dict[str, Any] = {}
    for path, param in params.items():
        exists = param.exists(point)
        value = get_path(base, path) if exists else None
        point |= {path: value} if exists else {}
        text = "" if not exists else "blank" if value is None else _format_value(value)
        outside = exists and base_point({path: type(param)(param.domain)}, base) is None
        base_value = Text(f"{text} (outside)" if outside else text, style="yellow" if outside else "")
        style = "dim" if value_count(param.domain) == 1 else ""
        condition = [Text(", ".join(f"{other}: {_format_values(values)}" for other, values in param.condition.items()))]
        table.add_row(
            Text(path), Text(domain_yaml(param.domain)), *(condition if conditional else []), base_value, style=style
        )
    return table


def facts(title: str, rows: Sequence[Row]) -> Table | None:
    """Returns a section of `rows`; None without rows. In a row of two cells the second takes the remaining width."""
    if not rows:
        return None
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title, header_style="bold cyan", width=LABEL, overflow="fold")
    for width in (FIGURE, None) if len(rows[0]) > 2 else (None,):
        table.add_column(width=width)
    for what, value, *how in rows:
        table.add_row(Text(what), Text(value), *(Text(each, style="dim") for each in how))
    return table


def constraint_rows(search: SearchConfig) -> list[Row]:
    """Returns each constraint, and the share of the space that is feasible."""
    if not search.constraints:
        return []
    rules, drawn = search.checked_constraints(), random_points(search.search_space())
    share = np.mean([rules.feasible(point) for point in drawn])
    rows: list[Row] = [(f"{number}", text) for number, text in enumerate(search.constraints, start=1)]
    return [*rows, ("feasible", f"{100 * share:.0f} % of {len(drawn):,} random points")]


def first_rows(search: SearchConfig) -> list[Row]:
    """Returns the initial points, as the differences from the base run."""
    base, rows = search.base.model_dump(mode="json"), list[Row]()
    for number, point in enumerate(search.initial_params(), start=1):
        differing = [f"{path} {_format_value(value)}" for path, value in point.items() if value != get_path(base, path)]
        rows.append((f"trial {number}", ", ".join(differing) or "the base run"))
    return rows


def search_rows(search: SearchConfig) -> list[Row]:
    """Returns the size of the space, the sampler and the pruning."""
    params = search.search_space()
    continuous = [path for path, param in params.items() if value_count(param.domain) is None]
    rest = [path for path in params if path not in continuous and value_count(params[path].domain) != 1]
    before = "; before constraints" if search.constraints else ""
    rows: list[Row] = [("combinations", f"{combinations(params):,}", f"of {', '.join(rest) or 'no parameter'}{before}")]
    if continuous:
        rows.append(("continuous", f"{len(continuous)} parameters", ", ".join(continuous)))
    return [*rows, ("sampler", *_sampler(search.resolved_sampler())), ("pruning", *_pruning(search))]


def _sampler(sampler: SamplerConfig) -> tuple[str, str]:
    """Returns the sampler's name, and how it proposes."""
    learns = f"seed {sampler.seed}; {sampler.n_startup_trials} trials at random before it learns"
    return {
        "by_observation": ("by observation", f"{learns} each policy by the AUROC of its own observation"),
        "tpe": ("TPE", learns),
        "gp": ("Gaussian process", learns),
        "random": ("random", f"seed {sampler.seed}"),
        "qmc": ("Sobol points", f"seed {sampler.seed}; choices at random"),
        "grid": ("grid", "every combination once"),
    }[sampler.kind]


def _pruning(search: SearchConfig) -> tuple[str, str]:
    at, reports, rule = _rungs(search), search.base.reports, search.pruning
    if rule and rule.time_attr == "images_seen":
        return (
            f"at {rule.grace_period:,} images",
            f"ASHA: there and at each {rule.reduction_factor:g} times as many "
            f"the best 1/{rule.reduction_factor:g} continue",
        )
    if not at or rule is None:
        return "none", "every trial runs to its end"
    numbers = ", ".join(f"{round(percent * reports / 100)}" for percent in at)
    how = f"ASHA: at report {numbers} of {reports} the best 1/{rule.reduction_factor:g} so far continue"
    return f"at {', '.join(f'{percent:g}' for percent in at)} %", how


def pass_rows(search: SearchConfig) -> list[Row]:
    """Returns how many passes runs make over the training images, for a search whose dataset is not known."""
    each = [image_passes(run) for run in _runs(search)]
    return [
        (
            "the base run",
            f"{image_passes(search.base):.2f}",
            "over the training images: epochs times sampling.fraction",
        ),
        ("a trial, mean", f"{np.mean(each):.2f}", _how_many_points(search, len(each))),
        ("shortest to longest", f"{min(each):.2f} to {max(each):.2f}", "of these"),
        ("all trials", f"{np.mean(each) * search.budget.trials:.1f}", "mean times trials, none pruned"),
    ]


def images(search: SearchConfig, selection: RunTables) -> Costs:
    """Returns the images of the base run, of random trials and of the initial points. Raises InputError."""
    sizes, base = RunSizes(selection), search.base.model_dump(mode="json")
    names = observations_that_may_have("self_trained", search.base, search.search_space())
    needs_teacher = bool(names) and search.base.relabel.self_trained is None
    base_run = sizes.image_counts(search.base)
    return Costs(
        base=base_run,
        trials=tuple(map(sizes.image_counts, _runs(search))),
        first=tuple(sizes.image_counts(_run(base, point)) for point in search.initial_params()),
        teacher=base_run if needs_teacher else ImageCounts(0, 0),
    )


def image_rows(search: SearchConfig, costs: Costs) -> list[Row]:
    """Returns the images of runs, at rungs, and of all trials."""
    trained = [load.trained for load in costs.trials]
    low, high = min(trained), max(trained)
    total = costs.all(search.budget.trials).trained
    rows: list[Row] = [
        ("the base run", f"{costs.base.trained:,.0f}", "rows sampled, in whole batches, times epochs"),
        ("a trial, mean", f"{costs.mean.trained:,.0f}", _how_many_points(search, len(trained))),
        ("shortest to longest", f"{low:,.0f} to {high:,.0f}", "of these"),
    ]
    rows += [
        (
            f"at {percent:g} %",
            f"{low * percent / 100:,.0f} to {high * percent / 100:,.0f}",
            "where a trial may be pruned",
        )
        for percent in _rungs(search)
    ]
    if costs.teacher.trained:
        rows.append(("the teacher", f"{costs.teacher.trained:,.0f}", "of self_trained, trained before the first trial"))
    rows.append(("all trials", f"{total:,.0f}", "mean times trials, none pruned"))
    if _rungs(search):
        rows.append(("", f"{total * _share(search):,.0f}", _pruned_in_words(search)))
    return rows


def time_rows(search: SearchConfig, costs: Costs, selection: RunTables, given: float | None) -> list[Row]:
    """Returns the speed, the concurrent trials and the hours. Times a few steps unless the speed is `given`."""
    if given is not None:
        speed = Speed(given, given / SCORING_PER_TRAINING)
        note = "given, of all trials together; scoring 3 times as fast"
        return [("speed", f"{given:,.0f} images/s", note), *_hours(search, costs, speed, 1.0)]
    here = this_machine()
    try:
        slots = plan_slots(search.resources, [here])
    except InputError as error:
        return [
            ("trials at once", "0", str(error)),
            ("estimated", "unknown", "give the speed of the machine: --images-per-second X"),
        ]
    speed, how = measure_speed(_resolve_base(search, slots), selection)
    share, together = slots.gpus_per_trial, slots.max_concurrent_trials
    wanted = _counted(slots.cpus_per_trial, "CPU") + (f" and {_counted(share, 'GPU')}" if share else "")
    where = f"of {wanted} each, on {here} here"
    rows = [
        ("training", f"{speed.trained:,.0f} images/s", f"of one trial alone, measured: {how}"),
        ("scoring", f"{speed.scored:,.0f} images/s", "of one trial alone, measured"),
        ("trials at once", f"{together}", where),
    ]
    return [*rows, *_hours(search, costs, speed, together * min(1.0, share) if share else float(together))]


def _hours(search: SearchConfig, costs: Costs, speed: Speed, times: float) -> list[Row]:
    """Returns the estimated hours; `times`: how many trials the machine runs in the time of one trial alone."""
    longest = max(map(speed.seconds, costs.trials))
    before = speed.seconds(costs.teacher)
    full = speed.seconds(costs.all(search.budget.trials))
    most = before + max(full / times, longest)
    with_teacher = ", the teacher's too" if costs.teacher.trained else ""
    rows = [("estimated", duration(most), f"images over speed{with_teacher}; none pruned")]
    if _rungs(search):
        least = before + max(full * _share(search) / times, longest)
        rows.append(("", duration(least), _pruned_in_words(search)))
    return [*rows, ("left out", "", "decoding images; how concurrent trials slow each other")]


def duration(seconds: float) -> str:
    """Returns a duration in seconds, minutes or hours, rounded like an estimate."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


@contextmanager
def _tables(search: SearchConfig) -> Iterator[SearchConfig]:
    """Yields `search` with a dataset whose tables can be read in the block; downloaded tables are deleted after it."""
    if search.data_uri is None:
        yield search
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield with_root(search, stage_tables(search.data_uri, staging_path(search.data_uri, Path(scratch))))


def _selection(search: SearchConfig) -> RunTables:
    """Returns what the base run trains on, with the policy zeros. Raises InputError."""
    check_given_tables(search.base, search.search_space())
    return load_run_tables(search.base.model_copy(update={"policy": {"default": PolicyConfig(kind="zeros")}}))


def _resolve_base(search: SearchConfig, slots: TrialSlots) -> RunConfig:
    """Returns the base run of a trial, with `auto` resolved for this machine. Raises InputError."""
    check_backbone(search.base.model.backbone)
    kind = "cuda" if slots.gpus_per_trial else "cpu"
    device = search.base.device.model_copy(update={"kind": kind, "threads": slots.cpus_per_trial})
    return resolve_auto(search.base.model_copy(update={"device": device}), share=slots.gpus_per_trial or 1.0)


def _runs(search: SearchConfig) -> list[RunConfig]:
    """Returns random feasible runs, or all of a grid."""
    params, rules, base = search.search_space(), search.checked_constraints(), search.base.model_dump(mode="json")
    points = grid(params) if search.sampler.kind == "grid" else random_points(params)
    return [_run(base, point) for point in points if rules.feasible(point)]


def _run(base: Mapping[str, Any], point: Mapping[str, Any]) -> RunConfig:
    return validate(RunConfig, apply_overrides(base, point), "space")


def _rungs(search: SearchConfig) -> list[float]:
    """Returns the rungs in percent; none if they count images, whose savings are unknown."""
    rule = search.pruning
    return (
        rungs(rule.grace_period, rule.reduction_factor, search.base.reports)
        if rule and rule.time_attr == "percent"
        else []
    )


def _share(search: SearchConfig) -> float:
    return asha_cost_fraction(_rungs(search), search.pruning.reduction_factor) if search.pruning else 1.0


def _pruned_in_words(search: SearchConfig) -> str:
    factor = search.pruning.reduction_factor if search.pruning else 1
    return f"if exactly the best 1/{factor:g} continue at each rung"


def _how_many_points(search: SearchConfig, count: int) -> str:
    return f"over {count:,} {'points of the grid' if search.sampler.kind == 'grid' else 'random feasible points'}"


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _base_in_words(run: RunConfig) -> str:
    return f"{run.model.backbone} at {run.image.size} px, {run.batches.size} images a step"


def _format_values(values: Sequence[Any]) -> str:
    shown = ", ".join(map(_format_value, values))
    return shown if len(values) == 1 else f"[{shown}]"


def _format_value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sum(loads: Sequence[ImageCounts]) -> ImageCounts:
    return sum(loads, ImageCounts(0, 0))
