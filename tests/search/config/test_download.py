"""A search in a storage on this disk, brought to machines that did not run it."""

from pathlib import Path

import pytest
from filelock import FileLock

from chex.config import to_yaml
from chex.errors import InputError
from chex.runtime import run_folder
from chex.runtime.atomic_io import write_text
from chex.runtime.output_folder import MARK, claim
from search.config.download import refresh, resolve_search_dir
from search.config.search_config import SearchConfig
from search.config.search_folder import load_trials
from search.monitor.status import render_status
from search.storage.search_storage import SearchStorage
from search.trials.layout import CONFIG, LOCK
from search.trials.study_store import StudyStore

CONTENT = {"base": {}, "space": {"optimizer.lr": {"loguniform": [1e-4, 1e-1]}}}


class Machine:
    """One on which searches are run, with a disk of its own and the storage of all."""

    def __init__(self, disk: Path, storage: Path):
        self.results, self.folder, self.uri = disk / "results", disk / "results" / "demo", (storage / "demo").as_uri()
        self.search = SearchConfig.model_validate(CONTENT | {"storage_uri": storage.as_uri()})

    def begins(self) -> None:
        """A trial more, as the driver of the search keeps it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / CONFIG).exists():
            write_text(self.folder / CONFIG, to_yaml(self.search))
        book = StudyStore(self.folder, self.search.search_space())
        book.create_trial({"optimizer.lr": 1e-3})
        book.close()
        SearchStorage(self.folder, self.uri).sync()

    def trials(self) -> int:
        return len(load_trials(self.search, self.folder))


@pytest.fixture
def head(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "head", tmp_path / "storage")


@pytest.fixture
def other(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "other", tmp_path / "storage")


def test_a_path_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_search_dir("results/demo", Path("elsewhere")) == tmp_path / "results" / "demo"


def test_a_search_comes_without_what_trials_fetch_themselves(head: Machine, other: Machine, tmp_path: Path) -> None:
    head.begins()
    copy = tmp_path / "storage" / "demo"
    for place in ("trials/001", "tables/self_trained", "confirm/trials/002"):
        (copy / place).mkdir(parents=True)
        for name in (run_folder.REPORTS, run_folder.STATE, run_folder.WEIGHTS):
            (copy / place / name).touch()
    assert resolve_search_dir(f"{head.uri}/", other.results) == other.folder
    came = {str(path.relative_to(other.folder)) for path in other.folder.rglob("*") if path.is_file()}
    assert came == {
        CONFIG,
        "driver/000001.json",
        ".mirror.json",
        "optuna.db",
        "trials/001/reports.csv",
        "tables/self_trained/reports.csv",
        f"tables/self_trained/{run_folder.WEIGHTS}",
        "confirm/trials/002/reports.csv",
        MARK,
    }


def test_a_copy_is_brought_up_to_date_as_often_as_it_is_asked_for(head: Machine, other: Machine) -> None:
    for count in (1, 2, 3):
        head.begins()
        assert resolve_search_dir(head.uri, other.results) == other.folder
        render_status(other.folder, width=100)
        assert other.trials() == count
    head.begins()
    refresh(other.folder)
    assert other.trials() == 4


def test_what_has_gone_on_here_is_left_alone(head: Machine, other: Machine) -> None:
    head.begins()
    resolve_search_dir(head.uri, other.results)
    other.begins()
    with pytest.raises(InputError, match="is behind"):
        head.begins()
    for machine in (head, other):
        with pytest.raises(InputError) as refused:
            resolve_search_dir(head.uri, machine.results)
        given = (
            f"{machine.folder} exists, and is not an unchanged copy of {head.uri}; give that folder, or move it away"
        )
        assert str(refused.value) == given
        refresh(machine.folder)
    assert (head.trials(), other.trials()) == (2, 2)


def test_a_copy_that_is_being_run_is_not_touched(head: Machine, other: Machine) -> None:
    head.begins()
    resolve_search_dir(head.uri, other.results)
    with FileLock(other.folder / LOCK), pytest.raises(InputError, match=r"demo is being run by another process; wait"):
        resolve_search_dir(head.uri, other.results)


def test_a_confirmation_that_was_begun_here_is_not_touched(head: Machine, other: Machine, tmp_path: Path) -> None:
    head.begins()
    resolve_search_dir(head.uri, other.results)
    for place, text in ((other.folder, "newer"), (tmp_path / "storage" / "demo", "old")):
        (place / "confirm").mkdir()
        (place / "confirm" / "optuna.db").write_text(text)
    (other.folder / "confirm" / ".mirror.json").write_text("{}")
    resolve_search_dir(head.uri, other.results)
    assert (other.folder / "confirm" / "optuna.db").read_text() == "newer"


def test_where_no_search_is_kept_nothing_is_brought(head: Machine, other: Machine) -> None:
    with pytest.raises(
        InputError, match=r"storage/demo holds no search \(no search.yaml in it\); give the folder of one"
    ):
        resolve_search_dir(head.uri, other.results)
    assert not other.results.exists()


def test_a_folder_of_somebody_else_is_left_alone(head: Machine, other: Machine) -> None:
    head.begins()
    for name in ("demo", "demo.part"):
        (other.results / name).mkdir(parents=True)
        (other.results / name / "thesis.tex").write_text("mine")
    with pytest.raises(InputError, match=r"demo: holds files that this program did not write"):
        resolve_search_dir(head.uri, other.results)
    (other.results / "demo" / "thesis.tex").unlink()
    resolve_search_dir(head.uri, other.results)
    assert (other.results / "demo.part" / "thesis.tex").read_text() == "mine"
    assert sorted(path.name for path in other.results.iterdir()) == ["demo", "demo.part"]


def test_what_was_submitted_from_here_stays_beside_what_is_brought(head: Machine, other: Machine) -> None:
    head.begins()
    claim(other.folder, "search")
    (other.folder / "submitted.yaml").write_text("base: {}")
    resolve_search_dir(head.uri, other.results)
    assert (other.folder / "submitted.yaml").exists()
    assert other.trials() == 1


@pytest.mark.parametrize("name", ["..", ".", ".images"])
def test_a_uri_that_ends_in_no_name_of_a_search_is_refused(head: Machine, other: Machine, name: str) -> None:
    with pytest.raises(InputError, match=r"a search's name is one folder below --results"):
        resolve_search_dir(f"{head.uri}/{name}", other.results)


def test_a_path_that_ends_in_dots_has_the_name_of_its_folder(tmp_path: Path) -> None:
    assert resolve_search_dir(f"{tmp_path}/demo/trials/..", Path("elsewhere")) == tmp_path / "demo"
