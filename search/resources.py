"""What a trial takes of a node, and how many trials the nodes have room for at once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import BeforeValidator, Field, field_validator

from chex.errors import InputError
from chex.processors import usable_cpus
from chex.strict import Strict, whole

UNITS = 10_000
"""Ray counts a GPU in ten-thousandths."""


def _cpus(value: object) -> object:
    if value != "auto" and not (whole(value) and value >= 1):
        raise ValueError(f"{value!r} is refused, it should be 'auto' or a whole number from 1")
    return value


class Resources(Strict):
    """Per trial; as many trials run at once as the machine, or each node of a cluster, has room for."""

    cpus_per_trial: Annotated[int | str, BeforeValidator(_cpus)] = "auto"
    """Also the trial's CPU threads. `auto`: 1, or beside GPUs an equal part of the CPUs for each trial they hold."""
    gpus_per_trial: float = Field(0, ge=0)
    """0, a fraction (.25: four trials share a GPU, each with a quarter of its memory) or a whole number."""
    at_once: int | None = Field(None, ge=1)
    """How many trials may run at once; blank: as many as there is room for. On a cluster, which may add nodes when
    trials wait, what is given need not have room on the nodes that are there at the start."""

    @field_validator("gpus_per_trial")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise ValueError(f"{value} is above 1 and not whole; use a fraction up to 1 or a whole number")
        if abs(_units(value) - value * UNITS) > 1e-6 or (value and not _units(value)):
            raise ValueError(f"{value} has more than four decimals, all that Ray counts; use {max(value, 1e-4):.4f}")
        return value


@dataclass(frozen=True)
class Node:
    """A machine that runs trials."""

    cpus: int
    gpus: int

    def __str__(self) -> str:
        return f"{_counted(self.cpus, 'CPU')} and {_counted(self.gpus, 'GPU')}"


@dataclass(frozen=True)
class Allotment:
    """What the nodes give to the trials of a search."""

    cpus_per_trial: int
    gpus_per_trial: float
    at_once: int
    """How many trials run at once, 1 or more."""
    idle_cpus: int
    idle_gpus: float
    """What no trial has while so many run: at .4 of a GPU each, a fifth of every GPU. 0 at the least."""


def allotted(
    resources: Resources,
    nodes: Sequence[Node],
    grows: bool = False,
    where: str = "this machine",
    coming: Sequence[Node] | None = None,
) -> Allotment:
    """How `resources` are met on `nodes`, to which others may be added where it `grows`.

    `where` names the one node of what does not grow in an error. `coming`: a node of each kind that may be added; None
    where nobody here knows them.

    A node without room for a trial has none, such as a cluster's head.

    A fraction of a GPU is of one and the same GPU: what is left of two GPUs makes no third trial's. `auto` CPUs are
    those of the node that has least for each. Raises InputError where there is no room for one trial, for which Ray
    would wait for ever, and none is to come: `at_once` is blank, or no kind of node that may be added has it either.
    """
    share, wanted = resources.gpus_per_trial, resources.at_once
    to_come = grows and wanted is not None
    own = _own_cpus(resources, [*nodes, *(coming or [])] if to_come else nodes, to_come)
    held = sum(_held(own, share, node) for node in nodes)
    if held == 0 and not to_come:
        raise _infeasible(own, share, nodes, grows, where)
    if held == 0 and coming is not None and not any(_held(own, share, node) for node in coming):
        raise _never(own, share, nodes, coming)
    at_once = wanted if wanted and to_come else min(held, wanted or held)
    idle_gpus = max(0, sum(node.gpus for node in nodes) * UNITS - at_once * _units(share)) / UNITS
    return Allotment(own, share, at_once, max(0, sum(node.cpus for node in nodes) - at_once * own), idle_gpus)


def _own_cpus(resources: Resources, nodes: Sequence[Node], to_come: bool) -> int:
    if isinstance(resources.cpus_per_trial, int):
        return resources.cpus_per_trial
    share = resources.gpus_per_trial
    parts = [node.cpus // by_gpu for node in nodes if (by_gpu := _held_by_gpus(share, node.gpus))]
    if not parts and share and to_come:
        raise InputError(
            f"resources.cpus_per_trial: 'auto' divides the CPUs of a node, and none with {_counted(share, 'GPU')} is "
            "there yet; give the number, for example 2"
        )
    return max(1, min(parts, default=1))


def _held(own: int, share: float, node: Node) -> int:
    """How many trials a node has room for."""
    by_gpu = _held_by_gpus(share, node.gpus)
    return node.cpus // own if by_gpu is None else min(node.cpus // own, by_gpu)


def _held_by_gpus(share: float, gpus: int) -> int | None:
    """How many trials `gpus` have room for; None where trials take none."""
    if share == 0:
        return None
    return gpus * (UNITS // _units(share)) if share <= 1 else gpus // round(share)


def _units(share: float) -> int:
    return round(share * UNITS)


def _infeasible(own: int, share: float, nodes: Sequence[Node], grows: bool, where: str) -> InputError:
    asked = f"resources: a trial asks for {_counted(own, 'CPU')} and {_counted(share, 'GPU')}, and "
    if grows:
        there = "no node has both: " + "; ".join(f"{count} with {node}" for node, count in Counter(nodes).items())
    else:
        there = f"{where} has {nodes[0]}"
    cpus, gpus = max((node.cpus for node in nodes), default=0), max((node.gpus for node in nodes), default=0)
    remedies = [f"resources.cpus_per_trial to {cpus} or auto"] if own > cpus else []
    if share > gpus:
        remedies.append(f"resources.gpus_per_trial to {gpus}")
    lower = f"lower {' and '.join(remedies)}" if remedies else "lower one of them"
    more = ", or set resources.at_once where nodes are still to come" if grows else ""
    return InputError(f"{asked}{there}; {lower}{more}")


def _never(own: int, share: float, nodes: Sequence[Node], coming: Sequence[Node]) -> InputError:
    kinds = "; ".join(map(str, dict.fromkeys(coming))) or "none"
    there = "; ".join(f"{count} with {node}" for node, count in Counter(nodes).items())
    return InputError(
        f"resources: a trial asks for {_counted(own, 'CPU')} and {_counted(share, 'GPU')}, and neither a node that is "
        f"there ({there}) nor one that may be added ({kinds}) has both, so that trials would wait for ever; lower "
        "resources.cpus_per_trial or resources.gpus_per_trial, or give the cluster larger nodes"
    )


def _counted(count: float, what: str) -> str:
    return f"{count:g} {what}{'s' if count > 1 else ''}" if count else f"no {what}"


def machine() -> Node:
    """CPUs and GPUs that this process may use."""
    return Node(usable_cpus(), torch.cuda.device_count())
