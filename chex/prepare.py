"""Everything a run needs before its first step, checked: tables, split, targets, rows, decoded images."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from chex.cache import ImageConfig, Progress, open_images
from chex.config import RunConfig
from chex.errors import InputError
from chex.metrics import defined
from chex.outputs import Outputs
from chex.pretrained import Origin
from chex.provenance import Provenance, check_unseen, inherited, seen
from chex.records import Tree, load_tree
from chex.relabel import read_tables
from chex.sampling import sample_rows
from chex.seeds import stream
from chex.split import Scored, split
from chex.uncertainty import TABLE_POLICIES, Targets, observations_under, targets

Opening = Callable[[Path, np.ndarray, ImageConfig, Progress | None], np.ndarray]
"""Gives the images of films: `open_images`, or what brings them from elsewhere."""


@dataclass(frozen=True)
class Selection:
    """What a run trains on and is scored on, without its images."""

    tree: Tree
    observations: tuple[str, ...]
    targets: Targets
    """Of all training images, (N_train, K)."""
    outputs: Outputs
    """What the model has to give for these targets."""
    trainable: np.ndarray
    """int64 (T,): the training rows that the split allows, before any sampling."""
    samples: tuple[np.ndarray, ...]
    """Per round int64 (M,): the sampled training rows, repeats included."""
    scored: Scored
    origin: Origin | None = field(default=None, kw_only=True)
    """Where the backbone's first weights came from; None where they are drawn at random, or were not looked at yet."""

    @property
    def rows(self) -> np.ndarray:
        """int64 (M,): the first round's sample."""
        return self.samples[0]

    @property
    def averaged_over(self) -> tuple[str, ...]:
        """The observations whose AUROC is defined: those with both classes in the validation split."""
        return tuple(np.array(self.observations)[defined(self.scored.truth)].tolist())

    @property
    def valid_digest(self) -> str:
        """A fingerprint of what validation scores against; scores with different ones cannot be compared."""
        labels = self.scored.digest(self.observations).encode()
        return _digest(labels, self.scored.films, self.scored.unit)

    @property
    def digest(self) -> str:
        """A fingerprint of what training and validation see, images left out."""
        cells = self.targets
        return _digest(self.valid_digest.encode(), cells.values, cells.weights, cells.doubt, *self.samples)


@dataclass(frozen=True)
class Prepared(Selection):
    """A run's data, images included."""

    images: np.ndarray
    """uint8 (N_train + N_valid, size, size): training rows come first."""


def select(config: RunConfig) -> Selection:
    """Loads and checks the tables that the run reads and takes its sample; opens no image. Raises InputError."""
    if config.data.root is None:
        raise InputError("data.root: not set; give the folder that holds train.csv and valid.csv with --data")
    tree, observations = load_tree(config.data.root), config.data.observations
    parts = split(tree, config.data)
    weights = config.model.weights if config.model.pretrained else None
    check_unseen(inherited(weights), tree, parts.scored.patients, config.data, f"model.weights: {weights}")
    needed = {kind: observations_under(config.policy, observations, (kind,)) for kind in TABLE_POLICIES}
    tables = read_tables(config.relabel, needed, observations, tree.train, parts.rows, parts.held_out)
    cells = targets(tree.train.labels, observations, config.policy, config.seed, tables)
    three = observations_under(config.policy, observations, ("multiclass",))
    return Selection(
        tree=tree,
        observations=observations,
        targets=cells,
        outputs=Outputs(len(observations), tuple(observations.index(name) for name in three)),
        trainable=parts.rows,
        samples=tuple(
            sample_rows(cells, parts.rows, tree.train.patients, config.sampling, stream(stage.sample, "sampling"))
            for stage in config.stages()
        ),
        scored=parts.scored,
    )


def provenance(config: RunConfig, data: Selection) -> Provenance:
    """Whom the weights of a run have seen: in its samples, in the making of its tables, and before it."""
    taught = np.concatenate(data.samples)
    if observations_under(config.policy, data.observations, TABLE_POLICIES):
        taught = data.trainable  # a table's maker learnt from all of them
    own = seen(data.tree, data.tree.train.patients[taught], data.scored.patients, config.data)
    before = inherited(config.model.weights if config.model.pretrained else None)
    return Provenance((own, *before.seen), before.unknown)


def prepare(
    config: RunConfig, selection: Selection, progress: Progress | None = None, opening: Opening = open_images
) -> Prepared:
    """`selection` with its images, which are decoded where no cache has them yet. Raises InputError."""
    tree = selection.tree
    return Prepared(**vars(selection), images=opening(tree.root, tree.paths, config.image, progress))


def _digest(*parts: bytes | np.ndarray) -> str:
    content = hashlib.sha256()
    for part in parts:
        content.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return content.hexdigest()[:16]
