"""A search over a Ray cluster of two nodes, from which something is taken: does every trial end once, as it should?

    python tests/bench/cluster_chaos.py [FOLDER]

Real raylets with GPUs that are none, a disk (HOME) for each node, storage in an emulated Google bucket, and a search of
12 trials of a quarter of a GPU each. First in peace; then, each in a search of its own, a trial's process is killed, a
node without notice, a node after the notice of a preemption, and the head with all there is, after which the search is
resumed from its storage on another cluster with empty disks. Prints a table, and last a line of JSON: trials that did
not end exactly once, reports lost, reports trained twice, seconds until all that was hit had a new report, and whether
all files are equal to those of the search in peace.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from chex import checkpoint
from search import RAY_SETTINGS
from search.export import TRIALS, trial_folder
from tests.bench.kill_search import Reports, differences, reports_of, tiny

TESTS = Path(__file__).parents[1]
OURS = {name: value for name, value in os.environ.items() if name not in RAY_SETTINGS} | {
    "PYTHONPATH": str(TESTS.parent),
    "OMP_NUM_THREADS": "1",
}
"""The environment of a user: what this process has set for a Ray of its own is no other's."""
NAME = "chaos"
LONGEST = 300
"""Seconds that anything waited for may take."""
NOTICE_SECONDS = 4.0
"""From the notice to the end of a node. Google gives 30."""
HELD = re.compile(r"/(\w+)/cache/trials/\w+/trials/(\d+)\.lock$")
"""A lock of a trial under way: the node whose disk it is on, and the trial."""


@dataclass
class Outcome:
    """What came of one event."""

    event: str
    hit: int = 0
    """Trials that were under way on what was taken."""
    before: int = 0
    """Reports in the book then."""
    recovery: float | None = None
    """Seconds until all trials that were hit had a new report."""
    trials: int = 0
    """How many ended."""
    not_once: int = 0
    lost: int = 0
    repeated: int = 0
    at_once: dict[str, int] = field(default_factory=dict)
    """The most trials that ran at once on each node."""
    caches: dict[str, int] = field(default_factory=dict)
    """Image caches on each node's disk."""
    unlike: list[str] = field(default_factory=list)
    """Files that are not as those of the search in peace."""


class Nodes:
    """A cluster of several nodes in a process group of its own."""

    def __init__(self, folder: Path, count: int, cpus: int = 4):
        self.folder = folder
        folder.mkdir()
        with (folder / "nodes.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(TESTS / "bench" / "ray_nodes.py"), str(folder), str(count), str(cpus)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=OURS,
                start_new_session=True,
            )
        self.address = str(self._heard()["address"])

    def tell(self, line: str) -> None:
        """Has it done and waits for that."""
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)
        self._heard()

    def vanish(self) -> None:
        """Kills every process at once."""
        for pid in [self.process.pid, *_family(self.process.pid), *_titled(self.folder)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> None:
        """Lets the cluster end, and kills what is left of it."""
        with suppress(BrokenPipeError, subprocess.TimeoutExpired):
            self.process.communicate("end\n", timeout=60)
        self.vanish()

    def _heard(self) -> dict[str, Any]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, f"the cluster ended: {(self.folder / 'nodes.log').read_text()[-2000:]}"
        heard: dict[str, Any] = json.loads(line)
        return heard


class Driver:
    """A `chex-search` on the head's disk."""

    def __init__(self, arguments: list[str], nodes: Nodes, log: Path):
        self.log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "search", *arguments, "--cluster", nodes.address],
                stdout=output,
                stderr=output,
                env=OURS | {"HOME": str(nodes.folder / "head"), "RAY_TMPDIR": str(nodes.folder)},
            )

    def ended(self) -> bool:
        return self.process.poll() is not None

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")


def main(folder: Path, scratch: Path) -> bool:
    config = search_file(folder)
    peace = folder / "peace" / NAME
    done = []
    with bucket() as storage:
        for event in EVENTS:
            outcome = undergo(event, config, folder / event.replace(" ", "_"), scratch, f"{storage(event)}", peace)
            done.append(outcome)
            print(json.dumps(asdict(outcome)), flush=True)
    show(done)
    figures = {name: sum(getattr(one, name) for one in done) for name in ("trials", "not_once", "lost", "repeated")}
    equal = not any(one.unlike for one in done)
    packed = set(done[0].at_once.values()) == {4}
    one_cache_a_node = all(max(one.caches.values()) == 1 for one in done)
    figures |= {"equal": equal, "packed": packed, "one_cache_a_node": one_cache_a_node}
    figures["recovery"] = {one.event: one.recovery for one in done if one.recovery is not None}
    print(json.dumps(figures))
    wrong = figures["not_once"] or figures["lost"] or figures["repeated"]
    return equal and packed and one_cache_a_node and not wrong


EVENTS = ("peace", "process killed", "node killed", "node drained", "head killed")


def search_file(folder: Path, trials: int = 12, epochs: int = 48, share: float = 0.25) -> Path:
    """Writes a search whose proposals depend on no order, and its films; returns its file."""
    search = yaml.safe_load(tiny(folder).read_text(encoding="utf-8"))
    search["base"]["image"]["cache"] = "~/cache"
    search["base"]["device"]["kind"] = "cpu"
    search["base"]["schedule"]["epochs"] = epochs
    search |= {"sampler": {"kind": "qmc"}, "stopping": None, "budget": {"trials": trials}}
    search["resources"] = {"cpus_per_trial": 1, "gpus_per_trial": share}
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(search), encoding="utf-8")
    return path


def undergo(
    event: str, config: Path, home: Path, scratch: Path, storage: str, peace: Path | None, cpus: int = 4
) -> Outcome:
    """Runs a search to its end, to which `event` happens on the way."""
    outcome, search = Outcome(event), home / NAME
    home.mkdir(parents=True, exist_ok=True)
    nodes = Nodes(scratch / event.replace(" ", ""), 2, cpus)
    driver = Driver(["run", str(config), "--results", str(home), "--storage", storage], nodes, home / "0.log")
    before = Reports()
    try:
        if event != "peace":
            wait(lambda: ripe(search, nodes, outcome, cpus), driver, "trials under way with reports on both nodes")
            before, hit, happened = strike(event, nodes, driver, search)
            outcome.hit, outcome.before = len(hit), len(before)
            if event == "head killed":
                driver.process.wait()
                nodes = Nodes(scratch / "again", 2, cpus)
                search = home / "again" / NAME
                where = f"{storage.partition('?')[0]}/{NAME}?{storage.partition('?')[2]}"
                resume = ["resume", where, "--results", str(search.parent)]
                driver = Driver(resume, nodes, home / "1.log")
            wait(lambda: recovered(search, nodes, before, hit, outcome), driver, "new reports of what was hit")
            outcome.recovery = round(time.monotonic() - happened, 1)
        wait(lambda: sample(nodes, outcome) or driver.ended(), driver, "the search to end")
        assert driver.process.returncode == 0, driver.said()
    finally:
        driver.process.kill()
        driver.process.wait()
        outcome.caches = {node: caches(nodes.folder / node) for node in ("node1", "node2", "node3")}
        nodes.end()
    judge(outcome, search, before, peace)
    return outcome


def strike(event: str, nodes: Nodes, driver: Driver, search: Path) -> tuple[Reports, set[int], float]:
    """Lets it happen: the reports in the book before, the trials that were under way there, and when it was."""
    if event == "node drained":
        nodes.tell("drain node1")
        time.sleep(NOTICE_SECONDS)
    before, under_way, now = reports_of(search), running(nodes), time.monotonic()
    on_node = {number for number, (node, _) in under_way.items() if node == "node1"}
    if event == "process killed":
        number = min(on_node)
        os.kill(under_way[number][1], signal.SIGKILL)
        return before, {number}, now
    if event == "head killed":
        driver.process.kill()
        nodes.vanish()
        return before, set(under_way), now
    nodes.tell("kill node1")
    nodes.tell("add node3")
    return before, on_node, now


def ripe(search: Path, nodes: Nodes, outcome: Outcome, cpus: int) -> bool:
    sample(nodes, outcome)
    placed = Counter(node for node, _ in running(nodes).values())
    known = reports_of(search)
    begun = {number for number in running(nodes) if any(number == of for of, _ in known)}
    return min(placed["node1"], placed["node2"]) >= cpus - 1 and len(begun) >= 2 * cpus - 2


def recovered(search: Path, nodes: Nodes, before: Reports, hit: set[int], outcome: Outcome) -> bool:
    sample(nodes, outcome)
    now = reports_of(search).keys() - before.keys()
    last = {number: max(percent for n, percent in before if n == number) for number in {n for n, _ in before}}
    return all(last.get(number) == 100 or any(n == number for n, _ in now) for number in hit)


def sample(nodes: Nodes, outcome: Outcome) -> None:
    for node, count in Counter(node for node, _ in running(nodes).values()).items():
        outcome.at_once[node] = max(outcome.at_once.get(node, 0), count)


def running(nodes: Nodes) -> dict[int, tuple[str, int]]:
    """The node and the process of each trial under way, by the lock that it holds."""
    found = {}
    for pid in _titled(nodes.folder):
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if held := HELD.search(os.readlink(link)):
                        found[int(held[2])] = (held[1], pid)
    return found


def caches(disk: Path) -> int:
    """How many image caches there are."""
    return len(list(disk.glob("cache/*.npy")))


def judge(outcome: Outcome, search: Path, before: Reports, peace: Path | None) -> None:
    rows = pd.read_csv(search / TRIALS)
    outcome.trials = int((rows["state"] == "finished").sum())
    logs = search.parents[1].rglob("*.log") if outcome.event == "head killed" else [search.parent / "0.log"]
    said = "".join(log.read_text(encoding="utf-8") for log in logs)
    told = Counter(int(number) for number in re.findall(r"^trial +(\d+) of", said, re.MULTILINE))
    outcome.not_once = sum(told[number] != 1 for number in rows["trial"]) + (len(rows) - outcome.trials)
    outcome.lost = len(before.keys() - reports_of(search).keys())
    trained = Reports()
    for number in {number for number, _ in before}:
        table = pd.read_csv(trial_folder(search, number) / checkpoint.REPORTS)
        trained |= {(number, int(row.percent)): float(row.seconds) for row in table.itertuples()}
    outcome.repeated = sum(trained.get(where) != seconds for where, seconds in before.items())
    outcome.unlike = differences(search, peace) if peace else []


def show(done: list[Outcome]) -> None:
    table = Table()
    for name in (
        "event",
        "trials hit",
        "reports before",
        "ended",
        "not once",
        "lost",
        "repeated",
        "s to recover",
        "as in peace",
    ):
        table.add_column(name, justify="left" if name == "event" else "right")
    for one in done:
        figures = (one.hit, one.before, one.trials, one.not_once, one.lost, one.repeated)
        seconds = "" if one.recovery is None else f"{one.recovery:.0f}"
        table.add_row(one.event, *map(str, figures), seconds, "yes" if not one.unlike else ", ".join(one.unlike))
    Console(width=140).print(table)


@contextmanager
def bucket() -> Iterator[Callable[[str], str]]:
    """An emulated Google bucket: the URI of a folder in it."""
    command = [sys.executable, str(TESTS / "bucket_server.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout
        assert server.stdin
        port = int(server.stdout.readline())
        where = f"scheme=http&endpoint_override=127.0.0.1%3A{port}"
        try:
            yield lambda name: f"gs://anonymous@films/{name.replace(' ', '-')}?{where}"
        finally:
            server.stdin.close()


def wait(condition: Callable[[], object], driver: Driver, what: str) -> None:
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, f"waited {LONGEST} s for {what}: {driver.said()}"
        assert what == "the search to end" or not driver.ended(), f"ended while waiting for {what}: {driver.said()}"
        time.sleep(0.2)


def _titled(folder: Path) -> list[int]:
    """The processes that have `folder` for their Ray's."""
    wanted = f"RAY_TMPDIR={folder}".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if wanted in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return [pid for pid in found if pid != os.getpid()]


def _family(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            children.setdefault(int(path.read_text().rpartition(")")[2].split()[1]), []).append(int(path.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[1:]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory(prefix="r") as scratch:
        sys.exit(not main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(own), Path(scratch)))
