"""`chex-search cluster`: checks, tells each command as one could type it, and runs it."""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from search.cluster_commands import Command, down, fetch, logs, resume, status, submit, tunnel, typed, up

if TYPE_CHECKING:
    from search.cluster_config import Cluster

EXIT_INTERRUPTED = 130
SUBMITTED = "submitted.yaml"
_JOB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    """Adds the commands of `chex-search cluster` to its parser."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, helps: str) -> argparse.ArgumentParser:
        own = actions.add_parser(name, help=helps)
        own.add_argument("cluster", type=Path, metavar="CLUSTER.yaml", help="for example configs/cluster/gcp.yaml")
        return own

    launch = action("up", "start the head; workers come with the trials")
    launch.add_argument("--update", action="store_true", help="the cluster runs: install and start Ray again on it")
    launch.set_defaults(run=_up)
    send = action("submit", "check a search, tell what it costs at most, and leave it to the cluster")
    send.add_argument("config", type=Path, metavar="SEARCH.yaml")
    send.add_argument(
        "--data", required=True, metavar="WHERE", help="a bucket's gs:// address, or a path on every node"
    )
    send.add_argument("--set", nargs="+", action="extend", default=[], metavar="a.b=value", dest="sets")
    send.add_argument("--name", help="of the search (default: that of SEARCH.yaml and the values of --set)")
    send.add_argument("--results", type=Path, default=Path("results"), help="where searches are kept here")
    send.add_argument("--storage", metavar="URI", help="keep the search there besides (default: metadata.storage)")
    send.add_argument("--dry-run", action="store_true", help="check and tell, and run nothing")
    send.set_defaults(run=_submit)
    again = action("resume", "go on with a search from its storage, after the head that had it is gone")
    again.add_argument("name", metavar="SEARCH", help="the search's name")
    again.add_argument("--storage", metavar="URI", help="where it is kept (default: metadata.storage)")
    again.set_defaults(run=_resume)
    stands = action("status", "show what runs on the cluster, or how a search stands")
    stands.add_argument("name", nargs="?", metavar="SEARCH", help="the search's name")
    stands.set_defaults(run=lambda options: _run(status(_begun(options), options.name and _job_name(options.name))))
    log = action("logs", "say what is known of a trial, and what it died of")
    log.add_argument("name", metavar="SEARCH", help="the search's name")
    log.add_argument("trial", type=int, metavar="TRIAL", help="its number, from 1")
    log.set_defaults(run=lambda options: _run(logs(_begun(options), _job_name(options.name), options.trial)))
    bring = action("fetch", "copy a search home")
    bring.add_argument("folder", type=Path, metavar="DIR", help="results/NAME: the search of that name is copied there")
    bring.set_defaults(run=_fetch)
    action("down", "delete all machines").set_defaults(run=lambda options: _run(down(_begun(options))))
    action("tunnel", "Ray's dashboard and TensorBoard, on this machine's loopback only").set_defaults(run=_tunnel)


def _up(options: argparse.Namespace) -> int:
    cluster = _loaded(options)
    _check_client(cluster)
    if not options.update:
        _check_not_running(cluster)
    return _run(up(options.cluster))


def _submit(options: argparse.Namespace) -> int:
    from chex.atomic import write_text
    from chex.config import dump
    from chex.output_folder import check_claim, claim
    from search.cluster_preflight import check_search, for_cluster
    from search.search_config import load_search, search_name

    cluster = _loaded(options)
    name = _job_name(search_name(options.config, options.sets) if options.name is None else options.name)
    check_claim(options.results / name, "search", "")
    sets = [*options.sets, *([f"storage={options.storage}"] if options.storage else [])]
    search = for_cluster(load_search(options.config, sets, None), cluster)
    print(check_search(cluster, search, options.data), flush=True)
    own = options.results / name / SUBMITTED
    commands = submit(options.cluster, name, own, options.data)
    if options.dry_run:
        print("\n".join(map(_shown, commands)))
        return 0
    claim(own.parent, "search", "")
    write_text(own, dump(search))
    return _started(options, commands, name, own.parent)


def _resume(options: argparse.Namespace) -> int:
    from chex.errors import InputError
    from search.bucket import below, check_there

    cluster, name = _loaded(options), _job_name(options.name)
    storage = options.storage or cluster.metadata.storage
    if storage is None:
        raise InputError(f"{cluster.path}: metadata.storage: blank; say where {name} is kept with --storage")
    check_there(below(storage, name))
    return _started(options, resume(options.cluster, name, below(storage, name)), name, Path("results", name))


def _started(options: argparse.Namespace, commands: Iterable[Command], name: str, results: Path) -> int:
    code = _run(commands)
    if code == 0:
        print(
            f"{name} runs on the cluster, also while this machine sleeps. How it stands: chex-search cluster status "
            f"{options.cluster} {name}\nIts results: chex-search cluster fetch {options.cluster} {results}"
        )
    return code


def _fetch(options: argparse.Namespace) -> int:
    from chex.output_folder import claim

    _job_name(options.folder.name)
    cluster = _begun(options)
    claim(options.folder, "search", "")
    return _run(fetch(cluster, options.folder))


def _tunnel(options: argparse.Namespace) -> int:
    from search.cluster_commands import DASHBOARD, TENSORBOARD

    path = _begun(options)
    _check_loopback()
    print(
        f"Ray's dashboard: http://127.0.0.1:{DASHBOARD}   TensorBoard: http://127.0.0.1:{TENSORBOARD}   Ctrl-C ends "
        "both. The dashboard asks for the token that `ray get-auth-token` prints.",
        flush=True,
    )
    return _run(tunnel(path))


def _loaded(options: argparse.Namespace) -> "Cluster":
    from search.cluster_config import load_cluster

    return load_cluster(options.cluster)


def _begun(options: argparse.Namespace) -> Path:
    """The path of the YAML of a cluster that is there already."""
    from search.cluster_config import read_begun

    read_begun(options.cluster)
    return Path(options.cluster)


def _job_name(name: str) -> str:
    from chex.errors import InputError

    if not _JOB_NAME.fullmatch(name):
        raise InputError(f"'{name}' is no name for a search on a cluster; use letters, digits, . _ and -, with --name")
    return name


def _check_client(cluster: "Cluster") -> None:
    from chex.errors import InputError
    from search.compute_api import installed

    if cluster.provider["type"] == "gcp" and not installed():
        raise InputError(
            f"{cluster.path}: provider.type: gcp needs Google's client for Python, which is not installed; install the "
            "extra: pip install 'chexpert-search[cluster]'"
        )


def _check_not_running(cluster: "Cluster") -> None:
    """Raises InputError where a cluster of this name runs: `ray up` would restart it under whoever uses it."""
    from chex.errors import InputError
    from search.cluster_names import in_use

    if there := in_use(cluster):
        raise InputError(
            f"{cluster.path}: cluster_name: {cluster.name} is in use, {there[0]} runs; give this cluster another name, "
            "or say --update where that one is meant"
        )


def _check_loopback() -> None:
    """Raises InputError where ssh would open the tunnel's ports to other machines."""
    from chex.errors import InputError

    told = subprocess.run(["ssh", "-G", "127.0.0.1"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"^gatewayports (\S+)", told, flags=re.MULTILINE)
    if found and found[1] != "no":
        raise InputError(
            f"ssh's configuration has GatewayPorts {found[1]}, which would open the tunnel to other machines; remove it"
        )


def _run(commands: Iterable[Command]) -> int:
    """Tells and runs the commands, up to the first that fails; its exit code."""
    own = os.path.dirname(sys.executable)
    environment = os.environ | {"PATH": f"{own}{os.pathsep}{os.environ.get('PATH', '')}", "RAY_AUTH_MODE": "token"}
    for command in commands:
        print(_shown(command), flush=True)
        try:
            code = subprocess.run(command, env=environment, check=False).returncode
        except KeyboardInterrupt:
            return EXIT_INTERRUPTED
        if code:
            return code
    return 0


def _shown(command: Command) -> str:
    return f"$ {typed(command)}"
