"""The CPUs and GPUs of a trial, and how many trials the nodes have room for at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, Field, field_validator

from chex.errors import InputError
from chex.runtime.cpu_count import usable_cpus
from chex.schema.strict_model import Strict, is_int

UNITS = 10_000
"""Ray counts a GPU in ten-thousandths."""


def _cpus(value: object) -> object:
    if value != "auto" and not (is_int(value) and value >= 1):
        raise ValueError(f"{value!r} is refused, it should be 'auto' or a whole number from 1")
    return value


class Resources(Strict):
    """The resources of each trial. A machine or node runs as many trials at once as it has room for."""

    cpus_per_trial: Annotated[int | str, BeforeValidator(_cpus)] = "auto"
    """Also the number of the trial's CPU threads. `auto`: 1, or with GPUs an equal share of a node's CPUs."""
    gpus_per_trial: float = Field(0, ge=0)
    """0, a fraction (.25: four trials share a GPU, each with a quarter of its memory) or a whole number."""
    max_concurrent_trials: int | None = Field(None, ge=1)
    """How many trials may run at once; blank: as many as there is room for. A cluster that adds nodes when trials wait
    does not need room for all of them at the start."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise ValueError(f"{value} is above 1 and not whole; use a fraction up to 1 or a whole number")
        if abs(_units(value) - value * UNITS) > 1e-6 or (value and not _units(value)):
            raise ValueError(f"{value} has more than the four decimals that Ray counts; use {max(value, 1e-4):.4f}")
        return value


@dataclass(frozen=True)
class Node:
    """A machine that runs trials."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{_counted(self.cpus, 'CPU')} and {_counted(self.gpus, 'GPU')}"


@dataclass(frozen=True)
class TrialSlots:
    """How a search's trials share the nodes."""

    cpus_per_trial: int
    gpus_per_trial: float
    max_concurrent_trials: int
    """How many trials run at once, 1 or more."""
    idle_cpus: int
    idle_gpus: float
    """GPUs that stay unused while this many trials run, 0 or more; for example .2 of each GPU if a trial uses .4."""


def plan_slots(
    resources: Resources,
    nodes: Sequence[Node],
    grows: bool = False,
    where: str = "this machine",
    coming: Sequence[Node] | None = None,
) -> TrialSlots:
    """Returns how many trials with these `resources` run on `nodes`; a cluster that `grows` may add nodes.

    `where` is the name of the machine in errors, if nothing grows. `coming` has one node of each type that may be
    added; None: unknown. A trial's fraction of a GPU is never split over two GPUs. With `auto` a trial gets the share
    of CPUs that the node with the smallest share has. Raises InputError if no trial has room now or later, because it
    would wait in Ray without end.
    """
    gpus, limit = resources.gpus_per_trial, resources.max_concurrent_trials
    may_wait = grows and limit is not None
    cpus = _cpus_per_trial(resources, [*nodes, *(coming or [])] if may_wait else nodes, may_wait)
    slots = sum(_slots(cpus, gpus, node) for node in nodes)
    if slots == 0 and not may_wait:
        raise _no_room_error(cpus, gpus, nodes, grows, where)
    if slots == 0 and coming is not None and not any(_slots(cpus, gpus, node) for node in coming):
        raise _never_room_error(cpus, gpus, nodes, coming)
    trials = limit if limit and may_wait else min(slots, limit or slots)
    idle_gpus = max(0, sum(node.gpus for node in nodes) * UNITS - trials * _units(gpus)) / UNITS
    return TrialSlots(cpus, gpus, trials, max(0, sum(node.cpus for node in nodes) - trials * cpus), idle_gpus)


def _cpus_per_trial(resources: Resources, nodes: Sequence[Node], may_wait: bool) -> int:
    if isinstance(resources.cpus_per_trial, int):
        return resources.cpus_per_trial
    gpus = resources.gpus_per_trial
    shares = [node.cpus // slots for node in nodes if (slots := _gpu_slots(gpus, node.gpus))]
    if not shares and gpus and may_wait:
        raise InputError(
            f"resources.cpus_per_trial: 'auto' divides the CPUs of a node, and no node with {_counted(gpus, 'GPU')} "
            "has started yet; give the number, for example 2"
        )
    return max(1, min(shares, default=1))


def _slots(cpus: int, gpus: float, node: Node) -> int:
    """Returns how many trials a node has room for, if each takes `cpus` CPUs and `gpus` GPUs."""
    gpu_slots = _gpu_slots(gpus, node.gpus)
    return node.cpus // cpus if gpu_slots is None else min(node.cpus // cpus, gpu_slots)


def _gpu_slots(share: float, gpus: int) -> int | None:
    """Returns how many trials, each with a `share` of a GPU, the `gpus` have room for; None if the share is 0."""
    if share == 0:
        return None
    return gpus * (UNITS // _units(share)) if share <= 1 else gpus // round(share)


def _units(share: float) -> int:
    return round(share * UNITS)


def _no_room_error(cpus: int, gpus: float, nodes: Sequence[Node], grows: bool, where: str) -> InputError:
    if grows:
        found = "no node has both: " + "; ".join(f"{count} with {node}" for node, count in Counter(nodes).items())
    else:
        found = f"{where} has {nodes[0]}"
    most_cpus, most_gpus = (max((getattr(node, name) for node in nodes), default=0) for name in ("cpus", "gpus"))
    remedies = [f"resources.cpus_per_trial to {most_cpus} or auto"] if cpus > most_cpus else []
    if gpus > most_gpus:
        remedies.append(f"resources.gpus_per_trial to {most_gpus}")
    lower = f"lower {' and '.join(remedies)}" if remedies else "lower one of them"
    more = ", or set resources.max_concurrent_trials if nodes are still to be added" if grows else ""
    return InputError(f"{_asks_for(cpus, gpus)}, and {found}; {lower}{more}")


def _never_room_error(cpus: int, gpus: float, nodes: Sequence[Node], coming: Sequence[Node]) -> InputError:
    kinds = "; ".join(map(str, dict.fromkeys(coming))) or "none"
    found = "; ".join(f"{count} with {node}" for node, count in Counter(nodes).items())
    return InputError(
        f"{_asks_for(cpus, gpus)}, and neither a node of the cluster ({found}) nor one that may be added ({kinds}) has "
        "both, so trials would wait without end; lower resources.cpus_per_trial or resources.gpus_per_trial, or give "
        "the cluster larger nodes"
    )


def _asks_for(cpus: int, gpus: float) -> str:
    return f"resources: a trial asks for {_counted(cpus, 'CPU')} and {_counted(gpus, 'GPU')}"


def _counted(count: float, what: str) -> str:
    return f"{count:g} {what}{'s' if count > 1 else ''}" if count else f"no {what}"


def this_machine() -> Node:
    """Returns the CPUs and GPUs that this process may use."""
    import torch  # slow, and only this function needs it

    return Node(usable_cpus(), torch.cuda.device_count())
