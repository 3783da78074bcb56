"""Everything a run needs before its first step, checked: tables, decoded images, targets, rows."""

import hashlib
from dataclasses import dataclass

import numpy as np

from chex.cache import Progress, open_images
from chex.config import RunConfig
from chex.errors import InputError
from chex.metrics import defined
from chex.records import Tree, load_tree
from chex.sampling import sample_rows
from chex.seeds import stream
from chex.uncertainty import Targets, targets, truth


@dataclass(frozen=True)
class Prepared:
    """A run's data. Training rows come first in `images`, validation rows follow."""

    observations: tuple[str, ...]
    images: np.ndarray
    """uint8 (N_train + N_valid, size, size)."""
    targets: Targets
    """Of all training images, (N_train, K)."""
    rows: np.ndarray
    """int64 (M,): the sampled training rows, repeats included."""
    truth: np.ndarray
    """float32 (N_valid, K): 1, 0 or NaN (not scored)."""
    valid_paths: np.ndarray
    valid_patients: np.ndarray

    @property
    def averaged_over(self) -> tuple[str, ...]:
        """The observations whose AUROC is defined: those with both classes in the validation split."""
        return tuple(np.array(self.observations)[defined(self.truth)].tolist())

    @property
    def valid_digest(self) -> str:
        """A fingerprint of what validation scores against; scores with different ones cannot be compared."""
        content = "\n".join(self.valid_paths).encode() + self.truth.tobytes() + repr(self.observations).encode()
        return hashlib.sha256(content).hexdigest()[:16]


def prepare(config: RunConfig, progress: Progress | None = None) -> Prepared:
    """Loads and checks what the run reads; decodes images where no cache has them yet. Raises InputError."""
    tree = read_tree(config)
    observations = config.data.observations
    chosen = targets(tree.train.labels, observations, config.policy)
    rows = sample_rows(chosen, config.sampling, stream(config.seed, "sampling"))
    return Prepared(
        observations=observations,
        images=open_images(tree.root, tree.paths, config.image, progress),
        targets=chosen,
        rows=rows,
        truth=truth(tree.valid.labels, observations),
        valid_paths=tree.valid.paths,
        valid_patients=tree.valid.patients,
    )


def read_tree(config: RunConfig) -> Tree:
    """The run's tree. Raises InputError where none is named or no observation can be scored on its validation split."""
    if config.data.root is None:
        raise InputError("data.root: not set; give the folder that holds train.csv and valid.csv with --data")
    tree = load_tree(config.data.root)
    labels = truth(tree.valid.labels, config.data.observations)
    if not defined(labels).any():
        names = ", ".join(config.data.observations)
        raise InputError(
            f"{tree.root / 'valid.csv'}: AUROC is undefined for {names}, because the {len(tree.valid):,} validation "
            "images hold only one class; choose data.observations with positives and negatives there"
        )
    return tree
