"""What `auto` means where trials run, found out there."""

from typing import Any

import ray
from ray.exceptions import RayTaskError

from chex.config import RunConfig, validated
from chex.errors import InputError
from chex.settle import settle
from search.resources import Allotment


def settled_there(allotment: Allotment, config: RunConfig, share: float) -> RunConfig:
    """`config` as `settle` leaves it on a node of the running Ray that has room for a trial. Raises InputError."""
    if config.batches.size != "auto" and config.device.amp != "auto":
        return config
    room = {"num_cpus": allotment.cpus_per_trial, "num_gpus": allotment.gpus_per_trial}
    try:
        found = ray.get(_settle.options(**room).remote(config.model_dump(mode="json"), share))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            raise error.cause from None
        raise
    return validated(RunConfig, found, "base")


@ray.remote(max_calls=1)  # type: ignore[untyped-decorator]  # its process ends with it, and gives back the GPU's memory
def _settle(config: dict[str, Any], share: float) -> dict[str, Any]:
    return settle(validated(RunConfig, config, "base"), share).model_dump(mode="json")
