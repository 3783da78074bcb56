"""Resolves the dataset and the image cache on a worker node."""

from functools import partial
from pathlib import Path
from typing import Any

from chex.data.image_cache import ImageLoader, load_or_build
from search.storage.shared_images import load_shared_images
from search.storage.uri import child_uri
from search.storage.workspace import with_local_dataset

IMAGES_FOLDER = ".images"
"""The folder in a storage with the image caches that its searches share. No search can have this name."""


def image_cache_uri(storage_uri: str | None) -> str | None:
    """Returns the URI of the image caches in a storage; None without a storage."""
    return child_uri(storage_uri, IMAGES_FOLDER) if storage_uri else None


def resolve_data(
    base: dict[str, Any], data_uri: str | None, images_uri: str | None, cache: Path, digest: str = ""
) -> tuple[dict[str, Any], ImageLoader]:
    """Returns `base` with the dataset's path on this node, and the function that loads its images.

    If image caches are shared at `images_uri`, only the tables of a dataset at `data_uri` are staged until images have
    to be decoded; otherwise the whole dataset is staged. `digest` is the digest of the tables on the head (see
    `with_local_dataset`). Raises InputError like `with_local_dataset`.
    """
    if images_uri is None:
        return with_local_dataset(base, data_uri, cache, digest=digest), load_or_build
    local = with_local_dataset(base, data_uri, cache, images=False, digest=digest)
    return local, partial(load_shared_images, uri=images_uri, data_uri=data_uri)
