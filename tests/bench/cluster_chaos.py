"""A search over a Ray cluster of two nodes, from which something is taken: does every trial end once, as it should?

    python tests/bench/cluster_chaos.py [FOLDER]

Real raylets with GPUs that are none, a disk (HOME) for each node, storage in an emulated Google bucket, and a search of
12 trials of a quarter of a GPU each. First in peace; then a trial's process is killed, a node after the notice of a
preemption, a node without notice, and the head with all there is, after which the search is resumed from its storage on
another cluster with empty disks: each in a search of its own, and all in turn in one. In a search more, one node's disk
fills up and stays full; this needs the right to mount (root), and is left out with a line that says so otherwise.
Prints a table, and last a line of JSON: trials that did not end exactly once, reports lost, reports trained twice,
seconds until all that was hit had a new report, trials that a node with a full disk was given later, and whether all
files are equal to those of the search in peace.
"""

import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from rich.console import Console
from rich.table import Table

from chex.runtime import run_folder
from search.storage.uri import child_uri
from search.trials.layout import TRIALS, trial_folder
from tests.bench.kill_search import Reports, differences, reports_of, tiny
from tests.bench.processes import family, of_ray
from tests.conftest import emulated_bucket

TESTS = Path(__file__).parents[1]
OURS = os.environ | {"PYTHONPATH": str(TESTS.parent), "OMP_NUM_THREADS": "1"}
NAME = "chaos"
THE_END = "the search to end"
LONGEST = 300
"""Seconds that anything waited for may take."""
NOTICE_SECONDS = 4.0
"""From the notice to the end of a node. Google gives 30."""
DISK_SIZE = "64m"
"""Of a node's disk that is to fill up."""
HELD = re.compile(r"/(\w+)/cache/trials/\w+/trials/(\d+)\.lock$")
"""A lock of a trial under way: the node whose disk it is on, and the trial."""
MOVES = re.compile(r"^trial (\d+) moves to another node", re.MULTILINE)


@dataclass
class Strike:
    """One event."""

    event: str
    hit: int
    """Trials that were under way on what was taken."""
    before: int
    """Reports in the book then."""
    recovery: float | None
    """Seconds until all trials that were hit had a new report; None where the next event did not wait for that."""


@dataclass
class Outcome:
    """What came of a search to which events happened, or none."""

    strikes: list[Strike] = field(default_factory=list)
    trials: int = 0
    """How many ended."""
    not_once: int = 0
    lost: int = 0
    repeated: int = 0
    at_once: dict[str, int] = field(default_factory=dict)
    """The most trials that ran at once on each node."""
    caches: dict[str, int] = field(default_factory=dict)
    """Image caches on each node's disk."""
    moved: list[int] = field(default_factory=list)
    """The trials of which the search said that they move to another node, in that order."""
    strayed: int = 0
    """The most trials at once that were seen on a node with a full disk after those that it had were got over."""
    unlike: list[str] = field(default_factory=list)
    """Files that are not as those of the search in peace."""


class Nodes:
    """A cluster of several nodes in a process group of its own; where `disks`, each node's HOME can fill up alone."""

    full: str | None = None
    """The node whose disk is full."""
    disks: tuple[Path, ...] = ()
    """Those that are mounted."""

    def __init__(self, folder: Path, count: int, cpus: int = 4, disks: bool = False):
        self.folder = folder
        self.names = [f"node{number + 1}" for number in range(count)]
        """Those that are there."""
        self._added = count
        folder.mkdir()
        for name in self.names if disks else ():
            (folder / name).mkdir()
            mount(folder / name)
            self.disks += (folder / name,)
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
        try:
            self.address = str(self._heard()["address"])
        except BaseException:
            self.vanish()
            raise

    def tell(self, line: str) -> None:
        """Has it done and waits for that."""
        assert self.process.stdin
        print(line, file=self.process.stdin, flush=True)
        self._heard()

    def replace(self, name: str) -> None:
        """Kills a node without notice, and then adds one with an empty disk."""
        self.tell(f"kill {name}")
        self.names.remove(name)
        self._added += 1
        self.names.append(f"node{self._added}")
        self.tell(f"add {self.names[-1]}")

    def fill(self, name: str) -> None:
        """Leaves no room on a node's disk."""
        assert self.disks, "the nodes have no disks of their own"
        with (self.folder / name / "filler").open("wb", buffering=0) as filler, suppress(OSError):
            while True:
                filler.write(bytes(4096))
        self.full = name

    def vanish(self) -> None:
        """Kills every process at once."""
        for pid in [self.process.pid, *family(self.process.pid), *of_ray(self.folder)]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for pipe in filter(None, (self.process.stdin, self.process.stdout)):
            with suppress(BrokenPipeError):
                pipe.close()
        for disk in self.disks:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
        self.disks = ()

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
    searches = SEARCHES if may_mount(scratch) else tuple(events for events in SEARCHES if FULL not in events)
    if searches != SEARCHES:
        print(f"not tried, since nothing may be mounted here: {FULL}")
    peace = folder / "0" / NAME
    done = []
    with emulated_bucket() as uri:
        for number, events in enumerate(searches):
            storage = child_uri(uri, f"{number}")
            done.append(undergo(events, config, folder / f"{number}", scratch, storage, peace))
            print(json.dumps(asdict(done[-1])), flush=True)
    show(done)
    figures = {name: sum(getattr(one, name) for one in done) for name in ("trials", *WRONG)}
    equal = not any(one.unlike for one in done)
    packed = set(done[0].at_once.values()) == {4}
    one_cache_a_node = all(max(one.caches.values()) == 1 for one in done)
    figures |= {"equal": equal, "packed": packed, "one_cache_a_node": one_cache_a_node}
    figures["recovery"] = [[strike.event, strike.recovery] for one in done for strike in one.strikes]
    print(json.dumps(figures))
    return equal and packed and one_cache_a_node and not any(figures[name] for name in WRONG)


EVENTS = ("process killed", "node drained", "node killed", "head killed")
FULL = "disk full"
SEARCHES = ((), *((event,) for event in EVENTS), EVENTS, (FULL,))
"""What happens to each: nothing, each event alone, all in turn; and a node's disk fills up."""
WRONG = ("not_once", "lost", "repeated", "strayed")
"""Figures that are to be 0."""


def mount(folder: Path) -> None:
    """Mounts a disk of DISK_SIZE at `folder`. Raises CalledProcessError where that is not permitted."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_SIZE}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)


def may_mount(scratch: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        try:
            mount(Path(folder))
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run(["umount", folder], check=True)
    return True


def search_file(folder: Path, trials: int = 12, epochs: int = 240, share: float = 0.25) -> Path:
    """Writes a search whose proposals depend on no order, and its images; returns its file."""
    search = yaml.safe_load(tiny(folder).read_text(encoding="utf-8"))
    search["base"]["image"]["cache_dir"] = "~/cache"
    search["base"]["device"]["kind"] = "cpu"
    search["base"]["schedule"]["epochs"] = epochs
    search |= {"sampler": {"kind": "qmc"}, "pruning": None, "budget": {"trials": trials}}
    search["resources"] = {"cpus_per_trial": 1, "gpus_per_trial": share}
    path = folder / f"{NAME}.yaml"
    path.write_text(yaml.safe_dump(search), encoding="utf-8")
    return path


def undergo(
    events: Sequence[str], config: Path, home: Path, scratch: Path, storage: str, peace: Path | None, cpus: int = 4
) -> Outcome:
    """Runs a search to its end, to which the `events` happen on the way, each when the one before is got over.

    A process that is killed is not waited for where another event follows.
    """
    outcome, search, known, hit = Outcome(), home / NAME, Reports(), set[int]()
    home.mkdir(parents=True, exist_ok=True)
    nodes = Nodes(_empty(scratch), 2, cpus, FULL in events)
    driver = Driver(["run", str(config), "--results", str(home), "--storage", storage], nodes, home / "0.log")
    try:
        for event in events:
            least = 0 if outcome.strikes else cpus - 1
            wait(lambda: ripe(search, nodes, outcome, least), driver, "trials under way with reports")  # noqa: B023
            before, struck, happened = strike(event, nodes, driver, search)
            known, hit = known | before, hit | struck
            outcome.strikes.append(Strike(event, len(struck), len(before), None))
            if event == "head killed":
                driver.process.wait()
                nodes = Nodes(_empty(scratch), 2, cpus)
                search = home / "again" / NAME
                resume = ["resume", child_uri(storage, NAME), "--results", str(search.parent)]
                driver = Driver(resume, nodes, home / "1.log")
            if event == "process killed" and event != events[-1]:
                continue
            wait(lambda: recovered(search, nodes, before, hit, outcome), driver, "new reports of what was hit")  # noqa: B023
            outcome.strikes[-1].recovery, hit = round(time.monotonic() - happened, 1), set()
        wait(lambda: sample(nodes, outcome) or stray(nodes, outcome) or driver.ended(), driver, THE_END)
        assert driver.process.returncode == 0, driver.said()
    finally:
        driver.process.kill()
        driver.process.wait()
        outcome.caches = {disk.name: caches(disk) for disk in nodes.folder.glob("node?")}
        nodes.end()
    judge(outcome, search, home, known, peace)
    return outcome


def _empty(scratch: Path) -> Path:
    """A folder to be; its path is short, since Ray's sockets lie below it."""
    return scratch / f"{len(list(scratch.iterdir()))}"


def strike(event: str, nodes: Nodes, driver: Driver, search: Path) -> tuple[Reports, set[int], float]:
    """Lets it happen to the fullest node: the reports before, the trials that were under way there, and when it was."""
    victim = fullest(running(nodes))
    if event == "node drained":
        nodes.tell(f"drain {victim}")
        time.sleep(NOTICE_SECONDS)
    before, under_way, now = reports_of(search), running(nodes), time.monotonic()
    on_node = {number for number, (node, _) in under_way.items() if node == victim}
    if event == "process killed":
        number = min(on_node)
        os.kill(under_way[number][1], signal.SIGKILL)
        return before, {number}, now
    if event == "head killed":
        driver.process.kill()
        nodes.vanish()
        return before, set(under_way), now
    if event == FULL:
        nodes.fill(victim)
    else:
        nodes.replace(victim)
    return before, on_node, now


def fullest(under_way: dict[int, tuple[str, int]]) -> str:
    return Counter(node for node, _ in under_way.values()).most_common(1)[0][0]


def ripe(search: Path, nodes: Nodes, outcome: Outcome, least: int) -> bool:
    """Whether trials are under way, `least` or more on each node, and nearly all of them have reports."""
    sample(nodes, outcome)
    under_way = running(nodes)
    placed, begun = Counter(node for node, _ in under_way.values()), {number for number, _ in reports_of(search)}
    enough = len(under_way) > 1 and all(placed[node] >= least for node in nodes.names)
    return enough and len(under_way.keys() - begun) <= len(under_way) // 4


def recovered(search: Path, nodes: Nodes, before: Reports, hit: set[int], outcome: Outcome) -> bool:
    sample(nodes, outcome)
    now = reports_of(search).keys() - before.keys()
    if not (search / TRIALS).exists():  # another head has not fetched the search yet
        return False
    rows = pd.read_csv(search / TRIALS).set_index("trial")
    done = {number for number in hit if (number, rows["steps"].get(number)) in before}
    return all(number in done or any(n == number for n, _ in now) for number in hit)


def sample(nodes: Nodes, outcome: Outcome) -> None:
    for node, count in Counter(node for node, _ in running(nodes).values()).items():
        outcome.at_once[node] = max(outcome.at_once.get(node, 0), count)


def stray(nodes: Nodes, outcome: Outcome) -> None:
    outcome.strayed = max(outcome.strayed, sum(node == nodes.full for node, _ in running(nodes).values()))


def running(nodes: Nodes) -> dict[int, tuple[str, int]]:
    """The node and the process of each trial under way, by the lock that it holds."""
    found = {}
    for pid in of_ray(nodes.folder):
        with suppress(OSError):
            for link in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(OSError):
                    if held := HELD.search(os.readlink(link)):
                        found[int(held[2])] = (held[1], pid)
    return found


def caches(disk: Path) -> int:
    """How many image caches there are."""
    return len(list(disk.glob("cache/*.npy")))


def judge(outcome: Outcome, search: Path, home: Path, before: Reports, peace: Path | None) -> None:
    """Fills in what became of the trials of a `search`, of which `home` has what its commands said.

    A command says once that a trial has ended; one on another head says it again of what the first had said so shortly
    before it was lost that the storage did not know it yet.
    """
    rows = pd.read_csv(search / TRIALS)
    outcome.trials = int((rows["state"] == "finished").sum())
    said = [log.read_text(encoding="utf-8") for log in sorted(home.glob("*.log"))]
    outcome.moved = [int(number) for text in said for number in MOVES.findall(text)]
    told = [_ended(text) for text in said]
    once = sum(max(each[number] for each in told) == 1 for number in rows["trial"])
    outcome.not_once = 2 * len(rows) - once - outcome.trials
    outcome.lost = len(before.keys() - reports_of(search).keys())
    trained = Reports()
    for number in {number for number, _ in before}:
        table = pd.read_csv(trial_folder(search, number) / run_folder.REPORTS)
        trained |= {(number, int(row.step)): float(row.seconds) for row in table.itertuples()}
    outcome.repeated = sum(trained.get(where) != seconds for where, seconds in before.items())
    outcome.unlike = differences(search, peace) if peace else []


def _ended(said: str) -> Counter[int]:
    """How often a command said of a trial that it has ended."""
    return Counter(int(number) for number in re.findall(r"^trial +(\d+) of", said, re.MULTILINE))


def show(done: list[Outcome]) -> None:
    """A line for each event, the last of a search with what became of its trials."""
    table = Table()
    titles = "event, trials hit, reports before, s to recover, trials ended, not once, lost, repeated, as in peace"
    for name in titles.split(", "):
        table.add_column(name, justify="left" if name == "event" else "right")
    for one in done:
        lines = [
            (each.event, f"{each.hit}", f"{each.before}", f"{each.recovery or math.nan:.0f}") for each in one.strikes
        ]
        *first, last = lines or [("none", "", "", "")]
        for line in first:
            table.add_row(*line)
        figures = (one.trials, one.not_once, one.lost, one.repeated)
        table.add_row(*last, *map(str, figures), ", ".join(one.unlike) or "yes", end_section=True)
    Console(width=140).print(table)


def wait(condition: Callable[[], object], driver: Driver | None, what: str) -> None:
    """Fails where the `driver` ends first, unless its end is waited for."""
    deadline = time.monotonic() + LONGEST
    while not condition():
        assert time.monotonic() < deadline, f"waited {LONGEST} s for {what}: {driver.said() if driver else ''}"
        if driver and what != THE_END:
            assert not driver.ended(), f"ended while waiting for {what}: {driver.said()}"
        time.sleep(0.2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as own, tempfile.TemporaryDirectory(prefix="r") as scratch:
        sys.exit(not main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(own), Path(scratch)))
