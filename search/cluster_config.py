"""A cluster's YAML, as `ray up` takes it, checked before anything is created."""

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

from chex.config import check_kind, read_yaml, validated
from chex.errors import InputError, one_of
from chex.strict import Strict
from chex.yaml_text import RayLoader
from search.compute_api import check_instance

PROVIDERS = ("gcp", "local")
LOCK_FILE = "requirements.lock"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
"""Of this machine."""

_PLACEHOLDER = re.compile(r"YOUR-[A-Z]+")
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,33}[a-z0-9])?")
_PYTHON = re.compile(r"\bpython(?: install | find |)(3\.\d+)|--python[ =](3\.\d+)|-py3(\d\d)\b")
_RAY = re.compile(r"\bray(?:\[[^\]]*\])?==(\d+\.\d+\.\d+)|rayproject/ray[\w-]*:(\d+\.\d+\.\d+)")


class Metadata(Strict):
    """What chex-search reads in the YAML's `metadata`, which Ray passes on unread."""

    price_per_hour: dict[str, float] = Field(default_factory=dict)
    """Of one machine of each node type, with its disks, in `currency`."""
    currency: str = "USD"
    cache: str | None = None
    """The folder for decoded films on every node, on a disk of its own; blank: the run's image.cache."""
    storage: str | None = None
    """The URI below which searches are kept besides, unless they say where: `gs://BUCKET/searches`."""


@dataclass(frozen=True)
class NodeType:
    """A kind of worker."""

    name: str
    cpus: int
    gpus: int
    nodes: int
    """How many there may be at once."""


@dataclass(frozen=True)
class Cluster:
    """What a checked YAML says."""

    path: Path
    name: str
    provider: Mapping[str, Any]
    head: str
    """The head's node type; empty where the machines are there already."""
    workers: tuple[NodeType, ...]
    """Those that may be started; none where the machines are there already: only they know what they have."""
    max_workers: int
    idle_hours: float
    """After so long without trials a worker is deleted."""
    mounts: Mapping[str, str]
    """Paths on every node to paths of this machine."""
    metadata: Metadata

    @property
    def billed(self) -> bool:
        """Whether machines are rented for it."""
        return bool(self.workers)


def load_cluster(path: Path) -> Cluster:
    """The cluster in a YAML file, checked by our rules, by Ray's schema and by the compute API's.

    Paths of this machine in it are relative to the working directory, as for `ray up`. Raises InputError. What lies
    with the provider (quota, a zone that has no such GPU, prices) it cannot know.
    """
    content = read_begun(path)
    metadata = validated(Metadata, content.get("metadata") or {}, f"{path}: metadata")
    full = _by_ray(path, content)
    _check_keys(path, full["auth"])
    _check_mounts(path, full["file_mounts"])
    _check_versions(path, full)
    workers: tuple[NodeType, ...] = ()
    if full["provider"]["type"] == "gcp":
        for name, node_type in full["available_node_types"].items():
            _check_machine(f"{path}: available_node_types.{name}", node_type, full["provider"])
        workers = _workers(full)
        _check_prices(path, full, metadata)
    return Cluster(
        path,
        full["cluster_name"],
        full["provider"],
        full["head_node_type"] if workers else "",
        workers,
        full["max_workers"],
        full["idle_timeout_minutes"] / 60,
        full["file_mounts"],
        metadata,
    )


def read_begun(path: Path) -> dict[str, Any]:
    """A YAML's content, checked only as far as it has to be right to find a cluster that is there already.

    What else has changed since, here or in it, must not keep anyone from deleting the machines. Raises InputError.
    """
    content = read_yaml(path, loader=RayLoader)
    check_kind(path, content, "cluster")
    _check_placeholders(path, content)
    _check_provider(path, content)
    return content


def _check_placeholders(path: Path, content: Mapping[str, Any]) -> None:
    for where, value in _texts(content, ""):
        if found := _PLACEHOLDER.search(value):
            raise InputError(f"{path}: {where}: {found[0]} is a placeholder; write what is yours in its place")


def _texts(value: object, where: str) -> Iterator[tuple[str, str]]:
    """All texts in a YAML's content, with their dotted paths."""
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{where}.{key}".lstrip("."))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _texts(inner, f"{where}.{number}")


def _check_provider(path: Path, content: Mapping[str, Any]) -> None:
    provider = content.get("provider")
    kind = provider.get("type") if isinstance(provider, Mapping) else None
    if not isinstance(provider, Mapping) or kind not in PROVIDERS:
        raise InputError(f"{path}: provider.type: {kind!r} is not known here; {one_of(kind, PROVIDERS)}")
    needed = {"gcp": ("project_id", "region", "availability_zone"), "local": ("head_ip", "worker_ips")}[kind]
    for key in needed:
        if not provider.get(key):
            raise InputError(f"{path}: provider.{key} is missing; write it below provider, as configs/cluster/ do")
    if kind == "local":
        return
    region, zone = provider["region"], provider["availability_zone"]
    if not str(zone).startswith(f"{region}-"):
        raise InputError(f"{path}: provider.availability_zone: {zone} is no zone of {region}; use one, as {region}-b")
    name = content.get("cluster_name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{path}: cluster_name: {name!r} cannot be part of a machine's name; use at most 35 small letters, digits "
            "and hyphens, a letter first"
        )


def _by_ray(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The content with Ray's defaults, checked by Ray's own schema."""
    import jsonschema
    from ray.autoscaler._private.util import prepare_config, validate_config

    logging.getLogger("ray.autoscaler").setLevel(logging.ERROR)  # it would tell of the defaults that it fills in
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            full = prepare_config(content)
            validate_config(full)
    except jsonschema.ValidationError as error:
        where = ".".join(map(str, error.absolute_path)) or "the top level"
        raise InputError(f"{path}: {where}: {error.message}; correct it, `ray up` would refuse it") from None
    except (AssertionError, AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        reason = str(error).rstrip(".")
        raise InputError(f"{path}: {reason}; correct it, `ray up` would refuse it") from None
    return full


def _check_keys(path: Path, auth: Mapping[str, Any]) -> None:
    for key in ("ssh_private_key", "ssh_public_key"):
        if key in auth and not Path(auth[key]).expanduser().is_file():
            raise InputError(f"{path}: auth.{key}: {auth[key]} is not a file; give the key that opens the machines")


def _check_mounts(path: Path, mounts: Mapping[str, str]) -> None:
    for target, source in mounts.items():
        if Path(source).expanduser().exists():
            continue
        if source.endswith("auth_token"):
            raise InputError(
                f"{path}: file_mounts: {source} is not there; make Ray's token: ray get-auth-token --generate"
            )
        raise InputError(
            f"{path}: file_mounts.{target}: {source} is not in {Path.cwd()}; call chex-search in the project's folder, "
            "or correct the path"
        )


def _check_versions(path: Path, full: Mapping[str, Any]) -> None:
    """What the nodes install must be what this machine has."""
    here = {"Python": PYTHON, "Ray": version("ray")}
    for where, text in _texts({key: full[key] for key in full if key.endswith("_commands") or key == "docker"}, ""):
        pythons = [one or two or f"3.{int(three)}" for one, two, three in _PYTHON.findall(text)]
        rays = [one or two for one, two in _RAY.findall(text)]
        for what, found in [("Python", each) for each in pythons] + [("Ray", each) for each in rays]:
            if found != here[what]:
                raise _differing(f"{path}: {where}", what, found, here[what])
    for source in full["file_mounts"].values():
        lock = Path(source).expanduser()
        found = re.search(r"^ray==(\S+)", lock.read_text("utf-8"), re.M) if lock.name == LOCK_FILE else None
        if found and found[1] != here["Ray"]:
            raise _differing(str(lock), "Ray", found[1], here["Ray"])


def _differing(where: str, what: str, there: str, here: str) -> InputError:
    return InputError(
        f"{where}: the nodes would have {what} {there} and this machine has {here}; they must be the same, change one"
    )


def _check_machine(where: str, node_type: Mapping[str, Any], provider: Mapping[str, Any]) -> None:
    machine, resources = node_type["node_config"], node_type["resources"]
    check_instance(f"{where}.node_config", machine)
    kind = str(machine.get("machineType", ""))
    if not kind:
        raise InputError(f"{where}.node_config.machineType is missing; write one, for example n1-standard-8")
    zone, project = provider["availability_zone"], provider["project_id"]
    for path, text in _texts(machine, f"{where}.node_config"):
        found = re.search(r"\bzones/([^/]+)/", text)
        if found and found[1] != zone:
            raise InputError(f"{path}: {text} is not in {zone}; write zones/{zone}/ as in provider.availability_zone")
        owner = re.search(r"@([^.]+)\.iam\.gserviceaccount\.com$", text)
        if owner and owner[1] != project:
            raise InputError(f"{path}: {text} is an account of another project; use one of {project}")
    attached = sum(int(each.get("acceleratorCount", 0)) for each in machine.get("guestAccelerators", ()))
    told = resources.get("GPU", 0)
    if kind.startswith("n1-") and attached != told:
        raise InputError(
            f"{where}.resources.GPU: {told}, and node_config.guestAccelerators attaches {attached}; make them equal"
        )
    built_in = re.fullmatch(r"[a-z]\w*-(?:standard|highmem|highcpu)-(\d+)", kind)
    if built_in and resources.get("CPU", 0) not in (0, int(built_in[1])):
        raise InputError(f"{where}.resources.CPU: {resources['CPU']}, and {kind} has {built_in[1]}; use {built_in[1]}")


def _workers(full: Mapping[str, Any]) -> tuple[NodeType, ...]:
    return tuple(
        NodeType(
            name,
            each["resources"].get("CPU", 0),
            each["resources"].get("GPU", 0),
            min(each["max_workers"], full["max_workers"]),
        )
        for name, each in full["available_node_types"].items()
        if name != full["head_node_type"] and min(each["max_workers"], full["max_workers"]) > 0
    )


def _check_prices(path: Path, full: Mapping[str, Any], metadata: Metadata) -> None:
    for name in full["available_node_types"]:
        price = metadata.price_per_hour.get(name)
        if price is None or price <= 0:
            raise InputError(
                f"{path}: metadata.price_per_hour.{name}: {price} is no price; write what an hour of such a machine "
                "costs, so that a bound on the cost can be told"
            )
