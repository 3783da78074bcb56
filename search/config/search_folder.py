"""Loads the search and the trials of a folder, locks the folder, and finds the search's storage."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from chex.config import read_yaml, validate
from chex.errors import InputError
from chex.runtime.output_folder import lock_file
from chex.schema.differences import describe_differences
from search.config.search_config import SearchConfig
from search.storage.uri import child_uri
from search.trials.layout import CONFIG, LOCK, STUDY
from search.trials.study_store import read_study
from search.trials.trial import TrialRecord


def load_search_folder(folder: Path) -> SearchConfig:
    """Returns the search whose config is in `folder`. Raises InputError if there is none."""
    if not (folder / CONFIG).is_file():
        raise InputError(f"{folder} holds no search (no {CONFIG} in it); give a folder that `chex-search run` made")
    return validate(SearchConfig, read_yaml(folder / CONFIG), str(folder / CONFIG))


def storage_of(search: SearchConfig, folder: Path) -> str | None:
    """Returns the URI of the search of `folder` in its storage; None without a storage."""
    return child_uri(search.storage_uri, folder.name) if search.storage_uri else None


def load_trials(search: SearchConfig, folder: Path) -> list[TrialRecord]:
    """Returns the trials of the search in `folder` so far."""
    if not (folder / STUDY).exists():
        return []
    with read_study(folder, search.search_space()) as store:
        return store.trials()


@contextmanager
def lock_search(folder: Path) -> Iterator[None]:
    """Keeps other processes from running the search in `folder`. Raises InputError if one does already."""
    refusal = f"{folder} is being run by another process; wait for it, or look at it with `chex-search status {folder}`"
    with lock_file(folder / LOCK, refusal):
        yield


def check_folder(search: SearchConfig, folder: Path) -> None:
    """Raises InputError if `folder` holds a search with another config than `search`."""
    other = (
        describe_differences(search, load_search_folder(folder), f"in its {CONFIG}")
        if (folder / CONFIG).exists()
        else ""
    )
    if other:
        raise InputError(
            f"{folder} has another search ({other}); give this one another --name, start over with --overwrite, or "
            "continue that one with `chex-search resume` or `chex-search extend`"
        )
