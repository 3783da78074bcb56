"""The checked data of a run: its tables and decoded images."""

from dataclasses import dataclass

import numpy as np

from chex.config import RunConfig
from chex.data.image_cache import ImageLoader, ProgressCallback, load_or_build
from chex.training.run_tables import RunTables


@dataclass(frozen=True)
class RunData(RunTables):
    """The tables of a run and its images."""

    images: np.ndarray
    """uint8 (N_train + N_valid, H, W): the images of train.csv come first."""


def load_run_data(
    config: RunConfig,
    tables: RunTables,
    progress: ProgressCallback | None = None,
    load_images: ImageLoader = load_or_build,
) -> RunData:
    """Returns `tables` with their images, from `load_images`. Raises InputError as `load_or_build` does."""
    tree = tables.tree
    return RunData(**vars(tables), images=load_images(tree.root, tree.paths, config.image, progress))
