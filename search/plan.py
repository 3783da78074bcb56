"""`chex-search plan`: the space, its size, images, trials at once and hours, before anything is started or written."""

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

from chex.config import RunConfig, override, validated
from chex.errors import InputError
from chex.model import check_backbone
from chex.prepare import Selection, select
from chex.settle import settle
from chex.uncertainty import PolicyConfig
from search.forecast import Load, Sampled, Speed, combinations, passes, rungs, share_run
from search.paths import value_at
from search.points import draws
from search.relabelling import check_given_tables, observations_that_may_have
from search.resources import Allotment, allotted, machine
from search.sampler import SamplerConfig, grid
from search.search_config import SearchConfig
from search.space import base_point, countable, described
from search.speed import measured
from search.staging import stage_tables, tree_path
from search.study import with_root

WIDTH = 100
"""Of the page where the output is no terminal."""
SCORING_PER_TRAINING = 1 / 3
"""What an image costs to score, of what it costs to train on, where the speed is given: scoring saves the pass back,
which is about twice as dear as the one forward."""
LABEL, FIGURE = 20, 20
"""Widths of the first columns of a section."""
Row = tuple[str, str] | tuple[str, str, str]
"""What, how much, and how that is known."""


@dataclass(frozen=True)
class Costs:
    """The images of a search's trials."""

    base: Load
    trials: tuple[Load, ...]
    """Of random feasible draws, or of every point of a grid."""
    first: tuple[Load, ...]
    """Of the points that are tried first."""
    teacher: Load
    """Of the network behind self_trained, where trials may ask for it."""

    @property
    def mean(self) -> Load:
        return _sum(self.trials) * (1 / len(self.trials))

    def all(self, trials: int) -> Load:
        """All `trials`, none stopped, without the teacher."""
        return _sum(self.first) + self.mean * (trials - len(self.first))


def plan(search: SearchConfig, name: str, images_per_second: float | None = None) -> Group:
    """The page. Reads the tables of the tree, if there is one, and times a few steps unless told the speed.

    Raises InputError.
    """
    if images_per_second is not None and not 0 < images_per_second < math.inf:
        raise InputError(f"--images-per-second {images_per_second:g}: a speed is above 0; give images a second")
    parts: list[RenderableType | None] = [
        Text(f"{name}: {search.budget.trials} trials on top of {_base_in_words(search.base)}", style="bold"),
        Text("nothing is started or written", style="dim"),
        knob_table(search),
        facts("constraints", constraint_rows(search)),
        facts("tried first", first_rows(search)),
        facts("search", search_rows(search)),
    ]
    if search.base.data.root is None and search.source is None:
        told = "images and hours are not known without a tree: give one with --data TREE"
        parts += [facts("passes", pass_rows(search)), Text(f"\n{told}", style="yellow")]
    else:
        with _tables(search) as here:
            selection = _selection(here)
        costs = images(search, selection)
        parts += [facts("images", image_rows(search, costs))]
        parts += [facts("time", time_rows(search, costs, selection, images_per_second))]
    return Group(*(_apart(part) for part in parts if part))


def _apart(part: RenderableType) -> RenderableType:
    return Padding(part, (1, 0, 0, 0)) if isinstance(part, Table) else part


def show(page: Group) -> None:
    """Prints it, as wide as the terminal."""
    console = Console()
    Console(width=None if console.is_terminal else WIDTH).print(page)


def knob_table(search: SearchConfig) -> Table:
    """A row per knob: its path, domain in the words of the YAML, condition, and the base run's value."""
    knobs, base = search.knobs(), search.base.model_dump(mode="json")
    conditional = any(knob.when for knob in knobs.values())
    heads = ["knob", "domain", *(["when"] if conditional else []), "base run"]
    table = Table(*heads, box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold cyan")
    point: dict[str, Any] = {}
    for path, knob in knobs.items():
        there = knob.exists(point)
        value = value_at(base, path) if there else None
        point |= {path: value} if there else {}
        told = "" if not there else "blank" if value is None else _short(value)
        outside = there and base_point({path: type(knob)(knob.domain)}, base) is None
        shown = Text(f"{told} (outside)" if outside else told, style="yellow" if outside else "")
        style = "dim" if countable(knob.domain) == 1 else ""
        when = [Text(", ".join(f"{other}: {_listed(values)}" for other, values in knob.when.items()))]
        table.add_row(Text(path), Text(described(knob.domain)), *(when if conditional else []), shown, style=style)
    return table


def facts(title: str, rows: Sequence[Row]) -> Table | None:
    """A section: what, how much, and how that is known. None without rows; rows of two cells have room to the edge."""
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
    """Each constraint, and how much of the space is left."""
    if not search.constraints:
        return []
    rules, drawn = search.rules(), draws(search.knobs())
    share = np.mean([rules.feasible(point) for point in drawn])
    rows: list[Row] = [(f"{number}", text) for number, text in enumerate(search.constraints, start=1)]
    return [*rows, ("feasible", f"{100 * share:.0f} % of {len(drawn):,} random points")]


def first_rows(search: SearchConfig) -> list[Row]:
    """The points to start from, told by what differs from the base run."""
    base, rows = search.base.model_dump(mode="json"), list[Row]()
    for number, point in enumerate(search.first_points(), start=1):
        differing = [f"{path} {_short(value)}" for path, value in point.items() if value != value_at(base, path)]
        rows.append((f"trial {number}", ", ".join(differing) or "the base run"))
    return rows


def search_rows(search: SearchConfig) -> list[Row]:
    """Size, sampler and early stopping."""
    knobs = search.knobs()
    endless = [path for path, knob in knobs.items() if countable(knob.domain) is None]
    rest = [path for path in knobs if path not in endless and countable(knobs[path].domain) != 1]
    before = "; before constraints" if search.constraints else ""
    rows: list[Row] = [("combinations", f"{combinations(knobs):,}", f"of {', '.join(rest) or 'no knob'}{before}")]
    if endless:
        rows.append(("continuous", f"{len(endless)} knobs", ", ".join(endless)))
    return [*rows, ("sampler", *_sampler(search.sampler)), ("early stopping", *_stopping(search))]


def _sampler(sampler: SamplerConfig) -> tuple[str, str]:
    """Its name, and what it does."""
    learns = f"seed {sampler.seed}; {sampler.startup} trials at random before it learns"
    return {
        "tpe": ("TPE", learns),
        "gp": ("Gaussian process", learns),
        "random": ("random", f"seed {sampler.seed}"),
        "qmc": ("Sobol points", f"seed {sampler.seed}; choices at random"),
        "grid": ("grid", "every combination once"),
    }[sampler.kind]


def _stopping(search: SearchConfig) -> tuple[str, str]:
    at, reports, rule = _rungs(search), search.base.reports, search.stopping
    if rule and rule.unit == "images":
        return (
            f"at {rule.grace:,} images",
            f"ASHA: there and at each {rule.factor:g} times as many the best 1/{rule.factor:g} go on",
        )
    if not at or rule is None:
        return "none", "every trial runs to its end"
    numbers = ", ".join(f"{round(percent * reports / 100)}" for percent in at)
    told = f"ASHA: at report {numbers} of {reports} the best 1/{rule.factor:g} so far go on"
    return f"at {', '.join(f'{percent:g}' for percent in at)} %", told


def pass_rows(search: SearchConfig) -> list[Row]:
    """How often runs go over the training films, where no tree says how many there are."""
    each = [passes(run) for run in _runs(search)]
    return [
        ("the base run", f"{passes(search.base):.2f}", "over the training films: epochs times sampling.fraction"),
        ("a trial, mean", f"{np.mean(each):.2f}", _drawn(search, len(each))),
        ("shortest to longest", f"{min(each):.2f} to {max(each):.2f}", "of these"),
        ("all trials", f"{np.mean(each) * search.budget.trials:.1f}", "mean times trials, none stopped"),
    ]


def images(search: SearchConfig, selection: Selection) -> Costs:
    """The images of the base run, of random trials and of those tried first. Raises InputError."""
    sampled, base = Sampled(selection), search.base.model_dump(mode="json")
    asked = observations_that_may_have("self_trained", search.base, search.knobs())
    taught = bool(asked) and search.base.relabel.self_trained is None
    own = sampled.load(search.base)
    return Costs(
        base=own,
        trials=tuple(map(sampled.load, _runs(search))),
        first=tuple(sampled.load(_run(base, point)) for point in search.first_points()),
        teacher=own if taught else Load(0, 0),
    )


def image_rows(search: SearchConfig, costs: Costs) -> list[Row]:
    """Images of runs, at rungs, and of all trials."""
    trained = [load.trained for load in costs.trials]
    low, high = min(trained), max(trained)
    total = costs.all(search.budget.trials).trained
    rows: list[Row] = [
        ("the base run", f"{costs.base.trained:,.0f}", "rows sampled, in whole batches, times epochs"),
        ("a trial, mean", f"{costs.mean.trained:,.0f}", _drawn(search, len(trained))),
        ("shortest to longest", f"{low:,.0f} to {high:,.0f}", "of these"),
    ]
    rows += [
        (
            f"at {percent:g} %",
            f"{low * percent / 100:,.0f} to {high * percent / 100:,.0f}",
            "where a trial may stop",
        )
        for percent in _rungs(search)
    ]
    if costs.teacher.trained:
        rows.append(("the teacher", f"{costs.teacher.trained:,.0f}", "of self_trained, before the first trial"))
    rows.append(("all trials", f"{total:,.0f}", "mean times trials, none stopped"))
    if _rungs(search):
        rows.append(("", f"{total * _share(search):,.0f}", _stopped_in_words(search)))
    return rows


def time_rows(search: SearchConfig, costs: Costs, selection: Selection, given: float | None) -> list[Row]:
    """Speed, trials at once and hours. Times a few steps unless the speed is `given`."""
    if given is not None:
        speed = Speed(given, given / SCORING_PER_TRAINING)
        told = "given, of all trials together; scoring 3 times as fast"
        return [("speed", f"{given:,.0f} images/s", told), *_hours(search, costs, speed, 1.0)]
    here = machine()
    try:
        allotment = allotted(search.resources, [here])
    except InputError as error:
        return [
            ("trials at once", "0", str(error)),
            ("estimated", "unknown", "give the speed of the machine: --images-per-second X"),
        ]
    speed, how = measured(_settled(search, allotment), selection)
    share, together = allotment.gpus_per_trial, allotment.at_once
    wanted = _counted(allotment.cpus_per_trial, "CPU") + (f" and {_counted(share, 'GPU')}" if share else "")
    where = f"of {wanted} each, on {here} here"
    rows = [
        ("training", f"{speed.trained:,.0f} images/s", f"of a trial alone, measured: {how}"),
        ("scoring", f"{speed.scored:,.0f} images/s", "of a trial alone, measured"),
        ("trials at once", f"{together}", where),
    ]
    return [*rows, *_hours(search, costs, speed, together * min(1.0, share) if share else float(together))]


def _hours(search: SearchConfig, costs: Costs, speed: Speed, times: float) -> list[Row]:
    """`times`: how many trials the machine does in the time that `speed` takes for one."""
    longest = max(map(speed.seconds, costs.trials))
    before = speed.seconds(costs.teacher)
    full = speed.seconds(costs.all(search.budget.trials))
    most = before + max(full / times, longest)
    with_teacher = ", the teacher's too" if costs.teacher.trained else ""
    rows = [("estimated", duration(most), f"images over speed{with_teacher}; none stopped")]
    if _rungs(search):
        least = before + max(full * _share(search) / times, longest)
        rows.append(("", duration(least), _stopped_in_words(search)))
    return [*rows, ("left out", "", "decoding films; how trials side by side slow each other")]


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as exact as an estimate deserves."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:,.1f} h"


@contextmanager
def _tables(search: SearchConfig) -> Iterator[SearchConfig]:
    """`search` with a tree whose tables can be read while the block runs; those of a source are then gone again."""
    if search.source is None:
        yield search
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield with_root(search, stage_tables(search.source, tree_path(search.source, Path(scratch))))


def _selection(search: SearchConfig) -> Selection:
    """What the base run trains on; a policy that reads a table counts as zeros. Raises InputError."""
    check_given_tables(search.base, search.knobs())
    return select(search.base.model_copy(update={"policy": {"default": PolicyConfig(kind="zeros")}}))


def _settled(search: SearchConfig, allotment: Allotment) -> RunConfig:
    """The base run as a trial gets it, with what `auto` means here. Raises InputError."""
    check_backbone(search.base.model.backbone)
    kind = "cuda" if allotment.gpus_per_trial else "cpu"
    device = search.base.device.model_copy(update={"kind": kind, "threads": allotment.cpus_per_trial})
    return settle(search.base.model_copy(update={"device": device}), share=allotment.gpus_per_trial or 1.0)


def _runs(search: SearchConfig) -> list[RunConfig]:
    """Random feasible trials, or all of a grid."""
    knobs, rules, base = search.knobs(), search.rules(), search.base.model_dump(mode="json")
    points = grid(knobs) if search.sampler.kind == "grid" else draws(knobs)
    return [_run(base, point) for point in points if rules.feasible(point)]


def _run(base: Mapping[str, Any], point: Mapping[str, Any]) -> RunConfig:
    return validated(RunConfig, override(base, point), "space")


def _rungs(search: SearchConfig) -> list[float]:
    """In per cent; none also where they are counted in images, which says nothing of how much they save."""
    rule = search.stopping
    return rungs(rule.grace, rule.factor, search.base.reports) if rule and rule.unit == "percent" else []


def _share(search: SearchConfig) -> float:
    return share_run(_rungs(search), search.stopping.factor) if search.stopping else 1.0


def _stopped_in_words(search: SearchConfig) -> str:
    factor = search.stopping.factor if search.stopping else 1
    return f"if just the best 1/{factor:g} go on at each rung"


def _drawn(search: SearchConfig, count: int) -> str:
    return f"over {count:,} {'points of the grid' if search.sampler.kind == 'grid' else 'random feasible draws'}"


def _counted(number: float, what: str) -> str:
    return f"{number:g} {what}{'' if number == 1 else 's'}"


def _base_in_words(run: RunConfig) -> str:
    return f"{run.model.backbone} at {run.image.size} px, {run.batches.size} films a step"


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(map(_short, values))
    return shown if len(values) == 1 else f"[{shown}]"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _sum(loads: Sequence[Load]) -> Load:
    return sum(loads, Load(0, 0))
