"""Builds the commands that `chex-search cluster` runs, as lists of arguments; nothing runs here.

The docstrings of functions that return commands say what the commands do.
"""

import shlex
from pathlib import Path

PROJECT = "~/chexpert-search"
"""The project's folder on every node; results/ below it holds the searches, on the head only."""

DASHBOARD, TENSORBOARD = 8265, 6006
_SEARCH_OPTIONS = f"--results {PROJECT}/results --cluster auto"
_HEAD_ENVIRONMENT = f"export RAY_AUTH_MODE=token PATH={PROJECT}/.venv/bin:$PATH"

Command = list[str]


def up(cluster: Path) -> list[Command]:
    """Starts the head if it is not running, installs the project on it and starts Ray."""
    return [["ray", "up", "--yes", str(cluster)]]


def submit(cluster: Path, name: str, search: Path, data: str) -> list[Command]:
    """Sends the search's YAML to the head and submits it there as the job `name`, which runs without this machine.

    A finished or interrupted search of this name is resumed; one that is running is left alone, and the command fails.
    """
    remote_yaml = f"{PROJECT}/submitted/{name}.yaml"
    return [
        on_head(cluster, f"{free_job_name(name)} && mkdir -p {PROJECT}/submitted"),
        ["ray", "rsync-up", str(cluster), str(search), remote_yaml],
        on_head(cluster, submit_job(name, run_arguments(name, remote_yaml, data))),
    ]


def resume(cluster: Path, name: str, uri: str) -> list[Command]:
    """Submits the job `name`, which resumes the search at `uri` on a head that has none of its files."""
    return [
        on_head(cluster, free_job_name(name)),
        on_head(cluster, submit_job(name, f"resume {shlex.quote(uri)} {_SEARCH_OPTIONS}")),
    ]


def free_job_name(name: str) -> str:
    """Returns a shell script for the head: fails while the job `name` is running, and deletes one that has ended."""
    refusal = f"chex-search: a search named {name} is running on this cluster; give this search another --name"
    return (
        f"case $(ray job status {_api_address()} {name} 2>&1) in "
        f"""*"'{name}': RUNNING"*|*"'{name}': PENDING"*) echo {shlex.quote(refusal)} >&2; exit 1;; """
        f"*) ray job delete {_api_address()} {name} >/dev/null 2>&1 || true;; esac"
    )


def run_arguments(name: str, search: str, data: str) -> str:
    """Returns the arguments of `chex-search` on the head, as shell text; `search` is the path of its YAML there."""
    return f"run {search} --data {shlex.quote(data)} --name {name} {_SEARCH_OPTIONS}"


def submit_job(name: str, arguments: str) -> str:
    """Returns a shell script for the head: submits `chex-search` with these arguments and does not wait for it."""
    program = f"{PROJECT}/.venv/bin/chex-search"
    return f"ray job submit {_api_address()} --no-wait --submission-id {name} -- {program} {arguments}"


def status(cluster: Path, name: str | None) -> list[Command]:
    """Shows what runs on the cluster, or with `name` the status of that search."""
    if name is None:
        return [on_head(cluster, f"ray status; ray job list {_api_address()}")]
    return [on_head(cluster, f"ray job status {_api_address()} {name}; chex-search status {PROJECT}/results/{name}")]


def logs(cluster: Path, name: str, trial: int) -> list[Command]:
    """Shows what is known of one trial, and the last lines of its search."""
    last_lines = f"ray job logs {_api_address()} {name} | tail -n 40"
    return [on_head(cluster, f"chex-search logs {PROJECT}/results/{name} {trial}; {last_lines}")]


def fetch(cluster: Path, folder: Path) -> list[Command]:
    """Copies the search that has the name of `folder` from the head into `folder`; equal files are not sent again."""
    return [
        ["mkdir", "-p", str(folder)],
        ["ray", "rsync-down", str(cluster), f"{PROJECT}/results/{folder.name}/", f"{folder}/"],
    ]


def down(cluster: Path) -> list[Command]:
    """Deletes all machines and everything on them."""
    return [["ray", "down", "--yes", str(cluster)]]


def tunnel(cluster: Path) -> list[Command]:
    """Makes Ray's dashboard and TensorBoard reachable at 127.0.0.1, from this machine only, until Ctrl-C."""
    tensorboard = f"tensorboard --logdir {PROJECT}/results --host 127.0.0.1 --port {TENSORBOARD}"
    ports = ["--port-forward", str(DASHBOARD), "--port-forward", str(TENSORBOARD)]
    return [["ray", "exec", *ports, str(cluster), f"{_HEAD_ENVIRONMENT}; {tensorboard}"]]


def _api_address() -> str:
    return f"--address http://127.0.0.1:{DASHBOARD}"


def on_head(cluster: Path, script: str) -> Command:
    """Returns the command that runs a shell script on the head."""
    return ["ray", "exec", str(cluster), f"{_HEAD_ENVIRONMENT}; {script}"]


def shell_line(command: Command) -> str:
    """Returns the command as a user would type it."""
    return shlex.join(command)
