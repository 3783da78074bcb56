"""Which patients weights have seen. Weights carry it, so that nobody calls patients held out whom they know.

Patients are told by hashes of their ids. Ids alone do not tell hospitals apart: most trees have a patient00001. So
weights carry witnesses too: hashes of some images' names with the sex and age in the table. A tree in which patients
have the same ids is the tree of the training, or a part or copy of it at any resolution and with any labels, where at
least half of the images that can be compared have the same sex and age; in a tree of other patients it is about one in
a hundred. Where nothing can be compared, the same ids count as the same patients. Patients who were given new ids are
not found. Hashes are no secret: who can guess an id can find out whether it is there.
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

from chex.errors import InputError
from chex.records import DataConfig, Records, Tree

KEY = "provenance"
"""The key of the provenance in the metadata of a file of weights."""
BYTES = 6
"""The length of a hash: among 100,000 patients one in 3 thousand million is taken for another."""
WITNESSES = 16384
SAME = 0.5


@dataclass(frozen=True)
class Seen:
    """What weights have seen of one tree. All arrays are uint64, ascending, hashes of BYTES."""

    trained: np.ndarray
    """(P,): the patients that they were trained on."""
    chosen: np.ndarray
    """(Q,): the patients whose scores chose the best of the run's reports."""
    images: np.ndarray
    """(W,): witnesses: name, sex and age of those images of these patients whose names hash below `bound`."""
    bound: int
    holdout: float | None
    """data.holdout of the run."""
    split_seed: int
    """data.split_seed of the run."""


@dataclass(frozen=True)
class Provenance:
    """What weights have seen, by their own run and by those whose weights they started from."""

    seen: tuple[Seen, ...]
    unknown: tuple[str, ...] = ()
    """The files that they started from and that do not say what they have seen."""


def seen(tree: Tree, trained: np.ndarray, chosen: np.ndarray, config: DataConfig) -> Seen:
    """What a run sees that trains on the patients `trained` of `tree` and is scored on those in `chosen`, both str."""
    patients = np.union1d(trained, chosen)
    records = _of(tree, patients)
    names = hashes(_names(records))
    bound = int(np.sort(names)[WITNESSES]) if len(names) > WITNESSES else 1 << 8 * BYTES
    images = np.unique(hashes(_described(records.take(np.flatnonzero(names < bound)))))
    own, scored = (np.unique(hashes(np.unique(each).tolist())) for each in (trained, chosen))
    return Seen(own, scored, images, bound, config.holdout, config.split_seed)


def dump(provenance: Provenance) -> str:
    """A text of less than 1 MB for CheXpert, which `load` reads."""
    arrays = ("trained", "chosen", "images")
    trees = [
        {name: _packed(getattr(each, name)) for name in arrays}
        | {"bound": each.bound, "holdout": each.holdout, "split_seed": each.split_seed}
        for each in provenance.seen
    ]
    return json.dumps({"trees": trees, "unknown": provenance.unknown})


def load(path: Path, about: dict[str, str]) -> Provenance | None:
    """What the weights at `path` that say `about` of themselves have seen; None where they do not say it.

    Raises InputError where it cannot be read.
    """
    if KEY not in about:
        return None
    try:
        content = json.loads(about[KEY])
        return Provenance(tuple(map(_loaded, content["trees"])), tuple(content["unknown"]))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: what it says of the patients that it saw cannot be read ({error}); give weights as chex train "
            "wrote them"
        ) from error


def inherited(path: Path | None) -> Provenance:
    """What is known of a run's first weights from the file at `path`; without a file they have seen no patients."""
    if path is None:
        return Provenance(())
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
    except (OSError, safetensors.SafetensorError):  # a file of torch's
        about = {}
    return load(path, about) or Provenance((), (path.name,))


def trained_on(provenance: Provenance, tree: Tree, patients: np.ndarray) -> tuple[np.ndarray, Seen | None]:
    """Those of `patients` in `tree`, str, each once, whom the weights were trained on, and by which run, if any."""
    for each in provenance.seen:
        found = _shared(each, each.trained, tree, patients)
        if len(found):
            return found, each
    return np.array([], dtype=str), None


def chosen_by(provenance: Provenance, tree: Tree, patients: np.ndarray) -> np.ndarray:
    """Those of `patients` in `tree`, str, each once, whose scores chose the weights among a run's reports."""
    found = [_shared(each, each.chosen, tree, patients) for each in provenance.seen]
    return np.unique(np.concatenate([np.array([], dtype=str), *found]))


def check_unseen(provenance: Provenance, tree: Tree, patients: np.ndarray, config: DataConfig, weights: str) -> None:
    """Raises InputError where `weights`, named so, were trained on some of the `patients` that `config` scores."""
    found, run = trained_on(provenance, tree, patients)
    if run is None:
        return
    remedies = []
    if run.holdout is not None and (run.holdout, run.split_seed) != (config.holdout, config.split_seed):
        held = f"data.holdout={run.holdout} data.split_seed={run.split_seed}"
        remedies.append(f"score those that their training held out, with --set {held}")
    if config.holdout is not None:
        remedies.append("score valid.csv by leaving data.holdout out")
    where = "valid.csv" if config.holdout is None else f"data.holdout={config.holdout}"
    raise InputError(
        f"{weights}: trained on {len(found):,} of the {len(np.unique(patients)):,} patients that {where} of "
        f"{tree.root} scores, first {found[0]}; a score on them says nothing of new patients: "
        f"{', or '.join(remedies) or 'give a tree of other patients'}"
    )


def hashes(texts: Iterable[str]) -> np.ndarray:
    """uint64: a hash of each text."""
    return np.array([int.from_bytes(blake2b(text.encode(), digest_size=BYTES).digest()) for text in texts], np.uint64)


def _shared(own: Seen, of: np.ndarray, tree: Tree, patients: np.ndarray) -> np.ndarray:
    unique = np.unique(patients)
    found = unique[np.isin(hashes(unique.tolist()), of)]
    return found if len(found) and _same_people(own, _of(tree, found)) else found[:0]


def _same_people(own: Seen, records: Records) -> bool:
    """Whether the images of patients of the same ids are of the same patients."""
    known = (records.sexes != "") | ~np.isnan(records.ages)
    records = records.take(np.flatnonzero(known))
    compared = records.take(np.flatnonzero(hashes(_names(records)) < own.bound))
    if not len(compared):
        return True
    return bool(np.isin(hashes(_described(compared)), own.images).mean() >= SAME)


def _of(tree: Tree, patients: np.ndarray) -> Records:
    train, valid = (each.take(np.flatnonzero(np.isin(each.patients, patients))) for each in (tree.train, tree.valid))
    return Records(**{name: np.concatenate([own, getattr(valid, name)]) for name, own in vars(train).items()})


def _names(records: Records) -> Sequence[str]:
    """Patient, study and file of each image, whatever its folder and its kind of file."""
    return ["/".join(path.rsplit("/", 3)[-3:]).rpartition(".")[0] for path in records.paths.tolist()]


def _described(records: Records) -> Sequence[str]:
    columns = _names(records), records.sexes.tolist(), records.ages.tolist()
    return [f"{name} {sex} {age:g}" for name, sex, age in zip(*columns, strict=True)]


def _packed(values: np.ndarray) -> str:
    octets = values.astype(">u8").view(np.uint8).reshape(-1, 8)[:, -BYTES:]
    return base64.b64encode(octets.tobytes()).decode()


def _unpacked(text: str) -> np.ndarray:
    octets = np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(-1, BYTES)
    whole = np.zeros((len(octets), 8), np.uint8)
    whole[:, -BYTES:] = octets
    return whole.view(">u8").ravel().astype(np.uint64)


def _loaded(tree: dict[str, Any]) -> Seen:
    trained, chosen, images = (_unpacked(tree[name]) for name in ("trained", "chosen", "images"))
    return Seen(trained, chosen, images, int(tree["bound"]), tree["holdout"], int(tree["split_seed"]))
