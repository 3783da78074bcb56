"""Computes what a search would do and cost on a cluster, from their two YAML files, before anything is paid for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chex.data.data_config import ImageConfig
from chex.errors import InputError
from search.cluster.cluster_config import Cluster
from search.config.resources import Node, Resources, plan_slots
from search.config.search_config import SearchConfig
from search.space.policy_tables import observations_that_may_have
from search.storage.remote_path import check_writable, connect_existing
from search.storage.uri import is_uri

START_HOURS = 0.5
"""Hours that the cost includes for starting the job and reading the data, before the search's clock starts."""


@dataclass(frozen=True)
class Packing:
    """How trials fill the workers of one type."""

    type: str
    nodes: int
    gpus: int
    trials_per_node: int
    cpus_per_trial: int

    @property
    def max_concurrent_trials(self) -> int:
        """Trials on all nodes of the type."""
        return self.nodes * self.trials_per_node


@dataclass(frozen=True)
class CostBound:
    """The most that machines cost until the workers are deleted, with START_HOURS before the search's clock starts.

    If the time before that clock is longer, the rest is not included; `_excluded_cost_lines` says what it costs.
    """

    hours: float
    cost: float
    head_per_hour: float
    """What the head costs until `cluster down`."""


def pack_trials(cluster: Cluster, resources: Resources) -> list[Packing]:
    """Returns how the trials fill each worker type.

    Raises InputError if a type has no room for a trial, or has GPUs that no trial would use. A trial's fraction of a
    GPU is never split over two GPUs.
    """
    packings = []
    for worker in cluster.workers:
        node_text = f"a node of type {worker.name} in {cluster.path}"
        if worker.gpus and not resources.gpus_per_trial:
            raise InputError(
                f"resources.gpus_per_trial: 0, and {node_text} has GPUs that would be paid for but not used; set for "
                "example resources.gpus_per_trial=.25"
            )
        slots = plan_slots(resources, [Node(worker.cpus, worker.gpus)], where=node_text)
        packings.append(
            Packing(worker.name, worker.nodes, worker.gpus, slots.max_concurrent_trials, slots.cpus_per_trial)
        )
    return packings


def cost_bound(cluster: Cluster, hours: float) -> CostBound:
    """Returns the most that `hours` of a search cost: the head, and as many of the most expensive workers as are
    allowed.
    """
    price = cluster.metadata.price_per_hour
    room, workers = cluster.max_workers, 0.0
    for worker in sorted(cluster.workers, key=lambda kind: -price[kind.name]):
        nodes = min(worker.nodes, room)
        workers += nodes * price[worker.name]
        room -= nodes
    total_hours = hours + START_HOURS + cluster.idle_hours
    return CostBound(total_hours, total_hours * (price[cluster.head] + workers), price[cluster.head])


def preflight(cluster: Cluster, search: SearchConfig, data: str) -> str:
    """Checks a search from `adapt_to_cluster` and returns its packing and cost as text.

    Raises InputError if the search does not fit the cluster, has no limit in hours, if nothing exists at `data`, or if
    its storage cannot be written. Checks access from this machine; the nodes' account needs the same rights.
    """
    _check_data(data)
    if search.storage_uri and _is_bucket(search.storage_uri):
        check_writable(search.storage_uri)
    if not cluster.billed:
        return "The machines are your own and cost nothing; the search checks at its start whether a trial fits them."
    hours = search.budget.hours
    if hours is None:
        raise InputError(
            "budget.hours: blank, and machines are paid by the hour; set it, for example --set budget.hours=24"
        )
    if search.storage_uri is None:
        raise InputError(
            f"storage_uri: blank, and files on the workers of {cluster.path} are deleted with them; write the bucket "
            "into its metadata.storage_uri, or give --storage gs://BUCKET/searches"
        )
    lines = [_packing_line(packing, search.resources) for packing in pack_trials(cluster, search.resources)]
    return "\n".join(
        [*lines, *_cost_lines(cost_bound(cluster, hours), cluster, hours), *_excluded_cost_lines(search, cluster)]
    )


def _packing_line(packing: Packing, resources: Resources) -> str:
    share = resources.gpus_per_trial
    trials = packing.trials_per_node
    gpu_text = f"{packing.gpus} GPU{'s' if packing.gpus > 1 else ''} at {share:g} per trial" if share else "no GPU"
    return (
        f"{packing.type}: {gpu_text}, {packing.cpus_per_trial} CPU{'s' if packing.cpus_per_trial > 1 else ''} each: "
        f"{trials} trial{'s' if trials > 1 else ''} per node; at most {packing.nodes} nodes: "
        f"{packing.max_concurrent_trials} concurrent trials"
    )


def _cost_lines(bound: CostBound, cluster: Cluster, hours: float) -> Sequence[str]:
    currency = cluster.metadata.currency
    return (
        f"At most {bound.cost:.2f} {currency} for machines: {bound.hours:.1f} hours ({hours:g} of budget.hours, "
        f"{START_HOURS:g} to start, {60 * cluster.idle_hours:.0f} minutes idle) at the prices in {cluster.path};",
        f"the head then costs {bound.head_per_hour:.2f} {currency} per hour until `chex-search cluster down "
        f"{cluster.path}`. Buckets and traffic are extra.",
    )


def _excluded_cost_lines(search: SearchConfig, cluster: Cluster) -> Sequence[str]:
    """Returns lines on the costs that the bound excludes, those before the clock of budget.hours starts, per hour."""
    price, currency = cluster.metadata.price_per_hour, cluster.metadata.currency
    hour = f"{price[cluster.head] + max(price[kind.name] for kind in cluster.workers):.2f} {currency} per hour"
    subject = f"Fetching and decoding the data, beyond {60 * START_HOURS:.0f} minutes"
    observations = observations_that_may_have("self_trained", search.base, search.search_space())
    if not observations or search.base.relabel.self_trained is not None:
        return (f"{subject}, is not included: up to {hour} (the head and a worker).",)
    return (
        f"{subject}, and training the teacher of self_trained are not included: they run before the clock of "
        f"budget.hours starts, at up to {hour} (the head and a worker);",
        "`chex-search plan` shows the teacher's images; with a table, relabel.self_trained=FILE, there is no teacher.",
    )


def _check_data(data: str) -> None:
    if _is_bucket(data):
        connect_existing(data)
    if is_uri(data) or data.startswith("/"):
        return
    raise InputError(
        f"--data {data}: a path on this machine, which no node sees; give a bucket's gs:// address, "
        "or an absolute path that exists on every node"
    )


def _is_bucket(where: str) -> bool:
    """Returns whether `where` is a bucket, in which this machine sees the same files as a node."""
    return is_uri(where) and not where.startswith("file:")


def adapt_to_cluster(search: SearchConfig, cluster: Cluster) -> SearchConfig:
    """Returns the search, with the settings that it leaves open taken from the cluster's YAML.

    These are the folder for decoded images, the storage, and for rented workers the number of concurrent trials and
    the CPUs of each trial. Raises InputError like `pack_trials`.
    """
    base, cache = search.base, cluster.metadata.cache_dir
    if cache and base.image.cache_dir == ImageConfig().cache_dir:
        base = base.model_copy(update={"image": base.image.model_copy(update={"cache_dir": Path(cache)})})
    packings = pack_trials(cluster, search.resources)
    changes: dict[str, object] = {}
    if packings:
        changes["cpus_per_trial"] = min(packing.cpus_per_trial for packing in packings)
        with_cpus = search.resources.model_copy(update=changes)
        changes["max_concurrent_trials"] = search.resources.max_concurrent_trials or _max_concurrent_trials(
            pack_trials(cluster, with_cpus), cluster.max_workers
        )
    resources = search.resources.model_copy(update=changes)
    storage = search.storage_uri or cluster.metadata.storage_uri
    return search.model_copy(update={"base": base, "resources": resources, "storage_uri": storage})


def _max_concurrent_trials(packings: Sequence[Packing], max_workers: int) -> int:
    """Returns the number of trials on `max_workers` workers; those with room for the most trials count first."""
    at_once, room = 0, max_workers
    for packing in sorted(packings, key=lambda packing: -packing.trials_per_node):
        nodes = min(packing.nodes, room)
        at_once += nodes * packing.trials_per_node
        room -= nodes
    return at_once
