"""Finds a search's dataset and image caches on this machine."""

from pathlib import Path

from search.config.search_config import SearchConfig
from search.config.search_folder import load_search_folder
from search.storage.dataset import stage, stage_tables, staging_path
from search.storage.node_data import image_cache_uri
from search.storage.workspace import STAGE_FOLDER
from search.trials.layout import CONFIG


def images_of(search: SearchConfig, folder: Path) -> str | None:
    """Returns the URI of the image caches for the search of `folder`; None without a storage.

    A search inside another search's folder uses the caches of that one.
    """
    outer = folder.parent
    return (
        images_of(load_search_folder(outer), outer)
        if (outer / CONFIG).is_file()
        else image_cache_uri(search.storage_uri)
    )


def with_local_data(search: SearchConfig, whole: bool) -> SearchConfig:
    """Returns `search` with the dataset's folder on this machine; downloads a dataset that has a URI.

    Downloads all of it if `whole`, else only its tables. Raises InputError if that fails.
    """
    if search.data_uri is None:
        return search
    root = staging_path(search.data_uri, search.base.image.cache_dir / STAGE_FOLDER)
    (stage if whole else stage_tables)(search.data_uri, root)
    return with_root(search, root)


def with_root(search: SearchConfig, root: Path) -> SearchConfig:
    """Returns `search` with its dataset in the folder `root`."""
    data = search.base.data.model_copy(update={"root": root})
    return search.model_copy(update={"base": search.base.model_copy(update={"data": data})})
