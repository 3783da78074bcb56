"""Predictions on disk: a CSV of the best weights, and a parquet file of every report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from chex.runtime.atomic_io import atomic_write, write_csv
from chex.runtime.run_folder import PREDICTIONS, PROBABILITIES


def save_predictions(
    folder: Path, paths: np.ndarray, patients: np.ndarray, observations: Sequence[str], truth: np.ndarray, p: np.ndarray
) -> None:
    """Writes PREDICTIONS: a row per scored unit with Path, patient, and truth and probability of each observation.

    `paths` and `patients` are str (U,), `truth` and `p` float (U, K). Truth is 1, 0, or blank (NaN: not scored).
    """
    table = pd.DataFrame({"Path": paths, "patient": patients})
    for column, name in enumerate(observations):
        table[name], table[f"{name} probability"] = truth[:, column], p[:, column]
    write_csv(folder / PREDICTIONS, table)


def load_predictions(path: Path, observations: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns patients str (U,), truth (U, K) and probabilities (U, K), as `save_predictions` wrote them."""
    table = pd.read_csv(path)
    truth = table[list(observations)].to_numpy(np.float64)
    probability = table[[f"{name} probability" for name in observations]].to_numpy(np.float64)
    return table["patient"].to_numpy(dtype=str), truth, probability


def save_probabilities(
    folder: Path, observations: Sequence[str], reports: Mapping[int, np.ndarray], labels: str
) -> None:
    """Writes PROBABILITIES: a row per report and unit with the images seen, the unit's index and float32 probabilities.

    `reports` maps images seen to (U, K) arrays; `labels` is the digest of the validation labels.
    """
    images, arrays = list(reports), np.stack(list(reports.values())).astype(np.float32)
    count, units, _ = arrays.shape
    columns = {
        "images_seen": np.repeat(np.array(images, dtype=np.int64), units),
        "unit": np.tile(np.arange(units, dtype=np.int32), count),
    } | {name: arrays[:, :, column].ravel() for column, name in enumerate(observations)}
    table = pa.table(columns).replace_schema_metadata({"labels": labels})
    with atomic_write(folder / PROBABILITIES) as beside:
        write_parquet(table, beside)


def write_parquet(table: pa.Table, path: Path) -> None:
    """Writes a table of integers and float32 probabilities, compressed without loss."""
    probabilities = [field.name for field in table.schema if field.type == pa.float32()]
    numbers = [field.name for field in table.schema if field.type != pa.float32()]
    parquet.write_table(table, path, compression="zstd", use_dictionary=numbers, use_byte_stream_split=probabilities)


def load_probabilities(path: Path, observations: Sequence[str]) -> tuple[dict[int, np.ndarray], str]:
    """Returns (U, K) arrays by images seen, and the digest of the labels, as `save_probabilities` wrote them."""
    table = parquet.read_table(path)
    images = table["images_seen"].to_numpy()
    probabilities = np.column_stack([table[name].to_numpy() for name in observations])
    labels = (table.schema.metadata or {})[b"labels"].decode()
    return {int(seen): probabilities[images == seen] for seen in np.unique(images)}, labels
