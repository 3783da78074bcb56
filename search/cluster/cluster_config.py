"""Reads a cluster's YAML, in the format of `ray up`, and checks it before any machine is created."""

import io
import logging
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pydantic import Field

from chex.config import check_kind, read_yaml, validate
from chex.errors import InputError, suggest
from chex.schema.strict_model import Strict
from chex.schema.yaml_text import RayLoader
from search.cluster.gcp_api import check_instance

PROVIDERS = ("gcp", "local")
LOCK_FILE = "requirements.lock"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""The Python version of this machine."""

_PLACEHOLDER = re.compile(r"YOUR-[A-Z]+")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,33}[a-z0-9])?")
_PYTHON = re.compile(r"\bpython(?: install | find |)(3\.\d+)|--python[ =](3\.\d+)|-py3(\d\d)\b")
_RAY = re.compile(r"\bray(?:\[[^\]]*\])?==(\d+\.\d+\.\d+)|rayproject/ray[\w-]*:(\d+\.\d+\.\d+)")


class Metadata(Strict):
    """The settings for chex-search in the YAML's `metadata`, which Ray ignores."""

    price_per_hour: dict[str, float] = Field(default_factory=dict)
    """The price per hour of one machine with its disks, by node type, in `currency`."""
    currency: str = "USD"
    cache_dir: str | None = None
    """The folder for decoded images on every node, on the node's local disk; blank: the run's image.cache_dir."""
    storage_uri: str | None = None
    """The URI below which searches are stored unless they set one: `gs://BUCKET/searches`."""


@dataclass(frozen=True)
class NodeType:
    """A type of worker."""

    name: str
    cpus: int
    gpus: int
    nodes: int
    """The maximum number of nodes of this type."""


@dataclass(frozen=True)
class Cluster:
    """A cluster as its checked YAML describes it."""

    path: Path
    name: str
    provider: Mapping[str, Any]
    head: str
    """The head's node type; blank for machines of one's own."""
    workers: tuple[NodeType, ...]
    """The worker types that may be started; none for machines of one's own, whose resources are unknown here."""
    max_workers: int
    idle_hours: float
    """A worker is deleted after this many hours without trials."""
    mounts: Mapping[str, str]
    """Paths on every node, mapped to paths on this machine."""
    metadata: Metadata

    @property
    def billed(self) -> bool:
        """Whether the machines are rented, so that they cost money."""
        return bool(self.workers)


def load_cluster(path: Path) -> Cluster:
    """Returns the cluster in a YAML file, checked against our rules, Ray's schema and the compute API's schema.

    Local paths in it are relative to the working directory, as for `ray up`. Raises InputError if a check fails. Does
    not check what only the provider knows: quotas, prices, and whether the zone has the GPU.
    """
    content = read_running_cluster(path)
    metadata = validate(Metadata, content.get("metadata") or {}, f"{path}: metadata")
    config = _with_ray_defaults(path, content)
    _check_ssh_keys(path, config["auth"])
    _check_mounts(path, config["file_mounts"])
    _check_versions(path, config)
    workers: tuple[NodeType, ...] = ()
    if config["provider"]["type"] == "gcp":
        for name, node_type in config["available_node_types"].items():
            _check_machine(f"{path}: available_node_types.{name}", node_type, config["provider"])
        workers = _workers(config)
        _check_prices(path, config, metadata)
    return Cluster(
        path,
        config["cluster_name"],
        config["provider"],
        config["head_node_type"] if workers else "",
        workers,
        config["max_workers"],
        config["idle_timeout_minutes"] / 60,
        config["file_mounts"],
        metadata,
    )


def read_running_cluster(path: Path) -> dict[str, Any]:
    """Returns a YAML's content, checked only as far as needed to find a cluster that is running.

    Other faults of the YAML or of this machine must not keep the user from deleting the cluster. Raises InputError if
    one of these checks fails.
    """
    content = read_yaml(path, loader=RayLoader)
    check_kind(path, content, "cluster")
    _check_placeholders(path, content)
    _check_provider(path, content)
    return content


def _check_placeholders(path: Path, content: Mapping[str, Any]) -> None:
    for where, value in _strings(content, ""):
        if placeholder := _PLACEHOLDER.search(value):
            raise InputError(f"{path}: {where}: {placeholder[0]} is a placeholder; replace it with your own value")


def _strings(value: object, path: str) -> Iterator[tuple[str, str]]:
    """Yields all strings in a YAML's content with their dotted paths."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _strings(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _strings(inner, f"{path}.{number}")


def _check_provider(path: Path, content: Mapping[str, Any]) -> None:
    provider = content.get("provider")
    kind = provider.get("type") if isinstance(provider, Mapping) else None
    if not isinstance(provider, Mapping) or kind not in PROVIDERS:
        raise InputError(f"{path}: provider.type: {kind!r} is not supported; {suggest(kind, PROVIDERS)}")
    required = {"gcp": ("project_id", "region", "availability_zone"), "local": ("head_ip", "worker_ips")}[kind]
    for key in required:
        if not provider.get(key):
            raise InputError(f"{path}: provider.{key} is missing; write it below provider, as in configs/cluster/")
    if kind == "local":
        return
    region, zone = provider["region"], provider["availability_zone"]
    if not str(zone).startswith(f"{region}-"):
        raise InputError(
            f"{path}: provider.availability_zone: {zone} is not a zone of {region}; use one, for example {region}-b"
        )
    name = content.get("cluster_name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{path}: cluster_name: {name!r} cannot be part of a machine's name; use at most 35 lowercase letters, "
            "digits and hyphens, and start with a letter"
        )


def _with_ray_defaults(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Returns the content with Ray's defaults. Raises InputError if it does not match Ray's own schema."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)  # Ray would print the defaults that it fills in
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            config = prepare_config(content)
            validate_config(config)
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"{path}: {where}: {error.message}; correct it: `ray up` would refuse it") from None
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{path}: {reason}; correct it: `ray up` would refuse it") from None
    return config


def _check_ssh_keys(path: Path, auth: Mapping[str, Any]) -> None:
    for key in ("ssh_private_key", "ssh_public_key"):
        if key in auth and not Path(auth[key]).expanduser().is_file():
            raise InputError(f"{path}: auth.{key}: {auth[key]} is not a file; give the ssh key of the machines")


def _check_mounts(path: Path, mounts: Mapping[str, str]) -> None:
    for target, source in mounts.items():
        if Path(source).expanduser().exists():
            continue
        if source.endswith("auth_token"):
            raise InputError(
                f"{path}: file_mounts: {source} does not exist; create Ray's token: ray get-auth-token --generate"
            )
        raise InputError(
            f"{path}: file_mounts.{target}: {source} is not in {Path.cwd()}; run chex-search in the project's folder, "
            "or correct the path"
        )


def _check_versions(path: Path, config: Mapping[str, Any]) -> None:
    """Raises InputError if the nodes install other versions of Python or Ray than this machine has."""
    ray = version("ray")
    installs = {key: value for key, value in config.items() if key.endswith("_commands") or key == "docker"}
    for where, text in _strings(installs, ""):
        pythons = [one or two or f"3.{int(three)}" for one, two, three in _PYTHON.findall(text)]
        rays = [one or two for one, two in _RAY.findall(text)]
        for program, local, found in [("Python", PYTHON, pythons), ("Ray", ray, rays)]:
            for remote in found:
                if remote != local:
                    raise _version_error(f"{path}: {where}", program, remote, local)
    for source in config["file_mounts"].values():
        lock = Path(source).expanduser()
        pinned = re.search(r"^ray==(\S+)", lock.read_text("utf-8"), re.M) if lock.name == LOCK_FILE else None
        if pinned and pinned[1] != ray:
            raise _version_error(str(lock), "Ray", pinned[1], ray)


def _version_error(where: str, program: str, remote_version: str, local_version: str) -> InputError:
    return InputError(
        f"{where}: the nodes would have {program} {remote_version} and this machine has {local_version}; they must be "
        "equal: change one"
    )


def _check_machine(where: str, node_type: Mapping[str, Any], provider: Mapping[str, Any]) -> None:
    machine, resources = node_type["node_config"], node_type["resources"]
    check_instance(f"{where}.node_config", machine)
    kind = str(machine.get("machineType", ""))
    if not kind:
        raise InputError(f"{where}.node_config.machineType is missing; write one, for example n1-standard-8")
    zone, project = provider["availability_zone"], provider["project_id"]
    for path, text in _strings(machine, f"{where}.node_config"):
        zone_found = re.search(r"\bzones/([^/]+)/", text)
        if zone_found and zone_found[1] != zone:
            raise InputError(f"{path}: {text} is not in {zone}; write zones/{zone}/ as in provider.availability_zone")
        owner = re.search(r"@([^.]+)\.iam\.gserviceaccount\.com$", text)
        if owner and owner[1] != project:
            raise InputError(f"{path}: {text} is an account of another project; use an account of {project}")
    attached_gpus = sum(
        int(accelerator.get("acceleratorCount", 0)) for accelerator in machine.get("guestAccelerators", ())
    )
    gpus = resources.get("GPU", 0)
    if kind.startswith("n1-") and attached_gpus != gpus:
        raise InputError(
            f"{where}.resources.GPU: {gpus}, and node_config.guestAccelerators has {attached_gpus}; make them equal"
        )
    cpus_in_name = re.fullmatch(r"[a-z]\w*-(?:standard|highmem|highcpu)-(\d+)", kind)
    if cpus_in_name and resources.get("CPU", 0) not in (0, int(cpus_in_name[1])):
        raise InputError(
            f"{where}.resources.CPU: {resources['CPU']}, and {kind} has {cpus_in_name[1]}; write {cpus_in_name[1]}"
        )


def _workers(full: Mapping[str, Any]) -> tuple[NodeType, ...]:
    return tuple(
        NodeType(
            name,
            node_type["resources"].get("CPU", 0),
            node_type["resources"].get("GPU", 0),
            min(node_type["max_workers"], full["max_workers"]),
        )
        for name, node_type in full["available_node_types"].items()
        if name != full["head_node_type"] and min(node_type["max_workers"], full["max_workers"]) > 0
    )


def _check_prices(path: Path, full: Mapping[str, Any], metadata: Metadata) -> None:
    for name in full["available_node_types"]:
        price = metadata.price_per_hour.get(name)
        if price is None or price <= 0:
            raise InputError(
                f"{path}: metadata.price_per_hour.{name}: {price} is not a price; write what such a machine costs per "
                "hour, so that the cost of a search can be bounded"
            )
