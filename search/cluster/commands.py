"""`chex-search cluster`: checks its input, prints each command as a user could type it, and runs it."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from search.cluster import ray_commands
from search.cluster.ray_commands import Command

if TYPE_CHECKING:
    from search.cluster.cluster_config import Cluster

EXIT_INTERRUPTED = 130
SUBMITTED_YAML = "submitted.yaml"
_JOB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands of `chex-search cluster` to its parser."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def add(name: str, run: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
        action: argparse.ArgumentParser = actions.add_parser(name, help=help_text)
        action.add_argument("cluster", type=Path, metavar="CLUSTER.yaml", help="for example configs/cluster/gcp.yaml")
        action.set_defaults(run=run)
        return action

    up = add("up", _up, "start the head; workers start when trials need them")
    up.add_argument("--update", action="store_true", help="install the project and restart Ray on a running cluster")
    submit = add("submit", _submit, "check a search, print its maximum cost, and run it on the cluster")
    submit.add_argument("config", type=Path, metavar="SEARCH.yaml")
    submit.add_argument(
        "--data", required=True, metavar="TREE", help="a bucket's gs:// address, or a path that exists on every node"
    )
    submit.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    submit.add_argument("--name", help="name of the search (default: name of SEARCH.yaml and values of --set)")
    submit.add_argument(
        "--results", type=Path, default=Path("results"), help="folder of searches on this machine (default: results)"
    )
    submit.add_argument("--storage", metavar="URI", help="also store the search there (default: metadata.storage_uri)")
    submit.add_argument("--dry-run", action="store_true", help="check and print the commands, but run nothing")
    resume = add("resume", _resume, "resume a search from its storage after its head was lost")
    resume.add_argument("name", metavar="SEARCH", help="the search's name")
    resume.add_argument("--storage", metavar="URI", help="where it is stored (default: metadata.storage_uri)")
    status = add("status", _status, "show what runs on the cluster, or the status of a search")
    status.add_argument("name", nargs="?", metavar="SEARCH", help="the search's name")
    logs = add("logs", _logs, "show what is known of one trial, and why it failed")
    logs.add_argument("name", metavar="SEARCH", help="the search's name")
    logs.add_argument("trial", type=int, metavar="TRIAL", help="its number, from 1")
    fetch = add("fetch", _fetch, "copy a search to this machine")
    fetch.add_argument("folder", type=Path, metavar="DIR", help="results/NAME: the search NAME is copied there")
    add("down", _down, "delete all machines")
    add("tunnel", _tunnel, "open Ray's dashboard and TensorBoard on this machine's loopback")


def _up(options: argparse.Namespace) -> int:
    cluster = _load(options)
    _check_client(cluster)
    if not options.update:
        _check_not_running(cluster)
    return _run(ray_commands.up(options.cluster))


def _submit(options: argparse.Namespace) -> int:
    from chex.config import to_yaml
    from chex.runtime.atomic_io import write_text
    from chex.runtime.output_folder import check_claim, claim
    from search.cluster.preflight import adapt_to_cluster, preflight
    from search.config.search_config import load_search, search_name

    cluster = _load(options)
    name = _job_name(search_name(options.config, options.sets) if options.name is None else options.name)
    check_claim(options.results / name, "search", "")
    sets = [*options.sets, *([f"storage_uri={options.storage}"] if options.storage else [])]
    search = adapt_to_cluster(load_search(options.config, sets, None), cluster)
    print(preflight(cluster, search, options.data), flush=True)
    search_yaml = options.results / name / SUBMITTED_YAML
    commands = ray_commands.submit(options.cluster, name, search_yaml, options.data)
    if options.dry_run:
        print("\n".join(map(_prompt_line, commands)))
        return 0
    claim(search_yaml.parent, "search", "")
    write_text(search_yaml, to_yaml(search))
    return _run_and_explain(options, commands, name, search_yaml.parent)


def _resume(options: argparse.Namespace) -> int:
    from chex.errors import InputError
    from search.storage.remote_path import connect_existing
    from search.storage.uri import child_uri

    cluster, name = _load(options), _job_name(options.name)
    storage = options.storage or cluster.metadata.storage_uri
    if storage is None:
        raise InputError(f"{cluster.path}: metadata.storage_uri: blank; say where {name} is stored with --storage")
    connect_existing(child_uri(storage, name))
    commands = ray_commands.resume(options.cluster, name, child_uri(storage, name))
    return _run_and_explain(options, commands, name, Path("results", name))


def _status(options: argparse.Namespace) -> int:
    return _run(ray_commands.status(_running_cluster(options), options.name and _job_name(options.name)))


def _logs(options: argparse.Namespace) -> int:
    return _run(ray_commands.logs(_running_cluster(options), _job_name(options.name), options.trial))


def _run_and_explain(options: argparse.Namespace, commands: Iterable[Command], name: str, results: Path) -> int:
    code = _run(commands)
    if code == 0:
        print(
            f"{name} runs on the cluster, also while this machine is off. Its status: chex-search cluster status "
            f"{options.cluster} {name}\nIts results: chex-search cluster fetch {options.cluster} {results}"
        )
    return code


def _fetch(options: argparse.Namespace) -> int:
    from chex.runtime.output_folder import claim

    _job_name(options.folder.name)
    cluster = _running_cluster(options)
    claim(options.folder, "search", "")
    return _run(ray_commands.fetch(cluster, options.folder))


def _down(options: argparse.Namespace) -> int:
    return _run(ray_commands.down(_running_cluster(options)))


def _tunnel(options: argparse.Namespace) -> int:
    path = _running_cluster(options)
    _check_loopback()
    ports = ray_commands.DASHBOARD, ray_commands.TENSORBOARD
    dashboard, tensorboard = (f"http://127.0.0.1:{port}" for port in ports)
    print(
        f"Ray's dashboard: {dashboard}   TensorBoard: {tensorboard}   Ctrl-C ends both. The dashboard asks for the "
        "token that `ray get-auth-token` prints.",
        flush=True,
    )
    return _run(ray_commands.tunnel(path))


def _load(options: argparse.Namespace) -> "Cluster":
    from search.cluster.cluster_config import load_cluster

    return load_cluster(options.cluster)


def _running_cluster(options: argparse.Namespace) -> Path:
    """Returns the path of a cluster's YAML, checked only as needed for a cluster that is running already."""
    from search.cluster.cluster_config import read_running_cluster

    read_running_cluster(options.cluster)
    return Path(options.cluster)


def _job_name(name: str) -> str:
    from chex.errors import InputError

    if not _JOB_NAME.fullmatch(name):
        raise InputError(
            f"'{name}' cannot be the name of a search on a cluster; use letters, digits, . _ and - with --name"
        )
    return name


def _check_client(cluster: "Cluster") -> None:
    from chex.errors import InputError
    from search.cluster.gcp_api import client_is_installed

    if cluster.provider["type"] == "gcp" and not client_is_installed():
        raise InputError(
            f"{cluster.path}: provider.type: gcp needs Google's client for Python, which is not installed; install the "
            "extra: pip install 'chexpert-search[cluster]'"
        )


def _check_not_running(cluster: "Cluster") -> None:
    """Raises InputError if a cluster of this name is running: `ray up` would restart it under its users."""
    from chex.errors import InputError
    from search.cluster.running_machines import running_machines

    if machines := running_machines(cluster):
        raise InputError(
            f"{cluster.path}: cluster_name: {cluster.name} is in use: {machines[0]} is running; give this cluster "
            "another name, or use --update to update that one"
        )


def _check_loopback() -> None:
    """Raises InputError if ssh would open the tunnel's ports to other machines."""
    from chex.errors import InputError

    ssh_config = subprocess.run(["ssh", "-G", "127.0.0.1"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^gatewayports (\S+)", ssh_config, flags=re.MULTILINE)
    if found and found[1] != "no":
        raise InputError(
            f"ssh's configuration has GatewayPorts {found[1]}, which would open the tunnel to other machines; remove it"
        )


def _run(commands: Iterable[Command]) -> int:
    """Prints and runs the commands in order; returns 0, or the exit code of the first that fails."""
    bin_folder = os.path.dirname(sys.executable)
    environment = os.environ | {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ.get('PATH', '')}",
        "RAY_AUTH_MODE": "token",
    }
    for command in commands:
        print(_prompt_line(command), flush=True)
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        if code:
            return code
    return 0


def _prompt_line(command: Command) -> str:
    return f"$ {ray_commands.shell_line(command)}"
