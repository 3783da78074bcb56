"""Finds parameters without effect: those that the base run overrides, and policies without an uncertain label."""

from collections.abc import Sequence

import numpy as np

from chex.config import RunConfig
from chex.errors import InputError
from chex.schema.labels import OBSERVATIONS, UNCERTAIN
from search.space.space import Space

PHASE_FIELDS = {
    "schedule.epochs": ("epochs",),
    "schedule.shape": ("shape",),
    "schedule.warmup_fraction": ("warmup",),
    "optimizer.lr": ("lr",),
    "optimizer.lr_stem": ("lr_stem", "lr"),
}
"""For each of these settings of a run, the fields of a phase that override it."""


def check_effects(space: Space, base: RunConfig) -> None:
    """Raises InputError if a path of `space` changes nothing in the run."""
    for path in space:
        if why := _why_no_effect(path, space, base):
            raise InputError(f"space.{path}: changes nothing, because {why}; remove it from the space")


def idle_policies(space: Space, observations: Sequence[str], labels: np.ndarray) -> str | None:
    """Returns a sentence that names the searched policies of observations without uncertain labels; None if none are.

    `labels` is int8 (N, 14) of 1, 0, -1 (uncertain) or -2 (blank): the labels of the images that may be trained on.
    """
    certain = [name for name in observations if not (labels[:, OBSERVATIONS.index(name)] == UNCERTAIN).any()]
    searched = [f"policy.{name}" for name in certain if f"policy.{name}" in space]
    if len(certain) == len(observations) and "policy.default" in space:
        searched = ["policy.default", *searched]
    if not searched:
        return None
    does = "does" if len(searched) == 1 else "do"
    return (
        f"{', '.join(searched)} {does} nothing in this search: no training image has an uncertain label of "
        f"{', '.join(certain)}"
    )


def _why_no_effect(path: str, space: Space, base: RunConfig) -> str | None:
    head, _, rest = path.partition(".")
    observation, observations = rest.partition(".")[0], base.data.observations
    if head == "policy" and observation == "default":
        unused = all(name in base.policy or f"policy.{name}" in space for name in observations)
        return "each of data.observations has its own policy" if unused else None
    if head == "policy" and observation not in observations:
        return f"data.observations does not have {observation}"
    if path in PHASE_FIELDS and base.phases:
        unused = all(any(getattr(each, name) is not None for name in PHASE_FIELDS[path]) for each in base.phases)
        return "each of the phases has its own" if unused else None
    if path == "sampling.by" and base.sampling.fraction == 1 and "sampling.fraction" not in space:
        return "sampling.fraction is 1, so all training rows are used"
    return None
