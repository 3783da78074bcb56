"""Parameters that no trial would follow, because something else in the base run decides in their place."""

from collections.abc import Sequence

import numpy as np

from chex.config import RunConfig
from chex.errors import InputError
from chex.labels import OBSERVATIONS, UNCERTAIN
from search.space import Space

OF_ROUNDS = {
    "schedule.epochs": ("epochs",),
    "schedule.shape": ("shape",),
    "schedule.warmup": ("warmup",),
    "optimizer.lr": ("lr",),
    "optimizer.lr_low": ("lr_low", "lr"),
}
"""Settings of a run, and those of a round of which one stands in their place."""


def check_effects(space: Space, base: RunConfig) -> None:
    """Raises InputError for a path of `space` whose values all give the same run."""
    for path in space:
        if why := _decided_elsewhere(path, space, base):
            raise InputError(f"space.{path}: changes nothing, because {why}; remove it from the space")


def idle_policies(space: Space, observations: Sequence[str], labels: np.ndarray) -> str | None:
    """A sentence that names the searched policies of observations without an uncertain label; None where none is.

    `labels` is int8 (N, 14), of the images that may be trained on.
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


def _decided_elsewhere(path: str, space: Space, base: RunConfig) -> str | None:
    head, _, rest = path.partition(".")
    observation, observations = rest.partition(".")[0], base.data.observations
    if head == "policy" and observation == "default":
        own = all(name in base.policy or f"policy.{name}" in space for name in observations)
        return "each of data.observations has a policy of its own" if own else None
    if head == "policy" and observation not in observations:
        return f"data.observations does not have {observation}"
    if path in OF_ROUNDS and base.rounds:
        own = all(any(getattr(each, name) is not None for name in OF_ROUNDS[path]) for each in base.rounds)
        return "each of the rounds has its own" if own else None
    if path == "sampling.by" and base.sampling.fraction == 1 and "sampling.fraction" not in space:
        return "sampling.fraction is 1, all that there is"
    return None
