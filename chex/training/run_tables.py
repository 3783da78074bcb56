"""What a run trains on and is scored on, from its tables alone. No image is opened."""

import hashlib
from dataclasses import dataclass, field

import numpy as np

from chex.cohort.patients_seen import Provenance, check_unseen, load_provenance, seen_by_run
from chex.cohort.sampling import sample_rows
from chex.cohort.split import EvaluationSet, split
from chex.config import RunConfig
from chex.data.tables import Tree, load_tree
from chex.errors import InputError
from chex.models.heads import HeadLayout
from chex.models.origin import Origin
from chex.runtime.rng import rng_for
from chex.statistics.metrics import has_both_classes
from chex.uncertainty.policies import POLICIES, TABLE_POLICIES
from chex.uncertainty.policy_config import observations_under
from chex.uncertainty.probability_tables import read_tables
from chex.uncertainty.targets import Targets, targets


@dataclass(frozen=True)
class RunTables:
    """What a run trains on and is scored on, without its images."""

    tree: Tree
    observations: tuple[str, ...]
    targets: Targets
    """The targets of all images in train.csv, (N_train, K)."""
    outputs: HeadLayout
    """The outputs that the model needs for these targets."""
    trainable: np.ndarray
    """int64 (T,): the rows that may be trained on, before sampling."""
    samples: tuple[np.ndarray, ...]
    """For each phase, int64 (M,): the sampled training rows, with repeats."""
    scored: EvaluationSet
    origin: Origin | None = field(default=None, kw_only=True)
    """Where the backbone's first weights came from; None if they are random or not loaded yet."""

    @property
    def rows(self) -> np.ndarray:
        """int64 (M,): the sampled training rows of the first phase."""
        return self.samples[0]

    @property
    def scored_observations(self) -> tuple[str, ...]:
        """The observations with both classes in the validation split, for which AUROC is defined."""
        return tuple(np.array(self.observations)[has_both_classes(self.scored.truth)].tolist())

    @property
    def evaluation_digest(self) -> str:
        """A fingerprint of the evaluation set; scores with different fingerprints cannot be compared."""
        labels = self.scored.digest(self.observations).encode()
        return _digest(labels, self.scored.images, self.scored.unit_of_image)

    @property
    def digest(self) -> str:
        """A fingerprint of what training and validation see, without the images."""
        arrays = self.targets.values, self.targets.weights, self.targets.uncertain_class
        return _digest(self.evaluation_digest.encode(), *arrays, *self.samples)


def load_run_tables(config: RunConfig) -> RunTables:
    """Loads and checks the tables of a run, and draws its samples. Raises InputError for the first check that fails."""
    if config.data.root is None:
        raise InputError("data.root: not set; give the folder that holds train.csv and valid.csv with --data")
    tree, observations = load_tree(config.data.root), config.data.observations
    parts = split(tree, config.data)
    weights = config.model.pretrained_file if config.model.pretrained else None
    check_unseen(
        load_provenance(weights), tree, parts.scored.patients, config.data, f"model.pretrained_file: {weights}"
    )
    needed = {kind: observations_under(config.policy, observations, (kind,)) for kind in TABLE_POLICIES}
    tables = read_tables(config.relabel, needed, observations, tree.train, parts.rows, parts.held_out)
    run_targets = targets(tree.train.labels, observations, config.policy, config.seed, tables)
    third_class = tuple(policy.name for policy in POLICIES.values() if policy.third_class)
    multiclass = observations_under(config.policy, observations, third_class)
    return RunTables(
        tree=tree,
        observations=observations,
        targets=run_targets,
        outputs=HeadLayout(len(observations), tuple(observations.index(name) for name in multiclass)),
        trainable=parts.rows,
        samples=tuple(
            sample_rows(
                run_targets, parts.rows, tree.train.patients, config.sampling, rng_for(phase.sample_seed, "sampling")
            )
            for phase in config.resolved_phases()
        ),
        scored=parts.scored,
    )


def provenance(config: RunConfig, data: RunTables) -> Provenance:
    """Returns which patients the weights of a run have seen: its own, and those seen by the weights it started from."""
    rows = np.concatenate(data.samples)
    if observations_under(config.policy, data.observations, TABLE_POLICIES):
        rows = data.trainable  # the model that made the table learned from all of them
    seen = seen_by_run(data.tree, data.tree.train.patients[rows], data.scored.patients, config.data)
    before = load_provenance(config.model.pretrained_file if config.model.pretrained else None)
    return Provenance((seen, *before.seen), before.unknown)


def _digest(*parts: bytes | np.ndarray) -> str:
    content = hashlib.sha256()
    for part in parts:
        content.update(part if isinstance(part, bytes) else np.ascontiguousarray(part).tobytes())
    return content.hexdigest()[:16]
