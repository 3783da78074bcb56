"""The commands behind `chex-search cluster`, as a user could type them: lists of arguments, and nothing is run here."""

import shlex
from pathlib import Path

HOME = "~/chexpert-search"
"""The project on every node; results/ below it holds the searches, on the head alone."""

DASHBOARD, TENSORBOARD = 8265, 6006
_THERE = f"--results {HOME}/results --cluster auto"
_HEAD = f"export RAY_AUTH_MODE=token PATH={HOME}/.venv/bin:$PATH"

Command = list[str]


def up(cluster: Path) -> list[Command]:
    """Starts the head where it does not run, installs on it, starts Ray."""
    return [["ray", "up", "--yes", str(cluster)]]


def submit(cluster: Path, name: str, search: Path, data: str) -> list[Command]:
    """Sends the search's YAML to the head and submits it there as the job `name`, which runs on without this machine.

    A search of this name that is at its end or was cut off goes on; one that runs is left alone, and its command fails.
    """
    there = f"{HOME}/submitted/{name}.yaml"
    return [
        on_head(cluster, f"{free(name)} && mkdir -p {HOME}/submitted"),
        ["ray", "rsync-up", str(cluster), str(search), there],
        on_head(cluster, job(name, run(name, there, data))),
    ]


def resume(cluster: Path, name: str, uri: str) -> list[Command]:
    """Submits, as the job `name`, that the search kept at `uri` goes on, for a head that has nothing of it."""
    return [on_head(cluster, free(name)), on_head(cluster, job(name, f"resume {shlex.quote(uri)} {_THERE}"))]


def free(name: str) -> str:
    """Shell text for the head: fails with a sentence while the job `name` runs, and clears away one that has ended."""
    running = (
        f"chex-search: {name} is the name of a search that runs on this cluster; give this one a --name of its own"
    )
    return (
        f"case $(ray job status {_address()} {name} 2>&1) in "
        f"""*"'{name}': RUNNING"*|*"'{name}': PENDING"*) echo {shlex.quote(running)} >&2; exit 1;; """
        f"*) ray job delete {_address()} {name} >/dev/null 2>&1 || true;; esac"
    )


def run(name: str, search: str, data: str) -> str:
    """What `chex-search` is given on the head, as shell text: `search` is the path of its YAML there."""
    return f"run {search} --data {shlex.quote(data)} --name {name} {_THERE}"


def job(name: str, given: str) -> str:
    """Shell text for the head: submits `chex-search` with what it is `given` and does not wait."""
    program = f"{HOME}/.venv/bin/chex-search"
    return f"ray job submit {_address()} --no-wait --submission-id {name} -- {program} {given}"


def status(cluster: Path, name: str | None) -> list[Command]:
    """What runs on the cluster; with `name` how that search stands."""
    if name is None:
        return [on_head(cluster, f"ray status; ray job list {_address()}")]
    return [on_head(cluster, f"ray job status {_address()} {name}; chex-search status {HOME}/results/{name}")]


def logs(cluster: Path, name: str, trial: int) -> list[Command]:
    """What is known of one trial, and the last lines of its search."""
    last = f"ray job logs {_address()} {name} | tail -n 40"
    return [on_head(cluster, f"chex-search logs {HOME}/results/{name} {trial}; {last}")]


def fetch(cluster: Path, folder: Path) -> list[Command]:
    """Copies the search that has the name of `folder` into it; what is there already and equal is not sent again."""
    return [
        ["mkdir", "-p", str(folder)],
        ["ray", "rsync-down", str(cluster), f"{HOME}/results/{folder.name}/", f"{folder}/"],
    ]


def down(cluster: Path) -> list[Command]:
    """Deletes all machines, with what was not fetched."""
    return [["ray", "down", "--yes", str(cluster)]]


def tunnel(cluster: Path) -> list[Command]:
    """Ray's dashboard and TensorBoard on this machine's loopback, until Ctrl-C."""
    board = f"tensorboard --logdir {HOME}/results --host 127.0.0.1 --port {TENSORBOARD}"
    ports = ["--port-forward", str(DASHBOARD), "--port-forward", str(TENSORBOARD)]
    return [["ray", "exec", *ports, str(cluster), f"{_HEAD}; {board}"]]


def _address() -> str:
    return f"--address http://127.0.0.1:{DASHBOARD}"


def on_head(cluster: Path, text: str) -> Command:
    """Runs shell text on the head."""
    return ["ray", "exec", str(cluster), f"{_HEAD}; {text}"]


def typed(command: Command) -> str:
    """The command as a user would type it."""
    return shlex.join(command)
