"""Ray for a search: started on this machine for it alone, or a cluster that is there; and what its nodes have."""

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import ray
import yaml
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from chex.console import doing
from chex.errors import InputError
from chex.interrupt import sigterm_kept
from search.ray_session import IN_TRIALS, for_member, for_own_ray, ray_settings
from search.resources import Node, machine

QUIET = {"log_to_driver": False, "logging_level": "ERROR"}
ANSWER_SECONDS = 5.0
BOOTSTRAP = "~/ray_bootstrap_config.yaml"


@contextmanager
def started() -> Iterator[None]:
    """Ray on this machine, for this process alone. Raises InputError where the process uses a Ray already."""
    _check_free()
    here = machine()
    doing("starting Ray")
    with ray_settings(for_own_ray()), _hushed():
        with sigterm_kept():
            ray.init(address="local", num_cpus=here.cpus, num_gpus=here.gpus, include_dashboard=False, **QUIET)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def joined(address: str) -> Iterator[None]:
    """The Ray cluster at `address` ("host:port" of its head, or `auto`), which goes on when the block has ended.

    Raises InputError where none is there or one that this process cannot talk to, or where the process uses a Ray
    already.
    """
    _check_free()
    where = _found(address)
    with ray_settings(for_member()), _hushed():
        try:
            with sigterm_kept():
                ray.init(address=where, runtime_env={"env_vars": IN_TRIALS}, **QUIET)
            ray.get(ray.remote(num_cpus=0)(_Answer).remote().given.remote())
        except (RuntimeError, ConnectionError, ValueError, RayError) as error:
            ray.shutdown()
            raise _strange(address, where, " ".join(str(error).split())) from None
        try:
            yield
        finally:
            ray.shutdown()


def _check_free() -> None:
    if ray.is_initialized():
        raise InputError("this process uses a Ray already, and a search starts its own; call ray.shutdown() first")


@contextmanager
def _hushed() -> Iterator[None]:
    """Keeps raylets' obituaries, pages of internal state, out of what people read, for which Ray has no setting."""
    worker = ray._private.worker
    said, worker.print_to_stdstream = worker.print_to_stdstream, lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = said


def _strange(address: str, where: str, told: str) -> InputError:
    if "ersion mismatch" in told:
        remedy = "install on both sides what requirements.lock says, with the same Python"
        return InputError(f"--cluster {address}: {told}; {remedy}")
    return InputError(
        f"--cluster {address}: the cluster at {where} and this process do not get on ({told}); put the cluster's token "
        "into ~/.ray/auth_token here, or where it asks for none, set RAY_AUTH_MODE=disabled"
    )


class _Answer:
    """Where only one side asks for a token, one may connect all the same, and the first actor dies."""

    def given(self) -> bool:
        return True


def nodes_there() -> list[Node]:
    """The nodes of the running Ray, with what each has for trials."""
    return [_node(about["Resources"]) for about in _alive()]


def nodes_to_come() -> list[Node] | None:
    """A node of each kind of worker that the running Ray's autoscaler may add; None where nobody here knows them.

    `ray up` leaves what it was told on the head, from which the autoscaler there reads it.
    """
    told = Path(BOOTSTRAP).expanduser()
    here = ray.get_runtime_context()
    on_head = any(
        about["NodeID"] == here.get_node_id() and here.gcs_address.startswith(f"{about['NodeManagerAddress']}:")
        for about in _alive()
    )
    if not on_head or not told.is_file():
        return None
    return kinds_of_workers(yaml.safe_load(told.read_text(encoding="utf-8")))


def kinds_of_workers(cluster: Mapping[str, Any]) -> list[Node]:
    """A node of each kind of worker that the YAML of a cluster, as `ray up` completes it, may start."""
    types = cluster.get("available_node_types") or {}
    head = cluster.get("head_node_type")
    return [
        _node(one.get("resources") or {})
        for name, one in types.items()
        if name != head and one.get("max_workers", cluster.get("max_workers", 0)) > 0
    ]


def with_room(cpus: int, gpus: float) -> set[str]:
    """Returns the ids of the running Ray's nodes that a trial of so many CPUs and GPUs would fit, if they were idle."""
    fits = {"CPU": cpus, "GPU": gpus}
    return {
        str(about["NodeID"])
        for about in _alive()
        if all(about["Resources"].get(kind, 0) >= count for kind, count in fits.items())
    }


def addresses() -> list[str]:
    """Where the head of the running Ray listens, and what runs trials on this machine."""
    here = ray.get_runtime_context()
    return [here.gcs_address] + [
        f"{about['NodeManagerAddress']}:{about['NodeManagerPort']}"
        for about in _alive()
        if about["NodeID"] == here.get_node_id()
    ]


def check_shared(path: Path) -> None:
    """Raises InputError where a node of the running Ray does not see the file `path` that was written here."""
    asked = {about["NodeManagerHostname"]: _sees.options(**_on(about)).remote(str(path)) for about in _alive()}
    blind = [name for name, answer in asked.items() if not ray.get(answer)]
    if blind:
        raise InputError(
            f"{path.parent}: the node {blind[0]} does not see it, so that what trials leave there would be lost; give "
            "a place that all nodes can reach with --storage, for example gs://BUCKET/searches, or --results on a "
            "disk that they share"
        )


@ray.remote(num_cpus=0)  # type: ignore[untyped-decorator]
def _sees(path: str) -> bool:
    return Path(path).exists()


def _on(about: dict[str, Any]) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(about["NodeID"], soft=False)}


def _alive() -> list[dict[str, Any]]:
    return [about for about in ray.nodes() if about["Alive"]]


def _node(resources: dict[str, float]) -> Node:
    return Node(int(resources.get("CPU", 0)), int(resources.get("GPU", 0)))


def _found(address: str) -> str:
    """The head's "host:port". Raises InputError where nobody takes connections there: Ray would try for minutes."""
    if "://" in address:
        raise InputError(
            f"--cluster {address}: a search runs inside the cluster; give its head as HOST:PORT, or `auto` on the head"
        )
    where = _noted() if address == "auto" else address
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise InputError(
            f"--cluster {address}: no Ray cluster answers{f' at {where}' if where else ' on this machine'} ({error}); "
            "start one with `ray start --head`, or give the HOST:PORT that this printed"
        ) from None
    return where


def _noted() -> str:
    """Where the cluster that this machine belongs to has its head; "" where Ray has noted none."""
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    note = Path(os.environ.get("RAY_TMPDIR") or gettempdir(), "ray", "ray_current_cluster")
    return note.read_text().strip() if note.exists() else ""
