"""What a search would be and cost on a cluster, decided from two YAML files before anything is billed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chex.cache import ImageConfig
from chex.errors import InputError
from search.bucket import check_there, check_writable, is_uri
from search.cluster_config import Cluster
from search.relabelling import observations_that_may_have
from search.resources import Node, Resources, allotted
from search.search_config import SearchConfig

START_HOURS = 0.5
"""What is reckoned for starting the head's job and reading the data, before the search's clock runs."""


@dataclass(frozen=True)
class Packing:
    """How trials fill the workers of one type."""

    type: str
    nodes: int
    gpus: int
    trials_per_node: int
    cpus_per_trial: int

    @property
    def at_once(self) -> int:
        """Trials on all of them."""
        return self.nodes * self.trials_per_node


@dataclass(frozen=True)
class Bound:
    """More than this is not billed for machines from the start of the search's clock until its workers are gone.

    What comes before that clock, above START_HOURS, is not in it: `_before_lines` says what and at which price.
    """

    hours: float
    cost: float
    head_per_hour: float
    """What goes on being billed until `cluster down`."""


def packings(cluster: Cluster, resources: Resources) -> list[Packing]:
    """How the trials fill each type of worker. Raises InputError where a type has no room for one trial.

    Also where GPUs would be paid for that no trial uses. A fraction of a GPU is of one and the same GPU of one node.
    """
    found = []
    for each in cluster.workers:
        what = f"a node of type {each.name} in {cluster.path}"
        if each.gpus and not resources.gpus_per_trial:
            raise InputError(
                f"resources.gpus_per_trial: 0, and {what} has GPUs that would be paid for and not used; set for "
                "example resources.gpus_per_trial=.25"
            )
        allotment = allotted(resources, [Node(each.cpus, each.gpus)], where=what)
        found.append(Packing(each.name, each.nodes, each.gpus, allotment.at_once, allotment.cpus_per_trial))
    return found


def bound(cluster: Cluster, hours: float) -> Bound:
    """What `hours` of a search cost at most: the head, and as many of the dearest workers as there may be."""
    price = cluster.metadata.price_per_hour
    room, workers = cluster.max_workers, 0.0
    for each in sorted(cluster.workers, key=lambda kind: -price[kind.name]):
        nodes = min(each.nodes, room)
        workers += nodes * price[each.name]
        room -= nodes
    in_all = hours + START_HOURS + cluster.idle_hours
    return Bound(in_all, in_all * (price[cluster.head] + workers), price[cluster.head])


def check_search(cluster: Cluster, search: SearchConfig, data: str) -> str:
    """The preflight in words, of a search `for_cluster`.

    Raises InputError where the search cannot run on the cluster or has no end in hours, where nothing is at `data` and
    where its storage cannot be written: what this machine may, the nodes may with an account that has the same rights.
    """
    _check_data(data)
    if search.storage and _is_bucket(search.storage):
        check_writable(search.storage)
    if not cluster.billed:
        return "The machines are yours, nothing is billed; whether a trial fits them is checked when the search starts."
    hours = search.budget.hours
    if hours is None:
        raise InputError(
            "budget.hours: blank, and machines are billed by the hour; set it, for example --set budget.hours=24"
        )
    if search.storage is None:
        raise InputError(
            f"storage: blank, and what is on the workers of {cluster.path} goes with them; write the bucket into its "
            "metadata, or give --storage gs://BUCKET/searches"
        )
    lines = [_packing_line(each, search.resources) for each in packings(cluster, search.resources)]
    return "\n".join([*lines, *_cost_lines(bound(cluster, hours), cluster, hours), *_before_lines(search, cluster)])


def _packing_line(packing: Packing, resources: Resources) -> str:
    share = resources.gpus_per_trial
    trials = packing.trials_per_node
    how = f"{packing.gpus} GPU{'s' if packing.gpus > 1 else ''} at {share:g} a trial" if share else "no GPU"
    return (
        f"{packing.type}: {how}, {packing.cpus_per_trial} CPU{'s' if packing.cpus_per_trial > 1 else ''} each: "
        f"{trials} trial{'s' if trials > 1 else ''} a node; {packing.nodes} nodes at most: {packing.at_once} at once"
    )


def _cost_lines(bound: Bound, cluster: Cluster, hours: float) -> Sequence[str]:
    currency = cluster.metadata.currency
    return (
        f"At most {bound.cost:.2f} {currency} for machines: {bound.hours:.1f} hours ({hours:g} of budget.hours, "
        f"{START_HOURS:g} to start, {60 * cluster.idle_hours:.0f} minutes idle) at the prices in {cluster.path};",
        f"the head goes on at {bound.head_per_hour:.2f} {currency} an hour until `chex-search cluster down "
        f"{cluster.path}`. Buckets and traffic come on top.",
    )


def _before_lines(search: SearchConfig, cluster: Cluster) -> Sequence[str]:
    """What is billed before the clock of budget.hours starts, and so is not in the bound, by the hour."""
    price, currency = cluster.metadata.price_per_hour, cluster.metadata.currency
    hour = f"{price[cluster.head] + max(price[kind.name] for kind in cluster.workers):.2f} {currency} an hour"
    staging = f"Fetching and decoding the data, where they take longer than {60 * START_HOURS:.0f} minutes"
    wanted = observations_that_may_have("self_trained", search.base, search.knobs())
    if not wanted or search.base.relabel.self_trained is not None:
        return (f"{staging}, are not in this bound: up to {hour} (the head and a worker).",)
    return (
        f"{staging}, and training the teacher of self_trained are not in this bound: they come before the clock of "
        f"budget.hours, at up to {hour} (the head and a worker);",
        "`chex-search plan` tells the teacher's images; a table made before, relabel.self_trained=FILE, needs none.",
    )


def _check_data(data: str) -> None:
    if _is_bucket(data):
        check_there(data)
    if is_uri(data) or data.startswith("/"):
        return
    raise InputError(
        f"--data {data}: a path of this machine, which no node sees; give a bucket's gs:// address, "
        "or an absolute path that every node has"
    )


def _is_bucket(where: str) -> bool:
    """Whether this machine sees the same there as a node does."""
    return is_uri(where) and not where.startswith("file:")


def for_cluster(search: SearchConfig, cluster: Cluster) -> SearchConfig:
    """The search as the cluster runs it: what it leaves open is what the cluster's YAML says.

    The folder of decoded films, the storage, and on workers that come with the trials, how many run at once and the
    CPUs of each. Raises InputError as `packings`.
    """
    base, cache = search.base, cluster.metadata.cache
    if cache and base.image.cache == ImageConfig().cache:
        base = base.model_copy(update={"image": base.image.model_copy(update={"cache": Path(cache)})})
    found = packings(cluster, search.resources)
    given: dict[str, object] = {}
    if found:
        given["cpus_per_trial"] = min(each.cpus_per_trial for each in found)
        whole = search.resources.model_copy(update=given)
        given["at_once"] = search.resources.at_once or _most_at_once(packings(cluster, whole), cluster.max_workers)
    resources = search.resources.model_copy(update=given)
    storage = search.storage or cluster.metadata.storage
    return search.model_copy(update={"base": base, "resources": resources, "storage": storage})


def _most_at_once(found: Sequence[Packing], max_workers: int) -> int:
    """Trials on as many workers as there may be, those that hold most first."""
    at_once, room = 0, max_workers
    for each in sorted(found, key=lambda packing: -packing.trials_per_node):
        nodes = min(each.nodes, room)
        at_once += nodes * each.trials_per_node
        room -= nodes
    return at_once
