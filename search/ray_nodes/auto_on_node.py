"""Resolves `auto` settings on a node where trials run."""

from typing import Any

import ray
from ray.exceptions import RayTaskError

from chex.config import RunConfig, validate
from chex.errors import InputError
from chex.training.auto import resolve_auto
from search.config.resources import TrialSlots


def resolve_auto_on_node(slots: TrialSlots, config: RunConfig, share: float) -> RunConfig:
    """Returns `config` with its `auto` settings resolved on a node of the running Ray with room for a trial.

    Raises InputError if they cannot be resolved there.
    """
    if config.batches.size != "auto" and config.device.amp != "auto":
        return config
    resources = {"num_cpus": slots.cpus_per_trial, "num_gpus": slots.gpus_per_trial}
    try:
        resolved = ray.get(_resolve.options(**resources).remote(config.model_dump(mode="json"), share))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    return validate(RunConfig, resolved, "base")


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]  # ends its process, which frees the GPU's memory
def _resolve(config: dict[str, Any], share: float) -> dict[str, Any]:
    return resolve_auto(validate(RunConfig, config, "base"), share).model_dump(mode="json")
