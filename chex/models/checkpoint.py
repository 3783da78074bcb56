"""Reads and writes the checkpoint of a run: the state that a resume needs, and the best weights.

The folder of a run has state.pt and the state before it, best.safetensors, predictions.csv (of these weights),
probabilities.parquet (of every report) and reports.csv. Each file is replaced as a whole. state.pt is written last, so
it never refers to a missing file.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from chex.errors import InputError
from chex.runtime.atomic_io import atomic_write
from chex.runtime.run_folder import PREVIOUS_STATE, STATE, WEIGHTS

DIGEST_BYTES = 32


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes `state` to STATE, and renames the state before it to PREVIOUS_STATE.

    A state has tensors, numbers, strings and containers of them. The file is the SHA-256 of the output of torch.save,
    and this output.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    with atomic_write(folder / STATE) as beside:
        beside.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        if (folder / STATE).exists():
            os.replace(folder / STATE, folder / PREVIOUS_STATE)


def read_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """Returns the last state in `folder`; if it is missing or damaged, the state before it; None without either."""
    for path in (folder / STATE, folder / PREVIOUS_STATE):
        content = path.read_bytes() if path.exists() else b""
        digest, saved = content[:DIGEST_BYTES], memoryview(content)[DIGEST_BYTES:]
        if content and hashlib.sha256(saved).digest() == digest:
            return torch.load(io.BytesIO(saved), map_location=device, weights_only=True)
    return None


def save_weights(folder: Path, weights: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> None:
    """Writes the best weights and `metadata` (backbone, observations, image size and so on)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with atomic_write(folder / WEIGHTS) as beside:
        beside.write_bytes(save(plain, metadata=dict(metadata)))  # save_file does not raise OSError for a full disk


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Returns the weights and metadata of a file. Raises InputError for a file that is not safetensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), metadata
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); give a best.safetensors") from error
