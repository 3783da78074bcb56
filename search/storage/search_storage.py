"""Syncs a search with its storage: uploads the search's folder and downloads what trials wrote."""

import re
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from chex.errors import InputError
from chex.runtime import run_folder
from chex.runtime.output_folder import MARK
from search.storage.conditional_write import why_no_conditional_writes
from search.storage.lease import LEASE_FOLDER, LeaseLost, latest_local_record, latest_record, read_record, take_lease
from search.storage.remote_path import RemotePath, check_writable, connect
from search.storage.sync import pull, push
from search.storage.uri import Unreachable, child_uri, without_query
from search.storage.workspace import SYNCED_FILES
from search.trials.layout import CONFIG, LOCKED_SECONDS, STUDY, TUNE_FOLDER

SYNC_SECONDS = 2.0
CHECKPOINT_FILES = (run_folder.STATE, run_folder.PREVIOUS_STATE, run_folder.WEIGHTS)
"""Files of a trial that are needed only until it has ended."""
NOT_SYNCED = re.compile(
    rf"({TUNE_FOLDER}|confirm|{LEASE_FOLDER})/|steps\.json$|trials/[^/]+/("
    + "|".join(map(re.escape, (*SYNCED_FILES, run_folder.PREVIOUS_STATE)))
    + ")$"
)
"""Paths below a search's folder that this module does not sync: Ray Tune's files, the confirmation (a search of its
own), the lease records, the steps, and the files that trials sync themselves."""


class SearchStorage:
    """The copy of a search in its storage, at a URI.

    The study is copied after the files that it refers to, and a trial's state is removed only after the study that
    records how the trial ended: if this machine is lost at any moment, another one can resume from the storage. Whoever
    starts to sync a search takes its lease. A machine that has lost the lease, and its trials, notice that before they
    write the next file; only a file that is being written at that moment still arrives.
    """

    def __init__(self, folder: Path, uri: str):
        """Takes the lease. Raises InputError if `folder` lacks what the storage has, and the errors of `take_lease`."""
        self.folder, self.uri, self.remote = folder, uri, connect(uri)
        exists = (self.remote / CONFIG).is_file()
        if exists:
            _check_not_behind(folder, self.remote)
        self.lease = take_lease(uri, folder)
        if exists and self.lease.number > 1:
            self._check_previous_did_not_sync()
        self.lease_lost: LeaseLost | None = None
        self.trials_without_state = set[int]()
        self.sync_lock, self.sync_requested, self.stopping = threading.Lock(), threading.Event(), threading.Event()

    def sync(self) -> None:
        """Uploads what is new in the search's folder and returns when it has arrived. Raises Unreachable."""
        with self.sync_lock:
            self._check_lease()
            self.sync_requested.clear()
            study, ended_trials = _copy_study(self.folder / STUDY)
            push(self.folder, self.uri, _is_synced_here, retry=True, check=self._check_lease)
            if study:
                self._check_lease()
                (self.remote / STUDY).write(study)
            for number in ended_trials - self.trials_without_state:
                for name in CHECKPOINT_FILES:
                    self._check_lease()
                    (self.remote / "trials" / f"{number:03d}" / name).remove()
                self.trials_without_state.add(number)
            self.lease = self.lease.renewed(self.folder)

    def request_sync(self) -> None:
        """Requests a sync within a few seconds. Raises LeaseLost."""
        if self.lease_lost:
            raise self.lease_lost
        self.sync_requested.set()

    def download(self, name: str, weights: bool = True) -> None:
        """Downloads what a run left at `name` into the search's folder, except its state. Raises Unreachable."""
        wanted = {*SYNCED_FILES} - {run_folder.STATE} - ({run_folder.WEIGHTS} if not weights else set())
        pull(child_uri(self.uri, name), self.folder / name, wanted.__contains__, retry=True)

    def sync_loop(self) -> None:
        """Syncs a few seconds after each `request_sync`, until `stopping` is set."""
        while not self.stopping.is_set():
            self.sync_requested.wait()
            if self.stopping.wait(SYNC_SECONDS):
                return
            try:
                self.sync()
            except LeaseLost:
                return
            except Unreachable:  # if it stays so, the next trial's start or the end of the search raises it
                self.sync_requested.set()

    def _check_lease(self) -> None:
        try:
            self.lease.check()
        except LeaseLost as error:
            self.lease_lost = error
            raise

    def _check_previous_did_not_sync(self) -> None:
        """Raises InputError if the previous holder synced after the check of this folder and before this lease."""
        previous = read_record(self.remote, self.lease.number - 1)
        if self.lease.record.previous != previous.version:
            (self.folder / self.lease.name).unlink()
            raise _behind_error(self.folder, self.uri, previous.host)


@contextmanager
def sync_search(folder: Path, uri: str | None) -> Iterator[SearchStorage | None]:
    """Yields a SearchStorage that syncs while the block runs and once more at its end; None without a storage.

    Raises Unreachable.
    """
    if uri is None:
        yield None
        return
    storage = SearchStorage(folder, uri)
    storage.sync()
    thread = threading.Thread(target=storage.sync_loop, name="sync", daemon=True)
    thread.start()
    try:
        yield storage
    finally:
        storage.stopping.set()
        storage.sync_requested.set()
        thread.join()
        storage.sync()


def upload_files(folder: Path, uri: str | None, *names: str) -> None:
    """Uploads these files of the search's folder to its storage at `uri` and changes no others.

    Does nothing without a storage or if the storage does not hold the search. Raises Unreachable within seconds if the
    storage does not answer.
    """
    if uri is not None and (connect(uri) / CONFIG).is_file():
        push(folder, uri, names.__contains__)


def check_storage(folder: Path, uri: str | None, overwrite: bool) -> None:
    """Checks that the search in `folder` may use the storage at `uri`.

    Raises InputError if `uri` holds another search, or if another machine has continued the search since `folder` was
    synced; with `overwrite`, if `uri` holds something other than a search. Raises Unreachable if `uri` is not writable.
    Warns on stderr if the storage has no conditional writes.
    """
    if uri is None:
        return
    check_writable(uri)
    if reason := why_no_conditional_writes(uri):
        print(
            f"{without_query(uri)}: {reason}; two machines that resume a search at the same moment may both run it "
            "until one of them syncs: resume a search on one machine only",
            file=sys.stderr,
        )
    remote = connect(uri)
    if overwrite:
        _check_is_a_search(remote)
        return
    if (folder / CONFIG).exists():
        _check_not_behind(folder, remote)
    elif (remote / CONFIG).is_file():
        raise InputError(
            f"{remote.uri} already holds a search; resume it with `chex-search resume {remote.uri}`, give this search "
            "another --name, or start over with --overwrite"
        )


def _check_is_a_search(remote: RemotePath) -> None:
    """Raises InputError if `remote` holds files and none of them marks a search of this program."""
    names = [name for name in remote.entries() if not name.startswith((".writable-", ".created-"))]
    if names and not any(name in (MARK, CONFIG) or name.startswith(f"{LEASE_FOLDER}/") for name in names):
        raise InputError(
            f"{remote.uri} holds files that do not belong to a search (no {CONFIG}; first {min(names)}), and "
            "--overwrite does not delete them; give the search another --name or --storage"
        )


def _check_not_behind(folder: Path, remote: RemotePath) -> None:
    """Raises InputError if `folder` lacks what another machine has synced since `folder` was synced."""
    remote_record, local_record = latest_record(remote), latest_local_record(folder)
    if remote_record and not (local_record and local_record.descends_from(remote_record[1])):
        raise _behind_error(folder, remote.uri, remote_record[1].host)


def _behind_error(folder: Path, uri: str, host: str) -> InputError:
    return InputError(
        f"{folder} is behind {without_query(uri)}, which {host} has continued; move the folder away, and resume from "
        f"the storage: `chex-search resume {without_query(uri)}`"
    )


def delete_remote(uri: str | None, name: str = "") -> None:
    """Removes a file of the search at `uri`, or without `name` the whole search after taking its lease.

    Keeps the lease records: another machine that still runs the search has to find them. Raises Unreachable, and
    InputError if everything is to be removed and `uri` does not hold a search.
    """
    if uri is None:
        return
    remote = connect(uri)
    if not name:
        _check_is_a_search(remote)
        take_lease(uri)
    for path in [name] if name else remote.entries():
        if not path.startswith(f"{LEASE_FOLDER}/"):
            (remote / path).remove()


def _is_synced_here(name: str) -> bool:
    return not NOT_SYNCED.match(name) and name != STUDY


def _copy_study(study_file: Path) -> tuple[bytes, set[int]]:
    """Returns the study database as it is now, and the numbers of the trials that have ended in it."""
    if not study_file.exists():
        return b"", set()
    with (
        closing(sqlite3.connect(study_file, timeout=LOCKED_SECONDS)) as original,
        closing(sqlite3.connect(":memory:")) as copy,
    ):
        original.backup(copy)
        numbers = copy.execute("select number from trials where state not in ('RUNNING', 'WAITING')").fetchall()
        return copy.serialize(), {number + 1 for (number,) in numbers}
