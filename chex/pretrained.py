"""The weights that a backbone begins with: every tensor of it is there in the right shape, or they are refused."""

import hashlib
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

from chex.errors import InputError

COUNTERS = "num_batches_tracked"
"""The end of the names of batch norm's counters, which old files lack and nothing here reads."""
REMEDY = "give a file of weights of this backbone with model.weights=FILE, or start from random weights with " + (
    "model.pretrained=false"
)
Look = Callable[[nn.Module, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Origin:
    """Where the first weights of a backbone came from."""

    source: str
    """The file, or the name of timm's published weights."""
    sha256: str
    """Of the file; "" for published weights."""
    tensors: int
    """How many were loaded: all that the backbone has."""
    left_out: tuple[str, ...]
    """The names of the tensors in the file that the backbone has no place for, as its classifier's."""

    def told(self) -> str:
        """Says in a sentence what was loaded."""
        count = f"{self.tensors:,} of {self.tensors:,} backbone tensors"
        left = f"; left out {len(self.left_out)} more, first {self.left_out[0]}" if self.left_out else ""
        return f"loaded {count} from {self.source}{left}"


def published(backbone: str) -> tuple[nn.Module, Origin]:
    """timm's `backbone` for one channel, without a classifier, with the weights that timm publishes for it.

    They are downloaded once. Raises InputError where they cannot be had, or are not whole.
    """
    config = timm.models.get_pretrained_cfg(backbone)
    name = f"timm's published weights of {config.architecture}{f'.{config.tag}' if config.tag else ''}"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # each of its retries is a warning; we say it once
    return _begun(backbone, name, {})


def from_file(backbone: str, path: Path) -> tuple[nn.Module, Origin]:
    """timm's `backbone` for one channel, without a classifier, with the weights in the file at `path`.

    The file is safetensors or torch's, and holds tensors by timm's names. What timm takes off the names is taken off
    (`state_dict`, `model`, `module.`), and so is what all names begin with. A first layer for colour becomes one for
    gray, as timm does it. Raises InputError for a file that cannot be read, that lacks a tensor, or that is of a
    network with more layers.
    """
    if not path.is_file():
        raise InputError(f"model.weights: {path} is not a file; give a file of weights in timm's format")
    try:
        held = timm.models.load_state_dict(str(path))  # with weights_only=True
        arrays = {name: array for name, array in held.items() if isinstance(array, torch.Tensor)}
    except Exception as error:  # torch, safetensors and pickle each raise their own kinds
        raise InputError(f"model.weights: {path} cannot be read as weights ({first_line(error)}); {REMEDY}") from error
    if not arrays:
        raise InputError(f"model.weights: {path} holds no tensors; {REMEDY}")
    arrays = _without_prefix(arrays, backbone)
    model, origin = _begun(backbone, str(path), {"state_dict": arrays})
    model.pretrained_cfg.pop("state_dict", None)  # type: ignore[operator,union-attr]
    return model, Origin(origin.source, sha256_of(path), origin.tensors, origin.left_out)


def _without_prefix(arrays: dict[str, torch.Tensor], backbone: str) -> dict[str, torch.Tensor]:
    """`arrays` without what all their names begin with, unless a part of the backbone has that name."""
    own: set[str] = set()
    while len(first := {name.partition(".")[0] for name in arrays}) == 1 and all("." in name for name in arrays):
        own = own or {name.partition(".")[0] for name in timm.create_model(backbone, in_chans=1).state_dict()}
        if first <= own:
            break
        arrays = {name.partition(".")[2]: array for name, array in arrays.items()}
    return arrays


def _begun(backbone: str, source: str, given: dict[str, Any]) -> tuple[nn.Module, Origin]:
    left_out: list[str] = []

    def look(network: nn.Module, arrays: Mapping[str, Any]) -> None:
        _check_whole(f"{'model.weights' if given else 'model.pretrained'}: {source}", backbone, network, arrays)
        left_out.extend(_beyond(network, arrays))

    logging.getLogger("timm").setLevel(logging.ERROR)  # it warns of tensors without a place; we say it once
    try:
        with _watching(look):
            model = timm.create_model(
                backbone, pretrained=True, in_chans=1, num_classes=0, pretrained_cfg_overlay=given
            )
    except InputError:
        raise
    except Exception as error:  # the hub, the disk and timm each raise their own kinds
        raise InputError(
            f"model.pretrained: weights of '{backbone}' could not be had from {source} ({first_line(error)}); {REMEDY}"
        ) from error
    return model, Origin(source, "", len(_shapes(model)), tuple(left_out))


@contextmanager
def _watching(look: Look) -> Iterator[None]:
    """In the block, `look` is given each network that is about to load tensors, and these under the network's names.

    timm maps names and shapes itself, loads what is there and goes on without the rest; only what arrives tells.
    """
    parents, hooks = set[nn.Module](), []

    def arriving(network: nn.Module, arrays: Mapping[str, Any], prefix: str, *_: object) -> None:
        if not prefix:
            look(network, arrays)

    def watch(parent: nn.Module, _: str, __: object) -> None:
        if parent not in parents:
            parents.add(parent)
            hooks.append(parent.register_load_state_dict_pre_hook(arriving))  # type: ignore[no-untyped-call]

    hooks.append(register_module_module_registration_hook(watch))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _check_whole(source: str, backbone: str, network: nn.Module, arrays: Mapping[str, Any]) -> None:
    expected = _shapes(network)
    given = {name: tuple(array.shape) for name, array in arrays.items()}
    wrong = [name for name, shape in expected.items() if given.get(name) != shape]
    if wrong:
        first = wrong[0]
        how = f"missing: {first}"
        if first in given:
            how = f"of another shape: {first}, which is {_shape(given[first])} and should be {_shape(expected[first])}"
        own = "" if len(wrong) < len(expected) else f"; its own names are like {next(iter(arrays), 'none')}"
        raise InputError(
            f"{source} does not hold all of {backbone}: {len(expected) - len(wrong):,} of "
            f"{len(expected):,} backbone tensors are there; first {how}{own}; {REMEDY}"
        )
    kinds = {_kind(name) for name in expected}
    if more := [name for name in _beyond(network, arrays) if _kind(name) in kinds]:
        raise InputError(
            f"{source} is of a network with more layers than {backbone}: it holds {len(more):,} tensors "
            f"that {backbone} has no place for, first {more[0]}; {REMEDY}"
        )


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in network.state_dict().items() if not name.endswith(COUNTERS)}


def _beyond(network: nn.Module, arrays: Mapping[str, Any]) -> list[str]:
    own = network.state_dict().keys()
    return [name for name in arrays if name not in own and not name.endswith(COUNTERS)]


def _kind(name: str) -> str:
    """`name` without the numbers of its layers: `blocks.3.norm1.weight` and `blocks.12.norm1.weight` are of a kind."""
    return re.sub(r"\b\d+\b", "N", name)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def sha256_of(path: Path) -> str:
    """Returns the SHA-256 of a file, 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
