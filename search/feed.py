"""What feeds a run on its node: where the tables of its tree lie, and how its images are had."""

from functools import partial
from pathlib import Path
from typing import Any

from chex.cache import open_images
from chex.prepare import Opening
from search.bucket import below
from search.home import with_local_tree
from search.shared_cache import shared_images

IMAGES = ".images"
"""In a storage: the image caches that its searches share. No search has such a name."""


def images_below(storage: str | None) -> str | None:
    """The URI of the image caches in a `storage`; None without one."""
    return below(storage, IMAGES) if storage else None


def fed(
    base: dict[str, Any], source: str | None, images: str | None, cache: Path, digest: str = ""
) -> tuple[dict[str, Any], Opening]:
    """`base` with its tree where this node has it, and what opens the images.

    Where caches are shared at the URI `images`, a tree that has a `source` is here by its tables alone until films have
    to be decoded; otherwise all of it is staged. The `digest` is that of its tables on the head (see
    `with_local_tree`). Raises InputError.
    """
    if images is None:
        return with_local_tree(base, source, cache, digest=digest), open_images
    own = with_local_tree(base, source, cache, whole=False, digest=digest)
    return own, partial(shared_images, uri=images, source=source)
