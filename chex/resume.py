"""The state in a run's folder, compared with the run that is to go on from it: values with values, not texts.

A state holds the whole config that made it. A setting that it does not know yet, because a later version has it, counts
as that version's default; a default that has changed since is a difference, because the state says what it was.
"""

from pathlib import Path
from typing import Any

import torch

from chex.checkpoint import STATE, read_state
from chex.config import RunConfig, dump, nowhere, validated
from chex.differences import differences
from chex.errors import InputError
from chex.prepare import Selection
from chex.yaml_text import load_yaml


def identity(config: RunConfig, data: Selection) -> dict[str, str]:
    """What a state says of the run that it belongs to: its config, wherever its files lie, and a digest of its data."""
    return {"config": dump(nowhere(config)), "data": data.digest}


def load_state(folder: Path, config: RunConfig, data: Selection, device: torch.device) -> dict[str, Any] | None:
    """The last whole state in `folder`, or None where there is none.

    Raises InputError where it belongs to a run with another config, or on other data.
    """
    state, path = read_state(folder, device), folder / STATE
    if state is None:
        return None
    there = validated(RunConfig, load_yaml(state["config"]), str(path))
    if other := differences(nowhere(config), nowhere(there)):
        raise InputError(
            f"{path} belongs to a run with another config ({other}); give the config that it was made with, "
            "or another folder"
        )
    if state["data"] != data.digest:
        raise InputError(
            f"{path} belongs to a run on other data (images, labels, probability tables or the sample differ); give "
            "the tree and the tables that it was made with, or another folder"
        )
    return state
