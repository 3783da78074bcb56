"""Loads pretrained weights of a backbone. Every tensor must be present in the right shape."""

import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from chex.errors import InputError
from chex.models.origin import Origin
from chex.runtime.run_folder import sha256_of

COUNTERS = "num_batches_tracked"
"""The end of the names of batch norm's counters, which old files lack and which are not used."""
REMEDY = (
    "give a file of weights of this backbone with model.pretrained_file=FILE, or start from random weights with "
    + ("model.pretrained=false")
)
Check = Callable[[nn.Module, Mapping[str, Any]], None]


def published(backbone: str) -> tuple[nn.Module, Origin]:
    """Returns timm's `backbone` for one channel, without a classifier, with the weights that timm publishes for it.

    The weights are downloaded once. Raises InputError where they cannot be downloaded, or lack a tensor.
    """
    config = timm.models.get_pretrained_cfg(backbone)
    name = f"timm's published weights of {config.architecture}{f'.{config.tag}' if config.tag else ''}"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it warns of each retry; the error below is enough
    return _create(backbone, name, {})


def from_file(backbone: str, path: Path) -> tuple[nn.Module, Origin]:
    """Returns timm's `backbone` for one channel, without a classifier, with the weights in the file at `path`.

    The file is of safetensors or torch.save, with tensors by timm's names. Prefixes that timm removes (`state_dict`,
    `model`, `module.`) and a prefix that all names share are removed. A first layer for colour is converted to gray by
    timm. Raises InputError for a file that cannot be read, that lacks a tensor, or that has more layers.
    """
    if not path.is_file():
        raise InputError(f"model.pretrained_file: {path} is not a file; give a file of weights in timm's format")
    try:
        content = timm.models.load_state_dict(str(path))  # with weights_only=True
        arrays = {name: array for name, array in content.items() if isinstance(array, torch.Tensor)}
    except Exception as error:  # torch, safetensors and pickle raise different errors
        raise InputError(
            f"model.pretrained_file: {path} cannot be read as weights ({first_line(error)}); {REMEDY}"
        ) from error
    if not arrays:
        raise InputError(f"model.pretrained_file: {path} has no tensors; {REMEDY}")
    arrays = _without_prefix(arrays, backbone)
    model, origin = _create(backbone, str(path), {"state_dict": arrays})
    model.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator,union-attr]
    return model, Origin(origin.source, sha256_of(path), origin.tensors, origin.left_out)


def _without_prefix(arrays: dict[str, torch.Tensor], backbone: str) -> dict[str, torch.Tensor]:
    """Returns `arrays` without the prefix that all names share, unless a part of the backbone has that name."""
    parts: set[str] = set()
    while len(first := {name.partition(".")[0] for name in arrays}) == 1 and all("." in name for name in arrays):
        parts = parts or {name.partition(".")[0] for name in timm.create_model(backbone, in_chans=1).state_dict()}
        if first <= parts:
            break
        arrays = {name.partition(".")[2]: array for name, array in arrays.items()}
    return arrays


def _create(backbone: str, source: str, overlay: dict[str, Any]) -> tuple[nn.Module, Origin]:
    left_out: list[str] = []

    def check(network: nn.Module, arrays: Mapping[str, Any]) -> None:
        _check_complete(
            f"{'model.pretrained_file' if overlay else 'model.pretrained'}: {source}", backbone, network, arrays
        )
        left_out.extend(_unknown_names(network, arrays))

    logging.getLogger("timm").setLevel(logging.ERROR)  # it warns of unused tensors, which Origin lists
    try:
        with _before_loading(check):
            model = timm.create_model(
                backbone, pretrained=True, in_chans=1, num_classes=0, pretrained_cfg_overlay=overlay
            )
    except InputError:
        raise
    except Exception as error:  # the hub, the disk and timm raise different errors
        raise InputError(
            f"model.pretrained: weights of '{backbone}' could not be loaded from {source} "
            f"({first_line(error)}); {REMEDY}"
        ) from error
    return model, Origin(source, "", len(_shapes(model)), tuple(left_out))


@contextmanager
def _before_loading(check: Check) -> Iterator[None]:
    """In the block, calls `check` with each network that is about to load tensors, and with these tensors by name.

    timm converts names and shapes itself and ignores missing tensors, so `check` sees what the network really gets.
    """
    parents, hooks = set[nn.Module](), []

    def pre_load(network: nn.Module, arrays: Mapping[str, Any], prefix: str, *_: object) -> None:
        if not prefix:
            check(network, arrays)

    def register(parent: nn.Module, _: str, __: object) -> None:
        if parent not in parents:
            parents.add(parent)
            hooks.append(parent.register_load_state_dict_pre_hook(pre_load))  # type: ignore[no-untyped-call]

    hooks.append(register_module_module_registration_hook(register))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_complete(source: str, backbone: str, network: nn.Module, arrays: Mapping[str, Any]) -> None:
    expected = _shapes(network)
    found = {name: tuple(array.shape) for name, array in arrays.items()}
    wrong = [name for name, shape in expected.items() if found.get(name) != shape]
    if wrong:
        first = wrong[0]
        how = f"missing: {first}"
        if first in found:
            how = f"of another shape: {first}, which is {_shape(found[first])} and should be {_shape(expected[first])}"
        names = "" if len(wrong) < len(expected) else f"; its names are like {next(iter(arrays), 'none')}"
        raise InputError(
            f"{source} does not have all of {backbone}: {len(expected) - len(wrong):,} of "
            f"{len(expected):,} backbone tensors are there; first {how}{names}; {REMEDY}"
        )
    kinds = {_kind(name) for name in expected}
    if more := [name for name in _unknown_names(network, arrays) if _kind(name) in kinds]:
        raise InputError(
            f"{source} is of a network with more layers than {backbone}: it has {len(more):,} tensors "
            f"that {backbone} does not have, first {more[0]}; {REMEDY}"
        )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in network.state_dict().items() if not name.endswith(COUNTERS)}


def _unknown_names(network: nn.Module, arrays: Mapping[str, Any]) -> list[str]:
    known = network.state_dict().keys()
    return [name for name in arrays if name not in known and not name.endswith(COUNTERS)]


def _kind(name: str) -> str:
    """Returns `name` without layer numbers, so that `blocks.3.norm1.weight` equals `blocks.12.norm1.weight`."""
    return re.sub(r"\b\d+\b", "N", name)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def first_line(error: Exception) -> str:
    """Returns the first line of an error's message, or the name of its class where the message is empty."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
