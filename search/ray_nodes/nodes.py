"""Starts Ray on this machine or connects to a cluster, and reads which CPUs and GPUs its nodes have."""

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import ray
import yaml
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from chex.errors import InputError
from chex.reporting.console import clear_activity, show_activity
from chex.runtime.signals import restore_sigterm
from search.config.resources import Node, this_machine
from search.ray_nodes.dashboard import where_to_look
from search.ray_nodes.ray_session import TRIAL_SETTINGS, cluster_settings, local_settings, ray_settings

QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
ANSWER_SECONDS = 5.0
BOOTSTRAP = "~/ray_bootstrap_config.yaml"


@contextmanager
def local_ray(dashboard: bool = False) -> Iterator[None]:
    """Runs Ray on this machine for this process alone. Raises InputError if the process already uses Ray.

    With `dashboard` also starts Ray's dashboard and prints its address and its token on stderr.
    """
    _check_ray_is_unused()
    machine = this_machine()
    show_activity("starting Ray")
    with ray_settings(local_settings()), _quiet_raylets():
        with restore_sigterm():
            started = ray.init(
                address="local", num_cpus=machine.cpus, num_gpus=machine.gpus, include_dashboard=dashboard, **QUIET
            )
        if dashboard:
            clear_activity()
            print(where_to_look(started.dashboard_url, os.environ["RAY_AUTH_TOKEN"]), file=sys.stderr)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def connect_cluster(address: str) -> Iterator[None]:
    """Connects to the Ray cluster at `address` ("host:port" of its head, or `auto`); the cluster outlives the block.

    Raises InputError if no cluster is there, if this process cannot talk to it, or if the process already uses Ray.
    """
    _check_ray_is_unused()
    head_address = _head_address(address)
    with ray_settings(cluster_settings()), _quiet_raylets():
        try:
            with restore_sigterm():
                ray.init(address=head_address, runtime_env={"env_vars": TRIAL_SETTINGS}, **QUIET)
            ray.get(ray.remote(num_cpus=0)(_Probe).remote().answer.remote())
        except (RuntimeError, ConnectionError, ValueError, RayError) as error:
            ray.shutdown()
            raise _connection_error(address, head_address, " ".join(str(error).split())) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_ray_is_unused() -> None:
    if ray.is_initialized():
        raise InputError("this process already uses Ray, and a search starts its own; call ray.shutdown() first")


@contextmanager
def _quiet_raylets() -> Iterator[None]:
    """Hides the internal state that raylets, Ray's processes on nodes, print when they die; Ray has no such setting."""
    worker = ray._private.worker
    original_print, worker.print_to_stdstream = worker.print_to_stdstream, lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = original_print


def _connection_error(address: str, head_address: str, reason: str) -> InputError:
    if "ersion mismatch" in reason:
        remedy = "install requirements.lock with the same Python on both sides"
        return InputError(f"--cluster {address}: {reason}; {remedy}")
    return InputError(
        f"--cluster {address}: the cluster at {head_address} refuses this process ({reason}); put the cluster's token "
        "into ~/.ray/auth_token here, or if it asks for none, set RAY_AUTH_MODE=disabled"
    )


class _Probe:
    """An actor that tests a connection: if only one side asks for a token, connecting may succeed but actors die."""

    def answer(self) -> bool:
        return True


def live_nodes() -> list[Node]:
    """Returns the nodes of the running Ray with the CPUs and GPUs of each."""
    return [_to_node(node["Resources"]) for node in _alive_nodes()]


def autoscaler_nodes() -> list[Node] | None:
    """Returns a node of each worker type that the autoscaler may add; None if this machine does not know them.

    `ray up` leaves its YAML on the head, where the autoscaler reads it.
    """
    bootstrap = Path(BOOTSTRAP).expanduser()
    context = ray.get_runtime_context()
    on_head = any(
        node["NodeID"] == context.get_node_id() and context.gcs_address.startswith(f"{node['NodeManagerAddress']}:")
        for node in _alive_nodes()
    )
    if not on_head or not bootstrap.is_file():
        return None
    return worker_types(yaml.safe_load(bootstrap.read_text(encoding="utf-8")))


def worker_types(cluster: Mapping[str, Any]) -> list[Node]:
    """Returns a node of each worker type that a cluster's YAML, as completed by `ray up`, may start."""
    types = cluster.get("available_node_types") or {}
    head = cluster.get("head_node_type")
    return [
        _to_node(node_type.get("resources") or {})
        for name, node_type in types.items()
        if name != head and node_type.get("max_workers", cluster.get("max_workers", 0)) > 0
    ]


def nodes_with_room(cpus: int, gpus: float) -> set[str]:
    """Returns the ids of the nodes that could run a trial with these CPUs and GPUs if they were idle."""
    needed = {"CPU": cpus, "GPU": gpus}
    return {
        str(node["NodeID"])
        for node in _alive_nodes()
        if all(node["Resources"].get(kind, 0) >= count for kind, count in needed.items())
    }


def ray_addresses() -> list[str]:
    """Returns the addresses "host:port" of the running Ray's head and of the raylets on this machine."""
    context = ray.get_runtime_context()
    return [context.gcs_address] + [
        f"{node['NodeManagerAddress']}:{node['NodeManagerPort']}"
        for node in _alive_nodes()
        if node["NodeID"] == context.get_node_id()
    ]


def check_shared_folder(path: Path) -> None:
    """Raises InputError if a node of the running Ray does not see the file `path` that was written here."""
    answers = {
        node["NodeManagerHostname"]: _file_exists.options(**_on_node(node)).remote(str(path)) for node in _alive_nodes()
    }
    without_it = [name for name, answer in answers.items() if not ray.get(answer)]
    if without_it:
        raise InputError(
            f"{path.parent}: the node {without_it[0]} does not see it, so its trials' results would be lost; give a "
            "storage that all nodes can reach with --storage, for example gs://BUCKET/searches, or --results on a disk "
            "that they share"
        )


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _file_exists(path: str) -> bool:
    return Path(path).exists()


def _on_node(node: dict[str, Any]) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)}


def _alive_nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _to_node(resources: dict[str, float]) -> Node:
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _head_address(address: str) -> str:
    """Returns the head's "host:port". Raises InputError at once if nothing listens there; Ray would try for minutes."""
    if "://" in address:
        raise InputError(
            f"--cluster {address}: a search runs inside the cluster; give its head as HOST:PORT, or `auto` on the head"
        )
    head_address = _current_cluster() if address == "auto" else address
    host, _, port = head_address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        where = f"at {head_address}" if head_address else "on this machine"
        raise InputError(
            f"--cluster {address}: no Ray cluster answers {where} ({error}); start one with `ray start --head`, or "
            "give the HOST:PORT that it printed"
        ) from None
    return head_address


def _current_cluster() -> str:
    """Returns the head's address of the cluster that this machine belongs to; "" if Ray has recorded none."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    file = Path(os.environ.get("RAY_TMPDIR") or gettempdir(), "ray", "ray_current_cluster")
    return file.read_text().strip() if file.exists() else ""
