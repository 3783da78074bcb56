"""What a run leaves on disk: state to go on from, the best weights, their predictions, the reports so far.

A folder holds state.pt (everything a resume needs) and the one before it, best.safetensors, predictions.csv (of these
weights), probabilities.parquet (of every report) and reports.csv. Each appears whole; state.pt is written last, so that
what it speaks of is there.
"""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import safetensors
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save

from chex.atomic import replacing
from chex.errors import InputError

STATE, EARLIER = "state.pt", "state.earlier.pt"
WEIGHTS, PREDICTIONS, REPORTS = "best.safetensors", "predictions.csv", "reports.csv"
PROBABILITIES = "probabilities.parquet"
DIGEST_BYTES = 32


def save_state(folder: Path, state: Mapping[str, Any]) -> None:
    """Writes the state: tensors, numbers, strings and containers of them; the one before it becomes EARLIER.

    The file is torch's, after a SHA-256 of it.
    """
    content = io.BytesIO()
    torch.save(dict(state), content)
    with replacing(folder / STATE) as beside:
        beside.write_bytes(hashlib.sha256(content.getbuffer()).digest() + content.getbuffer())
        if (folder / STATE).exists():
            os.replace(folder / STATE, folder / EARLIER)


def read_state(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The last state in `folder`; the one before it where that is missing or damaged; None where both are."""
    for path in (folder / STATE, folder / EARLIER):
        content = path.read_bytes() if path.exists() else b""
        digest, rest = content[:DIGEST_BYTES], memoryview(content)[DIGEST_BYTES:]
        if content and hashlib.sha256(rest).digest() == digest:
            return torch.load(io.BytesIO(rest), map_location=device, weights_only=True)
    return None


def save_weights(folder: Path, weights: Mapping[str, torch.Tensor], about: Mapping[str, str]) -> None:
    """Writes the best weights with what is needed to use them (`about`: backbone, observations, image size)."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    with replacing(folder / WEIGHTS) as beside:
        beside.write_bytes(save(plain, metadata=dict(about)))  # save_file hides a full disk in an error of its own


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Weights and what `save_weights` was told about them. Raises InputError for a file that is not safetensors."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
        return load_file(path), about
    except (OSError, safetensors.SafetensorError) as error:
        raise InputError(f"{path} cannot be read as safetensors ({error}); give a best.safetensors") from error


def save_predictions(
    folder: Path, paths: np.ndarray, patients: np.ndarray, observations: Sequence[str], truth: np.ndarray, p: np.ndarray
) -> None:
    """Writes a row per validation image: Path, patient, truth (blank: not scored) and probability of each."""
    table = pd.DataFrame({"Path": paths, "patient": patients})
    for column, name in enumerate(observations):
        table[name], table[f"{name} probability"] = truth[:, column], p[:, column]
    save_table(folder / PREDICTIONS, table)


def load_predictions(path: Path, observations: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Patients (N,), truth (N, K) and probability (N, K) as `save_predictions` wrote them."""
    table = pd.read_csv(path)
    truth = table[list(observations)].to_numpy(np.float64)
    probability = table[[f"{name} probability" for name in observations]].to_numpy(np.float64)
    return table["patient"].to_numpy(dtype=str), truth, probability


def save_probabilities(
    folder: Path, observations: Sequence[str], reports: Mapping[int, np.ndarray], labels: str
) -> None:
    """Writes PROBABILITIES: a row per report and unit with the images seen, the unit's place and float32 probabilities.

    `reports` maps images seen to (U, K) arrays; `labels` is the digest of what they are scored on.
    """
    images, arrays = list(reports), np.stack(list(reports.values())).astype(np.float32)
    count, units, _ = arrays.shape
    columns = {
        "images_seen": np.repeat(np.array(images, dtype=np.int64), units),
        "unit": np.tile(np.arange(units, dtype=np.int32), count),
    } | {name: arrays[:, :, column].ravel() for column, name in enumerate(observations)}
    table = pa.table(columns).replace_schema_metadata({"labels": labels})
    with replacing(folder / PROBABILITIES) as beside:
        write_parquet(table, beside)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes a table of whole numbers and float32 probabilities, as small as they get without loss."""
    probabilities = [field.name for field in table.schema if field.type == pa.float32()]
    numbers = [field.name for field in table.schema if field.type != pa.float32()]
    parquet.write_table(table, path, compression="zstd", use_dictionary=numbers, use_byte_stream_split=probabilities)


def load_probabilities(path: Path, observations: Sequence[str]) -> tuple[dict[int, np.ndarray], str]:
    """Images seen to (U, K) arrays, and the digest of the labels, as `save_probabilities` wrote them."""
    table = parquet.read_table(path)
    images = table["images_seen"].to_numpy()
    given = np.column_stack([table[name].to_numpy() for name in observations])
    labels = (table.schema.metadata or {})[b"labels"].decode()
    return {int(each): given[images == each] for each in np.unique(images)}, labels


def save_table(path: Path, table: pd.DataFrame) -> None:
    """Writes a CSV, whole."""
    with replacing(path) as beside:
        table.to_csv(beside, index=False)


def digest(text: str) -> str:
    """A short fingerprint of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def best_auroc(folder: Path) -> float:
    """The AUROC of the folder's best weights, as its last report has it."""
    return float(pd.read_csv(folder / REPORTS)["best_auroc"].iloc[-1])
