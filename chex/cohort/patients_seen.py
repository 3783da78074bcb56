"""Records which patients weights have seen, so that weights are not scored on patients they were trained on.

The record, a Provenance, is in the metadata of a file of weights. Patients are recorded as hashes of their ids. Ids
alone do not identify patients, because most trees have a patient00001. So the record also has witnesses: hashes of the
names of some images with the sex and age in the table. A tree with the same ids counts as a copy or a part of the
training's tree, at any resolution and with any labels, where at least half of the images that can be compared have the
same sex and age; in a tree of other patients about one in a hundred has. Where no image can be compared, patients with
the same ids count as the same. Patients with new ids are not recognized. The hashes do not keep ids secret: anybody can
test a guessed id.
"""

import base64
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from chex.data.data_config import DataConfig
from chex.data.tables import ImageTable, Tree
from chex.errors import InputError

KEY = "provenance"
"""The key of the record in the metadata of a file of weights."""
BYTES = 6
"""The length of a hash: another patient's id has the hash of one of 100,000 patients once in 3 thousand million."""
WITNESSES = 16384
"""The largest number of witnesses of a tree."""
MIN_AGREEMENT = 0.5
"""If at least this share of the compared images has the same sex and age, the trees count as the same."""


@dataclass(frozen=True)
class Seen:
    """What weights have seen of one tree. All arrays are hashes, uint64, in ascending order."""

    trained: np.ndarray
    """(P,): the patients that the weights were trained on."""
    chosen: np.ndarray
    """(selected patients,): the patients on whom the best report of the run was selected."""
    images: np.ndarray
    """(witnesses,): name, sex and age of those images of these patients whose name has a hash below `bound`."""
    bound: int
    """The smallest hash of an image's name that is too large for a witness; 2**48 if all images are witnesses."""
    holdout_fraction: float | None
    """data.holdout_fraction of the run."""
    split_seed: int
    """data.split_seed of the run."""


@dataclass(frozen=True)
class Provenance:
    """What weights have seen, in their run and in earlier runs whose weights they started from."""

    seen: tuple[Seen, ...]
    unknown: tuple[str, ...] = ()
    """The names of files of weights without a record that the weights started from."""


def seen_by_run(tree: Tree, trained: np.ndarray, chosen: np.ndarray, config: DataConfig) -> Seen:
    """Returns the record of a run on `tree`: `trained` are its training patients, `chosen` those scored, both str."""
    patients = np.union1d(trained, chosen)
    records = _images_of(tree, patients)
    names = hashes(_names(records))
    bound = int(np.sort(names)[WITNESSES]) if len(names) > WITNESSES else 1 << 8 * BYTES
    witnesses = np.unique(hashes(_descriptions(records.take(np.flatnonzero(names < bound)))))
    trained, chosen = (np.unique(hashes(np.unique(each).tolist())) for each in (trained, chosen))
    return Seen(trained, chosen, witnesses, bound, config.holdout_fraction, config.split_seed)


def dump_provenance(provenance: Provenance) -> str:
    """Returns `provenance` as text, of less than 1 MB for CheXpert."""
    arrays = ("trained", "chosen", "images")
    trees = [
        {name: _encode(getattr(each, name)) for name in arrays}
        | {"bound": each.bound, "holdout_fraction": each.holdout_fraction, "split_seed": each.split_seed}
        for each in provenance.seen
    ]
    return json.dumps({"trees": trees, "unknown": provenance.unknown})


def parse_provenance(path: Path, metadata: dict[str, str]) -> Provenance | None:
    """Returns the record in the `metadata` of the weights at `path`; None where they have none.

    Raises InputError where it cannot be read.
    """
    if KEY not in metadata:
        return None
    try:
        content = json.loads(metadata[KEY])
        return Provenance(tuple(map(_parse_seen, content["trees"])), tuple(content["unknown"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: its record of the patients that it has seen cannot be read ({error}); give weights as chex train "
            "wrote them"
        ) from error


def load_provenance(path: Path | None) -> Provenance:
    """Returns the record in the weights at `path`; without a path, the record of weights that have seen no patient."""
    if path is None:
        return Provenance(())
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (OSError, safetensors.SafetensorError):  # written by torch.save
        metadata = {}
    return parse_provenance(path, metadata) or Provenance((), (path.name,))


def trained_on(provenance: Provenance, tree: Tree, patients: np.ndarray) -> tuple[np.ndarray, Seen | None]:
    """Returns the `patients` of `tree` that the weights were trained on, str, each once, and their record."""
    for each in provenance.seen:
        shared = _shared(each, each.trained, tree, patients)
        if len(shared):
            return shared, each
    return np.array([], dtype=str), None


def selected_on(provenance: Provenance, tree: Tree, patients: np.ndarray) -> np.ndarray:
    """Returns the `patients` of `tree` on whom the weights were selected among the reports of a run, str, each once."""
    shared = [_shared(each, each.chosen, tree, patients) for each in provenance.seen]
    return np.unique(np.concatenate([np.array([], dtype=str), *shared]))


def check_unseen(provenance: Provenance, tree: Tree, patients: np.ndarray, config: DataConfig, weights: str) -> None:
    """Raises InputError where the weights named `weights` were trained on some of the `patients` that are scored."""
    shared, run = trained_on(provenance, tree, patients)
    if run is None:
        return
    remedies = []
    if run.holdout_fraction is not None and (run.holdout_fraction, run.split_seed) != (
        config.holdout_fraction,
        config.split_seed,
    ):
        settings = f"data.holdout_fraction={run.holdout_fraction} data.split_seed={run.split_seed}"
        remedies.append(f"score the patients that their training held out, with --set {settings}")
    if config.holdout_fraction is not None:
        remedies.append("score valid.csv by leaving data.holdout_fraction out")
    where = "valid.csv" if config.holdout_fraction is None else f"data.holdout_fraction={config.holdout_fraction}"
    raise InputError(
        f"{weights}: trained on {len(shared):,} of the {len(np.unique(patients)):,} patients that {where} of "
        f"{tree.root} scores, first {shared[0]}; a score on them says nothing about new patients: "
        f"{', or '.join(remedies) or 'give a tree of other patients'}"
    )


def hashes(texts: Iterable[str]) -> np.ndarray:
    """Returns a hash of each text, uint64."""
    return np.array([int.from_bytes(blake2b(text.encode(), digest_size=BYTES).digest()) for text in texts], np.uint64)


def _shared(seen: Seen, seen_patients: np.ndarray, tree: Tree, patients: np.ndarray) -> np.ndarray:
    unique = np.unique(patients)
    same_ids = unique[np.isin(hashes(unique.tolist()), seen_patients)]
    return same_ids if len(same_ids) and _same_people(seen, _images_of(tree, same_ids)) else same_ids[:0]


def _same_people(seen: Seen, records: ImageTable) -> bool:
    """Returns whether the images of patients with the same ids are of the same people."""
    known = (records.sexes != "") | ~np.isnan(records.ages)
    records = records.take(np.flatnonzero(known))
    compared = records.take(np.flatnonzero(hashes(_names(records)) < seen.bound))
    if not len(compared):
        return True
    return bool(np.isin(hashes(_descriptions(compared)), seen.images).mean() >= MIN_AGREEMENT)


def _images_of(tree: Tree, patients: np.ndarray) -> ImageTable:
    train, valid = (each.take(np.flatnonzero(np.isin(each.patients, patients))) for each in (tree.train, tree.valid))
    return ImageTable(**{name: np.concatenate([rows, getattr(valid, name)]) for name, rows in vars(train).items()})


def _names(records: ImageTable) -> Sequence[str]:
    """Returns patient, study and file name of each image, without the folders above and the suffix."""
    return ["/".join(path.rsplit("/", 3)[-3:]).rpartition(".")[0] for path in records.paths.tolist()]


def _descriptions(records: ImageTable) -> Sequence[str]:
    columns = _names(records), records.sexes.tolist(), records.ages.tolist()
    return [f"{name} {sex} {age:g}" for name, sex, age in zip(*columns, strict=True)]


def _encode(values: np.ndarray) -> str:
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, -BYTES:]
    return base64.b64encode(octets.tobytes()).decode()


def _decode(text: str) -> np.ndarray:
    octets = np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(-1, BYTES)
    whole = np.zeros((len(octets), 8), np.uint8)
    whole[:, -BYTES:] = octets
    return whole.view(">u8").ravel().astype(np.uint64)


def _parse_seen(tree: dict[str, Any]) -> Seen:
    trained, chosen, images = (_decode(tree[name]) for name in ("trained", "chosen", "images"))
    return Seen(trained, chosen, images, int(tree["bound"]), tree["holdout_fraction"], int(tree["split_seed"]))
