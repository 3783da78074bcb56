"""Checks that the state in a run's folder belongs to the run that is to resume from it.

A state has the whole config of its run. Configs are compared by their values. If a state lacks a setting that a later
version added, the setting counts as its default. A changed default is a difference: the state has the old value.
"""

from pathlib import Path
from typing import Any

import torch

from chex.config import RunConfig, to_yaml, validate, without_locations
from chex.errors import InputError
from chex.models.checkpoint import read_state
from chex.runtime.run_folder import STATE
from chex.schema.differences import describe_differences
from chex.schema.yaml_text import load_yaml
from chex.training.run_tables import RunTables


def config_fingerprint(config: RunConfig, data: RunTables) -> dict[str, str]:
    """Returns what a state records of its run: the config without locations as YAML, and a digest of the data."""
    return {"config": to_yaml(without_locations(config)), "data": data.digest}


def load_state(folder: Path, config: RunConfig, data: RunTables, device: torch.device) -> dict[str, Any] | None:
    """Returns the last intact state in `folder`, or None where there is none.

    Raises InputError where it belongs to a run with another config, or on other data.
    """
    state, path = read_state(folder, device), folder / STATE
    if state is None:
        return None
    saved = validate(RunConfig, load_yaml(state["config"]), str(path))
    if different := describe_differences(without_locations(config), without_locations(saved)):
        raise InputError(
            f"{path} belongs to a run with another config ({different}); give the config that it was made with, "
            "or another folder"
        )
    if state["data"] != data.digest:
        raise InputError(
            f"{path} belongs to a run on other data (images, labels, probability tables or the sample differ); give "
            "the tree and the tables that it was made with, or another folder"
        )
    return state
